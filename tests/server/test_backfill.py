"""Retrieves over HTTP: answered in time, and what was not reached comes by itself."""

import time

import pytest
from tests.batch.conftest import LEGACY, PROJECT, FakeLabelStudio, said

from prelabel.assembly.server import service
from prelabel.batch.push import Manners
from prelabel.errors import StoreUnavailable
from prelabel.gathering import Access
from prelabel.jobs.backfill import Backfill
from prelabel.jobs.backfill_means import Means
from prelabel.jobs.backfill_range import KIND as RANGE
from prelabel.jobs.backfill_range import RangePrediction
from prelabel.jobs.local import LocalRunner
from prelabel.jobs.retrieves import KIND, Retrieves
from prelabel.jobs.runner import Together
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.server.backfilling import Backfilling
from prelabel.settings import Settings
from prelabel.store.database import open_database
from prelabel.store.jobs import Jobs

from .conftest import CONFIG, LABEL_STUDIO, until

URL, CREATED = "http://studio.test", 1_767_323_045
DEADLINE_S = 0.6
LOGIN = {"label_studio_api_key": LEGACY}


class StudioOfTest(FakeLabelStudio):
    """Clicks, and stores what it is answered; its project is known to be made at a time."""

    def answer(self, request):
        if request.method == "GET" and request.url.path == f"/api/projects/{PROJECT}/":
            made = {"id": PROJECT, "created_at": "2026-01-02T03:04:05.678901Z"}
            return said(200, {**made, "label_config": CONFIG})
        return super().answer(request)

    def asks(self, client, ids, **more):
        """What `/predict` answers to Label Studio, which does not store it yet."""
        tasks = [{"id": task, "project": PROJECT, **self.tasks[task]} for task in ids]
        asked = {"tasks": tasks, "project": f"{PROJECT}.{CREATED}", "label_config": CONFIG, **more}
        answer = client.post("/predict", json=asked, headers=LABEL_STUDIO)
        assert answer.status_code == 200
        results = answer.json()["results"]
        assert len(results) == len(ids)
        return results

    def stores(self, ids, results):
        for task, entry in zip(ids, results, strict=True):
            if entry != []:
                self.hold(task, entry["model_version"])

    def clicks(self, client):
        """Retrieve Predictions for all tasks that lack one."""
        wanted = [task for task in self.tasks if task not in self.holding("fake")]
        results = self.asks(client, wanted)
        self.stores(wanted, results)
        return results


@pytest.fixture
def fake():
    return StudioOfTest()


@pytest.fixture
def engine(tmp_path):
    opened = open_database("", tmp_path)
    yield opened
    opened.dispose()


@pytest.fixture
def client(serve, fake, engine, tmp_path, predictor, monkeypatch):
    """A server whose model takes 20 ms, beside a Label Studio that it has a login of."""
    predict = predictor.predict

    def slowly(images, ask):
        time.sleep(0.02 * len(images))
        return predict(images, ask)

    monkeypatch.setattr(predictor, "predict", slowly)
    monkeypatch.setattr("prelabel.jobs.retrieves._STORES_AFTER_S", 0.3)
    jobs = Jobs(engine)

    def backfilling(predictors, images):
        studio = LabelStudio(URL, token=LEGACY, transport=fake, attempts=1)
        means = Means(
            engine,
            jobs,
            studio,
            predictors,
            lambda plan, project, created: plan,
            images,
            lambda project: Access(),
            Manners(0.0, 1, 0.1),
            tmp_path,
        )
        ranges = LocalRunner(jobs, {RANGE: RangePrediction(means)}, 0.02, threads=2)
        whole = LocalRunner(jobs, {KIND: Backfill(means, ranges.wake)}, 0.02)
        runner = Together([ranges, whole])
        retrieves = Retrieves(engine, jobs, URL, budget_s=DEADLINE_S, wake=runner.wake)
        return Backfilling(retrieves, runner, jobs)

    return serve(deadline_s=DEADLINE_S, backfilling=backfilling)


def number_of_images(predictor):
    return sum(map(len, predictor.batches))


def test_one_click_is_answered_in_time_and_then_every_task_gets_one_prediction(
    client, fake, predictor
):
    ids = fake.add_tasks(120)
    results = fake.clicks(client)
    assert 0 < results.count([]) < 120
    until(lambda: fake.holding("fake") == dict.fromkeys(ids, 1))
    until(lambda: client.get("/status").json()["jobs"][0]["status"] == "done")
    assert fake.holding("fake") == dict.fromkeys(ids, 1)
    assert number_of_images(predictor) <= 120 + predictor.batch_size


def asked_by_1_12(client, fake, ids):
    """What a Label Studio is answered that would store nothing where a task is left out."""
    tasks = [{"id": task, "project": PROJECT, **fake.tasks[task]} for task in ids]
    asked = {"tasks": tasks, "project": f"{PROJECT}.{CREATED}", "label_config": CONFIG}
    answer = client.post("/predict", json=asked, headers={"User-Agent": "heartex/1.12.1"})
    return answer.json()["results"]


def test_before_1_13_the_job_brings_all_of_an_answer_that_would_leave_tasks_out(
    client, fake, predictor
):
    ids = fake.add_tasks(120)
    assert asked_by_1_12(client, fake, ids) == []
    until(lambda: fake.holding("fake") == dict.fromkeys(ids, 1))
    assert number_of_images(predictor) <= 120 + predictor.batch_size


def test_before_1_13_each_task_is_asked_for_alone_where_no_job_can_bring_them(
    client, fake, monkeypatch
):
    ids = fake.add_tasks(3)
    fake.tasks[ids[1]]["data"] = {"image": "missing"}
    monkeypatch.setattr(fake, "answer", lambda _: said(401, {"detail": "Invalid token."}))
    assert asked_by_1_12(client, fake, ids) == []
    until(lambda: client.get("/status").json()["jobs"][0]["status"] == "failed")
    assert len(asked_by_1_12(client, fake, ids)) == 1
    assert [len(asked_by_1_12(client, fake, [one])) for one in ids] == [1, 0, 1]


def test_clicks_while_the_job_is_at_work_are_told_that_it_is(client, fake, predictor):
    ids = fake.add_tasks(120)
    fake.clicks(client)
    again = fake.clicks(client)
    assert set(map(str, again)) == {"[]"}
    failures = client.get("/status").json()["failures"]
    assert "a job has it before it" in failures[0]["reason"]
    assert [one["request_id"] for one in failures].count(failures[0]["request_id"]) == 1
    until(lambda: fake.holding("fake") == dict.fromkeys(ids, 1))
    assert number_of_images(predictor) <= 120 + predictor.batch_size


def test_the_page_says_why_tasks_of_a_job_failed(client, fake):
    ids = fake.add_tasks(120)
    fake.tasks[ids[-1]]["data"] = {"image": "missing"}
    fake.clicks(client)
    until(lambda: any(job["reasons"] for job in client.get("/status").json()["jobs"]))
    (reasons,) = filter(None, (job["reasons"] for job in client.get("/status").json()["jobs"]))
    assert [why for why in reasons if "missing: answered 404" in why] == reasons
    assert f"1 failed.<br>Such as {reasons[0]}" in client.get("/").text


def test_what_label_studio_is_slow_to_store_is_not_answered_to_a_second_click(client, fake):
    ids = fake.add_tasks(20)
    results = fake.asks(client, ids)
    assert fake.asks(client, ids) == [[]] * 20
    fake.stores(ids, results)
    until(lambda: client.get("/status").json()["jobs"][0]["status"] == "done")
    assert fake.holding("fake") == dict.fromkeys(ids, 1)


def test_an_answer_that_got_lost_is_made_good(client, fake):
    ids = fake.add_tasks(10)
    fake.asks(client, ids)
    until(lambda: fake.holding("fake") == dict.fromkeys(ids, 1))


def test_a_person_who_opens_a_task_does_not_wait_for_the_job(client, fake):
    ids = fake.add_tasks(150)
    fake.clicks(client)
    (entry,) = fake.asks(client, [ids[-1]])
    assert entry["result"]
    fake.stores([ids[-1]], [entry])
    until(lambda: fake.holding("fake") == dict.fromkeys(ids, 1))


def test_a_cancelled_job_leaves_its_tasks_to_the_next_click(client, fake):
    ids = fake.add_tasks(200)
    fake.clicks(client)
    (job,) = client.get("/status").json()["jobs"]
    assert (job["kind"], job["project"], job["can_cancel"]) == ("backfill", str(PROJECT), True)
    assert client.post(f"/jobs/{job['job']}/cancel").status_code == 200
    time.sleep(0.5)
    assert fake.clicks(client).count([]) < 200
    until(lambda: fake.holding("fake") == dict.fromkeys(ids, 1))


def test_an_interactive_call_and_a_call_of_others_start_no_job(client, fake):
    ids = fake.add_tasks(3)
    fake.asks(client, ids, params={"context": {"result": []}})
    fake.asks(client, ids, project=str(PROJECT))
    fake.asks(client, ids, project="mine")
    fake.asks(client, [ids[0], ids[0]])
    assert client.get("/status").json()["jobs"] == []


def test_a_click_is_answered_while_the_database_is_away(client, fake, monkeypatch):
    def away(*_):
        raise StoreUnavailable("the database", "is away", "Start it.")

    monkeypatch.setattr(Retrieves, "begin", away)
    ids = fake.add_tasks(3)
    assert all(entry["result"] for entry in fake.asks(client, ids))


def test_clicks_go_on_in_the_background_where_a_login_is_set_and_else_are_only_answered(tmp_path):
    def settings(**more):
        return Settings(_env_file=None, data_dir=tmp_path / "data", **more)

    alone, beside = service(settings()), service(settings(label_studio_url=URL, **LOGIN))
    try:
        assert alone.backfilling is None
        assert beside.backfilling is not None
    finally:
        alone.close()
        beside.close()


def test_others_than_label_studio_are_answered_each_time_they_ask(client, fake):
    """They store nothing, so that nothing of theirs is in work anywhere."""
    ids = fake.add_tasks(2)
    tasks = [{"id": task, "project": PROJECT, **fake.tasks[task]} for task in ids]
    asked = {"tasks": tasks, "project": f"{PROJECT}.{CREATED}", "label_config": CONFIG}
    for _ in range(3):
        results = client.post("/predict", json=asked).json()["results"]
        assert [entry["result"] != [] for entry in results] == [True, True]
