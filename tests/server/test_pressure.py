"""A server that has more to do than it can: who goes first, who is put off, what it holds."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from prelabel.errors import InvalidRequest, Overloaded, consequence_of
from prelabel.labelstudio import messages
from prelabel.labelstudio.messages import PredictRequest
from prelabel.server.admission import Admission

from .conftest import CONFIG, LABEL_STUDIO, Held, until


def body(*uris):
    tasks = [{"id": n, "data": {"image": uri}} for n, uri in enumerate(uris, 1)]
    return {"tasks": tasks, "label_config": CONFIG}


@pytest.fixture
def predictor():
    return Held()


@pytest.fixture
def busy(serve, predictor):
    """A server with room for ten tasks whose predictor stands still until it is let go."""
    client = serve(most_tasks=10, deadline_s=20)
    pool = ThreadPoolExecutor(16)
    asked = []

    def fill(*uris, **headers):
        predictor.may_go_on.clear()
        before = client.app.state.service.admission.occupancy().tasks
        asked.append(pool.submit(client.post, "/predict", json=body(*uris), headers=headers))
        until(lambda: client.app.state.service.admission.occupancy().tasks >= before + len(uris))
        return asked[-1]

    yield client, fill
    predictor.may_go_on.set()
    for one in asked:
        one.result(60)
    pool.shutdown()


def test_a_script_is_told_at_once_when_to_come_again(busy, predictor):
    client, fill = busy
    held = fill(*"abcdefgh")
    answer = client.post("/predict", json=body("i", "j"))
    assert not held.done()
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json()["title"] == "Overloaded"
    assert "MAX_QUEUED_TASKS" in answer.json()["detail"]


def test_label_studio_gets_an_entry_for_each_task_and_those_that_fit_are_predicted(busy, predictor):
    client, fill = busy
    fill(*"abcdef")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, "/predict", json=body(*"vwxyz"), headers=LABEL_STUDIO)
        until(lambda: client.app.state.service.admission.occupancy().tasks == 9)
        predictor.may_go_on.set()
        entries = answer.result(60).json()["results"]
    assert [bool(entry) for entry in entries] == [True, True, True, False, False]
    assert entries[3:] == [[], []]


def test_label_studio_is_answered_at_once_where_nothing_fits(busy):
    client, fill = busy
    held = fill(*"abcdefghi")
    answer = client.post("/predict", json=body("y", "z"), headers=LABEL_STUDIO)
    assert not held.done()
    assert (answer.status_code, answer.json()) == (200, {"results": [[], []]})


def test_a_person_finds_room_beside_retrieves(busy, predictor):
    _, fill = busy
    fill(*"abcdefghi")
    one = fill("person")
    predictor.may_go_on.set()
    assert one.result(60).json()["results"][0]["result"]


def test_a_person_is_answered_before_the_bulk_that_came_first(busy, predictor):
    _, fill = busy
    predictor.batch_size = 2
    fill(*"abcdefgh")
    until(lambda: predictor.batches)
    one = fill("person")
    time.sleep(0.2)
    predictor.may_go_on.set()
    one.result(60)
    assert predictor.batches[1] == ["person"]


def test_room_comes_back_when_tasks_are_done(busy, predictor):
    client, fill = busy
    first = fill(*"abcdefgh")
    predictor.may_go_on.set()
    assert len(first.result(60).json()["results"]) == 8
    assert client.app.state.service.admission.occupancy().tasks == 0
    assert client.post("/predict", json=body(*"abcdefgh")).status_code == 200


def test_a_request_larger_than_all_the_room_is_done_in_part_where_nothing_else_waits(busy):
    client, _ = busy
    entries = client.post("/predict", json=body(*map(str, range(30)))).json()["results"]
    assert len(entries) == 30
    assert [bool(entry) for entry in entries] == [True] * 9 + [False] * 21
    assert client.app.state.service.admission.occupancy().tasks == 0


def test_a_body_that_does_not_parse_leaves_no_room_taken(busy):
    client, _ = busy
    assert client.post("/predict", content=b"{").status_code == 400
    with client.app.state.service.admission.enter(1, asks_again=False) as stay:
        assert stay.take(1) == 1


def test_tasks_of_callers_that_hung_up_leave_the_queue(busy, predictor):
    client, fill = busy
    service = client.app.state.service
    fill("a")
    request = PredictRequest.read(json.dumps(body("late 1", "late 2")).encode())

    async def is_gone():
        return True

    with service.admission.enter(0, asks_again=False) as stay:
        asyncio.run(service.predict(request, "id", is_gone, stay))
    predictor.may_go_on.set()
    time.sleep(0.2)
    assert not any("late" in name for batch in predictor.batches for name in batch)


def test_a_crowd_is_answered_in_full_by_a_fixed_number_of_threads(serve, predictor):
    client = serve(deadline_s=30)
    before = threading.active_count()
    with ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(client.post, "/predict", json=body(str(n))) for n in range(300)]
        most = 0
        while not all(one.done() for one in asked):
            most = max(most, threading.active_count())
            time.sleep(0.01)
    answers = [one.result() for one in asked]
    assert all(answer.json()["results"][0]["result"] for answer in answers)
    assert most - before - 100 < 40


def test_nothing_waits_at_first():
    admission = Admission(10, 100)
    assert admission.occupancy().tasks == 0


def test_what_is_done_after_the_answer_makes_no_room_that_was_not_taken():
    admission = Admission(10)
    with admission.enter(0, asks_again=False) as stay:
        stay.take(3)
        stay.done()
    stay.done()
    assert admission.occupancy().tasks == 0


def test_requests_whose_bodies_are_too_much_for_memory_are_put_off():
    admission = Admission(10, most_bytes=100)
    with admission.enter(90, asks_again=False):
        with pytest.raises(Overloaded, match="MAX_QUEUED_MB"):
            admission.enter(20, asks_again=False)
        with admission.enter(20, asks_again=True) as stay:
            assert stay.take(1) == 0
    with admission.enter(200, asks_again=False) as stay:  # alone, a large one may come
        assert stay.take(1) == 1


def test_a_body_whose_head_does_not_say_its_size_counts_once_it_is_there():
    admission = Admission(most_bytes=1000)
    with admission.enter(0, asks_again=False) as first:
        first.has_come(600)
        assert admission.occupancy().held_bytes == 600
        with admission.enter(0, asks_again=False) as script, pytest.raises(Overloaded):
            script.has_come(600)
        with admission.enter(0, asks_again=True) as studio:
            studio.has_come(600)
            assert studio.take(5) == 0
        with admission.enter(300, asks_again=False) as fits:
            fits.has_come(300)
            assert admission.occupancy().held_bytes == 900
    assert admission.occupancy().held_bytes == 0


def test_label_studio_and_events_are_turned_away_only_where_memory_is_at_stake():
    admission = Admission(10, most_bytes=100)
    with admission.enter(90, asks_again=False), admission.enter(90, asks_again=True):
        with pytest.raises(Overloaded, match="MAX_QUEUED_MB"):
            admission.enter(30, asks_again=True)
        with pytest.raises(Overloaded, match="MAX_QUEUED_MB"):
            admission.enter_without_tasks(30)
        with admission.enter_without_tasks(15):
            assert admission.occupancy().held_bytes == 195
    assert admission.occupancy().held_bytes == 0
    with admission.enter_without_tasks(300):  # alone, a large one may come
        pass


def test_a_body_alone_may_come_in_pieces_of_which_each_is_counted():
    admission = Admission(10, most_bytes=100)
    with admission.enter(0, asks_again=False) as stay:
        for size in (90, 180, 270):
            stay.has_come(size)
            assert admission.occupancy().held_bytes == size
        assert stay.take(1) == 1


def test_events_are_taken_while_the_server_ends():
    admission = Admission()
    admission.close()
    with admission.enter_without_tasks(10):
        assert admission.occupancy().held_bytes == 10


@pytest.mark.parametrize(
    "path", ["/setup", "/validate", "/webhook", "/fit", "/train", "/job_status"]
)
def test_every_body_counts_as_memory_until_it_is_answered(client, path, monkeypatch):
    admission = client.app.state.service.admission
    held = []

    def read(_, body):
        held.append(admission.occupancy().held_bytes)
        raise InvalidRequest("body", f"has {len(body)} bytes", "Send another.")

    monkeypatch.setattr(messages.Request, "read", classmethod(read))
    assert client.post(path, content=iter([b" " * 100])).status_code == 400
    assert (held, admission.occupancy().held_bytes) == ([100], 0)


def test_the_size_of_a_body_that_comes_in_chunks_is_counted(busy, predictor):
    client, _ = busy
    predictor.may_go_on.clear()
    whole = json.dumps(body("a")).encode()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, "/predict", content=iter([whole]))
        until(lambda: client.app.state.service.admission.occupancy().held_bytes == len(whole))
        predictor.may_go_on.set()
        assert answer.result(60).status_code == 200


def test_the_pause_that_is_asked_for_follows_the_rate_of_the_last_tasks():
    admission = Admission(100)
    with admission.enter(0, asks_again=False) as stay:
        stay.take(80)
        for _ in range(20):
            stay.done()
            time.sleep(0.01)  # 100 tasks a second
        with pytest.raises(Overloaded) as refused:
            admission.take(90, in_part=False)
        assert refused.value.retry_after_s == 1
        with pytest.raises(Overloaded) as refused:
            admission.take(1030, in_part=False)
        assert 8 <= refused.value.retry_after_s <= 30


def test_a_full_server_is_unavailable_and_not_the_callers_fault():
    consequence = consequence_of(Overloaded("queue", "is full", "Come again."))
    assert (consequence.http_status, consequence.retry) == (503, True)
