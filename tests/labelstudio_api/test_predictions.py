"""What is known of a write, told from what came back; and who holds which version."""

import json

import httpx2
import pytest

from prelabel.errors import LoginRefused, RequestRefused, consequence_of
from prelabel.labelstudio_api import predictions as api
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.predictions import Fate, Receipt

LEGACY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def answering():
    """A client whose requests are answered by a function."""

    def make(answer):
        transport = httpx2.MockTransport(answer)
        return LabelStudio("http://studio.test/ls", token=LEGACY, transport=transport)

    return make


def sent(answering, answer):
    return api.import_predictions(answering(answer), 7, b"[]")


def raising(error):
    def answer(request):
        raise error("broke", request=request)

    return answer


@pytest.mark.parametrize(
    ("status", "body", "fate"),
    [
        (201, {"created": 3}, Fate.TAKEN),
        (400, {"detail": "task 9 not found"}, Fate.REFUSED),
        (413, {}, Fate.REFUSED),
        (429, {}, Fate.TURNED_AWAY),
        (500, {"detail": "database-is-locked-error"}, Fate.IN_DOUBT),
        (500, {"detail": "database is locked"}, Fate.IN_DOUBT),
        (500, {"detail": "a defect"}, Fate.IN_DOUBT),
        (502, {}, Fate.IN_DOUBT),
        (503, {}, Fate.IN_DOUBT),
        (504, {}, Fate.IN_DOUBT),
    ],
)
def test_an_answer_tells_what_became_of_a_write(answering, status, body, fate):
    receipt = sent(answering, lambda _: httpx2.Response(status, json=body))
    assert receipt.fate is fate
    assert (receipt.error is None) == (fate is Fate.TAKEN)
    assert receipt.created == body.get("created", 0)


def test_a_locked_database_is_a_reason_that_passes_and_a_defect_is_none(answering):
    def passes(detail):
        error = sent(answering, lambda _: httpx2.Response(500, json={"detail": detail})).error
        return consequence_of(error).retry

    assert passes("database is locked")
    assert not passes("a defect")


@pytest.mark.parametrize(
    ("error", "fate", "may_settle"),
    [
        (httpx2.ConnectError, Fate.TURNED_AWAY, False),
        (httpx2.ConnectTimeout, Fate.TURNED_AWAY, False),
        (httpx2.ReadTimeout, Fate.IN_DOUBT, True),
        (httpx2.ReadError, Fate.IN_DOUBT, True),
        (httpx2.WriteError, Fate.IN_DOUBT, True),
        (httpx2.RemoteProtocolError, Fate.IN_DOUBT, True),
    ],
)
def test_a_broken_exchange_tells_too(answering, error, fate, may_settle):
    receipt = sent(answering, raising(error))
    assert (receipt.fate, receipt.settles_s > 0) == (fate, may_settle)


@pytest.mark.parametrize(
    ("status", "error"), [(401, LoginRefused), (403, RequestRefused), (404, RequestRefused)]
)
def test_where_no_write_will_be_taken_it_is_raised(answering, status, error):
    with pytest.raises(error):
        sent(answering, lambda _: httpx2.Response(status, json={"detail": "no"}))


def test_a_write_is_made_once_only(answering):
    seen = []

    def answer(request):
        seen.append(request)
        return httpx2.Response(503)

    sent(answering, answer)
    assert len(seen) == 1
    assert seen[0].url.path == "/ls/api/projects/7/import/predictions"


def test_a_success_that_is_no_answer_of_label_studio_is_no_success(answering):
    with pytest.raises(Exception, match="instead of data"):
        sent(answering, lambda _: httpx2.Response(200, text="<html>log in</html>"))


def listing_of(columns):
    """Answers listings with tasks 1, 2, …, that hold these versions."""
    rows = [
        {"id": number, "total_predictions": 2, "predictions_model_versions": column}
        for number, column in enumerate(columns, 1)
    ]

    def answer(request):
        if request.url.path.endswith("/predictions/"):
            return httpx2.Response(200, json=[{"id": 5, "model_version": "v1"}])
        wanted = json.loads(request.url.params["query"])["filters"]["items"][0]["value"]
        ids = wanted if isinstance(wanted, list) else range(wanted["min"], wanted["max"] + 1)
        found = [row for row in rows if row["id"] in ids]
        return httpx2.Response(200, json={"total": len(found), "tasks": found})

    return answer


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([], []),
        (["v1"], [1]),
        (["v1@x", "v1", "v1.seq2"], [2]),
        (["v2,v1", "v2, v1", "v2"], [1, 2]),
        (["x" * 500], [1]),  # cut off there: it is asked for one by one
    ],
)
def test_holders_are_told_from_those_of_versions_with_longer_names(answering, columns, expected):
    studio = answering(listing_of(columns))
    assert list(api.holders(studio, 7, "v1", range(1, 10))) == expected
    assert list(api.holders_between(studio, 7, "v1", 1, 9)) == expected


def test_holders_of_many_tasks_are_asked_for_in_addresses_that_proxies_take(answering):
    lengths = []
    listing = listing_of(["v1"] * 1000)

    def answer(request):
        lengths.append(len(str(request.url)))
        return listing(request)

    assert len(api.holders(answering(answer), 7, "v1", range(1, 1001))) == 1000
    assert max(lengths) < 4000


def test_deleting_what_is_gone_already_is_no_error(answering):
    api.delete_prediction(answering(lambda _: httpx2.Response(404, json={})), 5)
    with pytest.raises(RequestRefused):
        api.delete_prediction(answering(lambda _: httpx2.Response(403, json={})), 5)


def test_before_1_12_a_version_is_deleted_one_prediction_at_a_time(answering):
    held = {11: (1, "v1"), 12: (1, "v2"), 13: (2, "v1"), 14: (3, "v1@x")}

    def answer(request):
        _, *_, name, number = ["", *request.url.path.strip("/").split("/")]
        match request.method, name:
            case "DELETE", "predictions":
                del held[int(number)]
                return httpx2.Response(204)
            case "DELETE", _:
                return httpx2.Response(405, json={"detail": 'Method "DELETE" not allowed.'})
        if number == "predictions":
            task = int(request.url.params["task"])
            own = [(n, version) for n, (one, version) in held.items() if one == task]
            return httpx2.Response(200, json=[{"id": n, "model_version": v} for n, v in own])
        columns = {1: "v1,v2", 2: "v1", 3: "v1@x"}
        rows = [
            {"id": task, "total_predictions": 1, "predictions_model_versions": column}
            for task, column in columns.items()
        ]
        return httpx2.Response(200, json={"total": len(rows), "tasks": rows})

    assert api.delete_version(answering(answer), 7, "v1") == 2
    assert set(held) == {12, 14}


def test_a_version_that_may_not_be_deleted_stays_refused(answering):
    forbidden = httpx2.Response(403, json={"detail": "You do not have permission."})
    with pytest.raises(RequestRefused, match="permission"):
        api.delete_version(answering(lambda _: forbidden), 7, "v1")


def test_a_receipt_says_nothing_by_default():
    assert Receipt(Fate.TAKEN) == Receipt(Fate.TAKEN, 0, None, None, 0.0)
