"""POST /predict: one entry per task, in order, in time, whatever happens."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from prelabel.labelstudio.messages import PredictRequest

from .conftest import CONFIG


def ask(client, *uris, config=CONFIG, **more):
    tasks = [{"id": n, "data": {"image": uri}} for n, uri in enumerate(uris, 1)]
    body = {"tasks": tasks, "project": "7.1699999999", "label_config": config, **more}
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def test_no_tasks_get_no_entries(client):
    assert ask(client) == []


def test_a_task_gets_its_box_and_part_with_the_version_of_setup(client):
    (entry,) = ask(client, "a.png")
    box, part = entry["result"]
    assert box["value"]["rectanglelabels"] == ["body_distortion"]
    assert part["value"]["choices"] == ["face"]
    assert entry["score"] == 0.5
    setup = client.post("/setup", json={"project": "7.1", "schema": CONFIG}).json()
    assert entry["model_version"] == setup["model_version"] == "fake"


def test_nothing_found_is_stored_and_failure_is_not(client):
    found, blank, missing, poison, last = ask(client, "a", "blank", "missing", "poison", "b")
    assert found["result"]
    assert blank == {"result": [], "score": 0.0, "model_version": "fake"}
    assert missing == []
    assert poison == []
    assert last["result"]


def test_a_task_without_an_image_fails_alone(client):
    tasks = [{"id": 1, "data": {}}, {"id": 2, "data": {"image": "a"}}]
    body = {"tasks": tasks, "label_config": CONFIG}
    first, second = client.post("/predict", json=body).json()["results"]
    assert first == []
    assert second["result"]


def test_half_a_character_in_a_task_costs_nothing(client):
    half = "\ud83d"  # what is left where a script cuts a text in the middle of an emoji
    tasks = [
        {"id": 1, "data": {"image": "a", "title": f"cut {half}"}},
        {"id": 2, "data": {"image": "b", "title": "whole \U0001f600, \\ud83d and \n"}},
        {"id": 3, "data": {"image": f"missing {half}\udcff"}},
    ]
    body = json.dumps({"tasks": tasks, "label_config": CONFIG})
    first, second, third = client.post("/predict", content=body).json()["results"]
    assert first["result"]
    assert second["result"]
    assert third == []


def test_a_defect_of_ours_costs_only_what_was_not_done(client, predictor):
    predictor.batch_size = 1
    first, crash = ask(client, "a", "slow-crash")
    assert first["result"]
    assert crash == []


def test_a_single_task_may_come_without_a_list(client):
    body = {"tasks": {"id": 1, "data": {"image": "a"}}, "label_config": CONFIG}
    assert len(client.post("/predict", json=body).json()["results"]) == 1


def test_a_config_that_nothing_fills_gets_empty_entries(client):
    assert ask(client, "a", "b", config="<View></View>") == [[], []]


def test_a_request_without_config_uses_what_setup_said(client):
    config = CONFIG.replace('value="body_distortion"', 'value="cat"')
    client.post("/setup", json={"project": "7.1", "schema": config})
    body = {"tasks": [{"data": {"image": "a"}}], "project": 7}
    (entry,) = client.post("/predict", json=body).json()["results"]
    assert entry["result"][0]["value"]["rectanglelabels"] == ["cat"]


def test_a_request_without_any_config_uses_the_shipped_one(client):
    body = {"tasks": [{"data": {"image": "a"}}]}
    (entry,) = client.post("/predict", json=body).json()["results"]
    assert entry["result"][0]["value"]["rectanglelabels"] == ["body_distortion"]


def test_project_credentials_reach_the_images(client, images):
    ask(client, "a", params={"login": "ann", "password": "pw", "context": None})
    assert (images.loaded[0].login, images.loaded[0].password) == ("ann", "pw")


def test_an_interactive_call_looks_for_what_was_typed(client, predictor):
    drawn = [{"type": "textarea", "from_name": "prompt", "value": {"text": ["extra finger"]}}]
    (entry,) = ask(client, "a", params={"context": {"result": drawn}})
    assert [phrase.text for phrase in predictor.asks[0].phrases] == ["extra finger"]
    assert entry["result"][0]["value"]["rectanglelabels"] == ["body_distortion"]


def test_a_failed_interactive_call_still_gets_an_object(client):
    (entry,) = ask(client, "missing", params={"context": {"result": [{"type": "x"}]}})
    assert entry["result"] == []


def test_the_answer_comes_in_time_with_what_is_done(serve):
    client = serve(deadline_s=2.5)
    started = time.monotonic()
    entries = ask(client, *(["a"] * 4 + ["slow"] * 9996))
    assert time.monotonic() - started < 30, "all of them would take many minutes"
    assert len(entries) == 10_000
    assert all(entry["result"] for entry in entries[:4])
    assert 5 < sum(bool(entry) for entry in entries) < 100
    (project,) = client.get("/status").json()["projects"]
    assert project["asked"] == 10_000
    assert project["not_reached"] > 9_000


def test_a_model_that_is_still_loading_does_not_hold_the_answer(serve, predictor):
    predictor.may_go_on.clear()
    client = serve(deadline_s=0.5)
    started = time.monotonic()
    assert ask(client, "a", "b") == [[], []]
    assert time.monotonic() - started < 8
    (project,) = client.get("/status").json()["projects"]
    assert "still loading" in project["last_failures"][0]["reason"]
    assert client.get("/health").json()["status"] == "ok"


@pytest.mark.parametrize("size", [1, 3])
def test_batches_are_no_larger_than_the_predictor_wants(client, predictor, size):
    predictor.batch_size = size
    ask(client, *"abcdefgh")
    assert max(len(batch) for batch in predictor.batches) <= size
    assert sorted(name for batch in predictor.batches for name in batch) == list("abcdefgh")


def test_a_single_task_does_not_queue_behind_bulk_requests(serve):
    client = serve(deadline_s=6)
    bulk = {"tasks": [{"data": {"image": f"slow {n}"}} for n in range(400)], "label_config": CONFIG}
    with ThreadPoolExecutor(8) as callers:
        waiting = [callers.submit(client.post, "/predict", json=bulk) for _ in range(8)]
        time.sleep(0.5)
        started = time.monotonic()
        (entry,) = ask(client, "a")
        took_s = time.monotonic() - started
        assert entry["result"]
        assert took_s < 3
        assert all(answer.result().status_code == 200 for answer in waiting)


def test_work_for_a_caller_that_has_hung_up_is_given_up(serve, images):
    client = serve(deadline_s=30)
    service_request = PredictRequest.read(
        json.dumps(
            {
                "tasks": [{"data": {"image": f"slow {n}"}} for n in range(400)],
                "label_config": CONFIG,
            }
        ).encode()
    )

    async def is_gone():
        return True

    started = time.monotonic()
    service = client.app.state.service
    with service.admission.enter(0, asks_again=False) as stay:
        asyncio.run(service.predict(service_request, "id", is_gone, stay))
    assert time.monotonic() - started < 10
