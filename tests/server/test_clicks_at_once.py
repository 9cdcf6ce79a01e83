"""Requests for the same tasks at one moment, without a token to look into Label Studio with."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from prelabel.labelstudio.messages import PredictRequest
from prelabel.server import retrieve_here, under_way

from .conftest import CONFIG, LABEL_STUDIO, Held, until

TASKS = range(1, 9)


@pytest.fixture
def predictor():
    return Held(batch_size=1)


@pytest.fixture(autouse=True)
def no_moment(monkeypatch):
    monkeypatch.setattr(retrieve_here, "_STORED_IN_S", 0.01)


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def body(ids, image="frame", **more):
    tasks = [{"id": one, "project": 7, "data": {"image": f"{image}-{one}"}} for one in ids]
    return {"tasks": tasks, "project": "7.1700000000", "label_config": CONFIG, **more}


def click(client, ids=TASKS, image="frame", headers=LABEL_STUDIO, **more):
    """What Label Studio is answered."""
    answer = client.post("/predict", json=body(ids, image, **more), headers=headers)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert len(results) == len(ids)
    return results


def given(*answers):
    """How many predictions Label Studio is given for each task."""
    return [sum(entry != [] for entry in entries) for entries in zip(*answers, strict=True)]


def requests_under_way(client):
    open_ = client.app.state.service._under_way._open
    return sum(map(len, open_.values()))


def names(predictor):
    return sorted(name for batch in predictor.batches for name in batch)


def at_once(client, predictor, threads, *asks):
    """Requests of which the second begins while the model is at work for the first, and so on."""
    predictor.may_go_on.clear()
    begun = []
    for ask in asks:
        begun.append(threads.submit(ask))
        assert predictor.is_at_work.wait(10)
        until(lambda: requests_under_way(client) >= len(begun))
    predictor.may_go_on.set()
    return [one.result() for one in begun]


def test_two_clicks_at_one_moment_give_each_task_one_prediction(serve, predictor, threads):
    client = serve()
    both = at_once(client, predictor, threads, lambda: click(client), lambda: click(client))
    assert given(*both) == [1] * len(TASKS)
    assert names(predictor) == [f"frame-{one}" for one in TASKS]
    assert client.app.state.service.admission.occupancy().tasks == 0


def test_a_click_on_more_tasks_gets_the_rest(serve, predictor, threads):
    client = serve()
    some, all_ = at_once(
        client, predictor, threads, lambda: click(client, [1, 2, 3, 4]), lambda: click(client)
    )
    assert given(some) == [1] * 4
    assert given(all_) == [0] * 4 + [1] * 4


def test_a_click_soon_after_an_answer_is_not_answered_again_and_says_when_it_would_be(client):
    assert given(click(client)) == [1] * len(TASKS)
    assert given(click(client)) == [0] * len(TASKS)
    reason = client.get("/status").json()["failures"][0]["reason"]
    assert "was given its prediction a moment ago" in reason
    assert "retrieve it again in 16 s" in reason


def test_a_click_after_that_is_answered_in_full(client, monkeypatch):
    monkeypatch.setattr("prelabel.jobs.retrieves._STORES_AFTER_S", 0.0)
    monkeypatch.setattr("prelabel.jobs.retrieves._STORES_PER_S", 1000.0)
    assert given(click(client)) == [1] * len(TASKS)
    until(lambda: given(click(client)) == [1] * len(TASKS))


def test_a_person_gets_a_task_that_a_click_has_in_work_and_the_click_leaves_it_out(
    serve, predictor, threads
):
    client = serve()
    last = TASKS[-1]
    many, one = at_once(
        client, predictor, threads, lambda: click(client), lambda: click(client, [last])
    )
    assert given(one) == [1]
    assert given(many) == [1] * (len(TASKS) - 1) + [0]


def test_two_persons_who_open_one_task_at_one_moment_get_one_prediction_of_it(
    serve, predictor, threads
):
    client = serve()
    both = at_once(
        client, predictor, threads, lambda: click(client, [1]), lambda: click(client, [1])
    )
    assert given(*both) == [1]


def test_a_click_soon_after_a_test_of_the_backend_is_answered_in_full(client, monkeypatch):
    """The test stores nothing; Label Studio does not say that it is one."""
    monkeypatch.setattr(under_way, "_READS_PER_S", 1e6)
    monkeypatch.setattr(under_way, "_STORES_ONE_IN_S", 0.01)
    assert given(click(client, [2])) == [1]
    until(lambda: given(click(client, [2])) == [1])
    until(lambda: given(click(client))[1] == 1)


def test_what_failed_for_one_click_is_tried_for_the_other(serve, predictor, threads):
    client = serve()
    first, second = at_once(
        client, predictor, threads, lambda: click(client, image="poison"), lambda: click(client)
    )
    assert given(first) == [0] * len(TASKS)
    assert given(second) == [1] * len(TASKS)
    assert client.app.state.service.admission.occupancy().tasks == 0


def test_both_clicks_are_answered_in_time_where_the_model_takes_too_long(serve, predictor, threads):
    client = serve(deadline_s=0.3)
    predictor.may_go_on.clear()
    both = [threads.submit(click, client) for _ in range(2)]
    assert given(*(one.result() for one in both)) == [0] * len(TASKS)
    assert requests_under_way(client) == 0
    predictor.may_go_on.set()
    until(lambda: client.app.state.service.admission.occupancy().tasks == 0)


def test_others_than_label_studio_and_smart_tools_are_answered_each_time(serve, predictor, threads):
    client = serve()
    context = {"params": {"context": {"result": [{"type": "rectanglelabels", "value": {}}]}}}
    click(client)
    for _ in range(2):
        assert given(click(client, headers={})) == [1] * len(TASKS)
        (entry,) = click(client, [1], **context)
        assert "result" in entry
        assert given(click(client, [1, 1])) == [1, 1]
        assert given(click(client, project="7")) == [1] * len(TASKS)


async def _never():
    return False


def asked_of(service, is_gone=_never, ids=TASKS):
    """A request of Label Studio, without HTTP."""

    async def ask():
        with service.admission.enter(0, asks_again=True) as stay:
            request = PredictRequest.model_validate(body(ids))
            return await service.predict(request, "id", is_gone, stay)

    return ask()


def test_a_second_click_gets_all_where_the_caller_of_the_first_hangs_up(client, predictor):
    service, hung_up = client.app.state.service, Event()

    async def is_gone():
        return hung_up.is_set()

    async def both():
        first = asyncio.create_task(asked_of(service, is_gone))
        assert await asyncio.to_thread(predictor.is_at_work.wait, 10)
        second = asyncio.create_task(asked_of(service))
        await asyncio.to_thread(until, lambda: requests_under_way(client) == 2)
        hung_up.set()
        await first
        predictor.may_go_on.set()
        return await second

    predictor.may_go_on.clear()
    assert given(asyncio.run(both())) == [1] * len(TASKS)


def test_a_request_that_is_broken_off_has_nothing_in_work_any_more(client, predictor):
    service = client.app.state.service

    async def broken_off():
        asking = asyncio.create_task(asked_of(service))
        assert await asyncio.to_thread(predictor.is_at_work.wait, 10)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    predictor.may_go_on.clear()
    asyncio.run(broken_off())
    assert requests_under_way(client) == 0
    predictor.may_go_on.set()
    assert given(click(client)) == [1] * len(TASKS)


def test_a_click_that_waits_is_answered_when_the_server_ends(client, predictor):
    service = client.app.state.service

    async def both():
        first = asyncio.create_task(asked_of(service))
        assert await asyncio.to_thread(predictor.is_at_work.wait, 10)
        second = asyncio.create_task(asked_of(service))
        await asyncio.to_thread(until, lambda: requests_under_way(client) == 2)
        service.stop_intake()
        return await asyncio.gather(first, second)

    predictor.may_go_on.clear()
    first, second = asyncio.run(both())
    assert (given(first), given(second)) == ([0] * len(TASKS), [0] * len(TASKS))
