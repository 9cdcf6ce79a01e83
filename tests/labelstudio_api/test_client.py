import json
import socket
import ssl
import threading
import time
from email.utils import formatdate

import httpx2
import pytest
from structlog.testing import capture_logs

from prelabel.errors import (
    LabelStudioError,
    LabelStudioUnreachable,
    LoginRefused,
    RequestRefused,
    SettingsError,
)
from prelabel.labelstudio_api.client import LabelStudio


def answering(answer, **how):
    """A client whose requests all go to a function."""
    transport = httpx2.MockTransport(answer)
    return LabelStudio("http://studio.test", token="a" * 40, transport=transport, **how)


def always(status, body=None, **headers):
    content = json.dumps(body) if isinstance(body, dict) else body
    return lambda _: httpx2.Response(status, content=content, headers=headers)


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://studio", "http://", "studio"])
def test_what_is_no_address_is_a_setting_to_correct(url):
    with pytest.raises(SettingsError, match="for example http://localhost:8080"):
        LabelStudio(url, token="a" * 40)


def test_a_project_without_tasks_lists_none(fake, studio):
    assert list(studio.tasks(1)) == []


@pytest.mark.parametrize(("page_size", "server_limit"), [(500, 1000), (3, 1000), (500, 2), (7, 7)])
def test_all_tasks_come_once_and_in_order_whatever_the_page_size(
    fake, studio, page_size, server_limit
):
    fake.max_page_size = server_limit
    ids = studio.import_tasks(1, [{"data": {"image": f"{number}.jpg"}} for number in range(7)])
    studio.import_tasks(2, [{"data": {"image": "of another project"}}])
    found = list(studio.tasks(1, page_size=page_size))
    assert [task["id"] for task in found] == ids
    assert [task["inner_id"] for task in found] == [1, 2, 3, 4, 5, 6, 7]
    assert [task["data"]["image"] for task in found] == [f"{number}.jpg" for number in range(7)]


def test_listing_goes_on_behind_an_id(fake, studio):
    ids = studio.import_tasks(1, [{"data": {}} for _ in range(5)])
    assert [task["id"] for task in studio.tasks(1, after_id=ids[2])] == ids[3:]


def test_tasks_that_go_while_listing_shift_nothing(fake, studio):
    ids = studio.import_tasks(1, [{"data": {}} for _ in range(6)])
    listing = studio.tasks(1, page_size=2)
    first = [next(listing)["id"], next(listing)["id"]]
    del fake.tasks[ids[0]]
    del fake.tasks[ids[1]]
    assert first + [task["id"] for task in listing] == ids


def test_every_uploaded_file_becomes_a_task_in_order(fake, studio, tmp_path):
    paths = [tmp_path / f"{number:03}.png" for number in range(120)]
    for path in paths:
        path.write_bytes(b"picture")
    ids = studio.upload_files(1, paths)
    names = [fake.tasks[task_id]["data"]["image"] for task_id in ids]
    assert names == [f"/data/upload/{path.name}" for path in paths]
    assert fake.count("POST", "/api/projects/1/import") == 3


def test_uploading_no_files_asks_nothing(fake, studio):
    assert studio.upload_files(1, []) == []
    assert fake.requests == []


def test_a_title_is_found_exactly_and_on_every_page(fake, studio):
    for title in ["hands", "hands again", "my hands", "Hands", "hands"]:
        studio.create_project(title, "<View/>")
    assert [project["id"] for project in studio.projects_titled("hands")] == [1, 5]
    assert studio.projects_titled("feet") == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_read_is_repeated_while_label_studio_cannot_answer(fake, studio, status, no_pauses):
    fake.faults = [("GET", "/api/version/", status, ())] * 2
    assert studio.version() == "1.23.2"
    assert len(no_pauses) == 2


def test_a_filter_that_label_studio_cannot_follow_is_not_asked_for_again(no_pauses):
    detail = "Cannot resolve keyword 'nonsense' into field. Choices are: …"
    with pytest.raises(RequestRefused, match="Check the column of --filter"):
        answering(always(500, {"detail": detail})).project(7)
    assert no_pauses == []


def test_a_wish_to_wait_is_granted_up_to_a_minute(fake, studio, no_pauses):
    fake.faults = [
        ("GET", "/api/version/", 503, [("Retry-After", "7")]),
        ("GET", "/api/version/", 429, [("Retry-After", "86400")]),
    ]
    studio.version()
    assert no_pauses == [7, 60]


def test_a_wish_to_wait_may_be_a_date(fake, studio, no_pauses):
    soon = formatdate(time.time() + 30, usegmt=True)
    fake.faults = [("GET", "/api/version/", 503, [("Retry-After", soon)])]
    studio.version()
    assert no_pauses == [pytest.approx(30, abs=3)]


def test_a_read_gives_up_after_four_attempts(fake, studio):
    fake.faults = [("GET", "/api/version/", 503, ())] * 9
    with pytest.raises(LabelStudioUnreachable, match="starting or overloaded"):
        studio.version()
    assert fake.count("GET", "/api/version/") == 4


def told(logs):
    """The lines of ours; those of the library that repeats are off wherever logging is set up."""
    return [entry["event"] for entry in logs if "stamina" not in entry["event"]]


def test_a_pause_of_more_than_a_moment_is_told_in_one_line_each(fake, studio, no_pauses):
    fake.faults = [
        ("GET", "/api/version/", 503, [("Retry-After", "7")]),
        ("GET", "/api/version/", 429, ()),
    ]
    with capture_logs() as logs:
        studio.version()
    assert told(logs) == [
        "Label Studio does not answer (it answered 503); trying again in 7 s, 2 of 4"
    ], "the second pause is shorter than a moment"


def test_repetitions_that_are_over_in_a_moment_are_no_news(fake, studio):
    fake.faults = [("GET", "/api/version/", 503, ())]
    with capture_logs() as logs:
        studio.version()
    assert told(logs) == []


def test_the_last_attempt_and_what_is_not_repeated_are_told_by_the_error_alone(
    fake, studio, no_pauses
):
    fake.faults = [("GET", "/api/version/", 503, [("Retry-After", "7")])] * 4
    with capture_logs() as logs, pytest.raises(LabelStudioUnreachable):
        studio.version()
    assert [event[-6:] for event in told(logs)] == ["2 of 4", "3 of 4", "4 of 4"]
    fake.faults = [("POST", "/api/projects/", 503, [("Retry-After", "7")])]
    with capture_logs() as logs, pytest.raises(LabelStudioError):
        studio.create_project("cats", "<View/>")
    assert told(logs) == []


def test_a_read_whose_connection_breaks_off_is_repeated():
    seen = []

    def answer(request):
        seen.append(request.url.path)
        if len(seen) < 3:
            raise httpx2.ReadError("connection reset by peer")
        return httpx2.Response(200, json={"release": "1.23.2"})

    assert answering(answer).version() == "1.23.2"


@pytest.mark.parametrize("failure", [httpx2.ReadError, httpx2.ReadTimeout, httpx2.WriteError])
def test_a_write_that_may_have_been_applied_is_not_repeated(failure):
    seen = []

    def answer(request):
        seen.append(request.url.path)
        raise failure("gone")

    with pytest.raises(LabelStudioUnreachable):
        answering(answer).create_project("hands", "<View/>")
    assert len(seen) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_write_that_an_overloaded_server_answered_is_not_repeated(fake, studio, status):
    fake.faults = [("POST", "/api/projects/", status, ())]
    with pytest.raises(LabelStudioError):
        studio.create_project("hands", "<View/>")
    assert fake.projects == {}


def test_a_write_that_was_turned_away_is_repeated(fake, studio, no_pauses):
    fake.faults = [("POST", "/api/projects/", 429, [("Retry-After", "2")])]
    assert studio.create_project("hands", "<View/>")["id"] == 1
    assert no_pauses == [2]


def test_a_write_that_was_never_sent_is_repeated():
    seen = []

    def answer(request):
        seen.append(request.url.path)
        if len(seen) == 1:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(201, json={"id": 1})

    assert answering(answer).create_project("hands", "<View/>") == {"id": 1}


def test_a_closed_port_asks_whether_label_studio_runs():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(LabelStudioUnreachable, match="Check that Label Studio is running") as error:
        LabelStudio(f"http://127.0.0.1:{port}", token="a" * 40).version()
    assert f"http://127.0.0.1:{port}" in str(error.value)


def test_a_server_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = LabelStudio(f"http://127.0.0.1:{port}", token="a" * 40, timeout_s=0.1)
        with client, pytest.raises(LabelStudioUnreachable, match="did not answer in time"):
            client.version()


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (always(200, "<html>Sign in</html>"), LabelStudioUnreachable, "answers with a web page"),
        (always(200, b""), LabelStudioUnreachable, "with its sub-path"),
        (always(200, "[]"), LabelStudioUnreachable, "Label Studio itself answers"),
        (
            always(302, Location="https://sso.test/login"),
            LabelStudioUnreachable,
            "leads on to https://sso.test/login",
        ),
        (always(404, "<html>not here</html>"), RequestRefused, "lacks a sub-path"),
        (always(403, {"detail": "You do not have permission"}), RequestRefused, "who may do this"),
        (always(500, {"detail": "boom"}), RequestRefused, "boom. Look into Label Studio's log"),
        (always(500, {"detail": "x" * 999 + " end"}), RequestRefused, "…"),
        (always(401, {"detail": "Invalid token."}), LoginRefused, "Invalid token. Create a"),
        (
            always(401, {"detail": "Authentication credentials were not provided."}),
            LoginRefused,
            "a kind that is switched off",
        ),
        (
            always(400, {"detail": "{'task': 7} contains invalid \"task\" field: no such task"}),
            RequestRefused,
            "Somebody deleted the task",
        ),
        (
            always(400, {"validation_errors": {"title": ["Too short."], "color": ["Odd."]}}),
            RequestRefused,
            "title: Too short.; color: Odd. Correct",
        ),
        (
            always(
                403, {"detail": "URL resolves to a reserved network address (block: 10.0.0.0/8)"}
            ),
            RequestRefused,
            "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false",
        ),
        (
            always(400, {"validation_errors": {"url": ["Enter a valid URL."]}}),
            RequestRefused,
            "dot",
        ),
    ],
)
def test_each_answer_that_is_no_success_names_the_next_step(answer, error, says, no_pauses):
    with pytest.raises(error) as refused:
        answering(answer).whoami()
    assert says in str(refused.value)
    assert refused.value.next_step.endswith(".")
    assert "a" * 40 not in str(refused.value)


def test_a_certificate_that_is_not_trusted_says_where_to_put_its_authority():
    failure = httpx2.ConnectError("certificate verify failed")
    failure.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")

    def answer(_):
        raise failure

    with pytest.raises(LabelStudioUnreachable, match="VERIFY_SSL"):
        answering(answer).version()


def test_the_client_may_be_shared_between_threads(fake, studio):
    versions = []
    threads = [
        threading.Thread(target=lambda: versions.append(studio.version())) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert versions == ["1.23.2"] * 16


def test_selected_tasks_and_all_tasks_are_asked_for_as_the_data_manager_does():
    sent = []

    def answer(request):
        sent.append((request.url.path, dict(request.url.params), json.loads(request.content)))
        return httpx2.Response(200, json={"processed_items": 2})

    client = answering(answer)
    client.retrieve_predictions(7, [3, 5])
    client.retrieve_predictions(7)
    where = ("/api/dm/actions/", {"id": "retrieve_tasks_predictions", "project": "7"})
    assert sent == [
        (*where, {"selectedItems": {"all": False, "included": [3, 5]}}),
        (*where, {"selectedItems": {"all": True, "excluded": []}}),
    ]


def test_training_has_no_answer_to_read():
    assert answering(always(200, b"")).start_training(3) is None


def test_before_1_12_a_project_without_a_version_lists_none_without_a_name():
    with answering(always(200, {"v1": 3, "": 0, "prelabel": 0})) as studio:
        assert studio.model_versions(1) == {"v1": 3, "prelabel": 0}
    with answering(always(200, {"": 2})) as studio:
        assert studio.model_versions(1) == {"": 2}
