"""The learning loop over HTTP: events, jobs, and answers that change with what was learnt."""

import time
from threading import Event

import pytest

from prelabel.assembly import parts, server
from prelabel.jobs.learner import Learner
from prelabel.jobs.local import LocalRunner
from prelabel.jobs.requests import Trainings
from prelabel.server.learning import Learning
from prelabel.settings import Settings
from prelabel.store.jobs import Jobs
from prelabel.store.learned import LearnedVersions

from .conftest import CONFIG, until

PROJECT, CREATED = 7, 1_700_000_000


@pytest.fixture
def settings(tmp_path):
    return Settings(_env_file=None, data_dir=tmp_path / "data")


@pytest.fixture
def client(serve, settings):
    """A server with a learning loop of its own, and no Label Studio."""
    return serve(learning=server.learning(settings))


def region(frame):
    value = {"x": 10.0 + frame, "y": 20.0, "width": 10.0, "height": 10.0, "rotation": 0}
    return {
        "id": f"r{frame}",
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": 100,
        "original_height": 100,
        "image_rotation": 0,
        "value": {**value, "rectanglelabels": ["body_distortion"]},
    }


def task(frame, **fields):
    data = {"image": f"/data/upload/7/blank_{frame:03}.png"}
    return {"id": 1000 + frame, "project": PROJECT, "data": data, **fields}


def annotated(frames):
    return [task(f, annotations=[{"id": f, "result": [region(f)]}]) for f in frames]


def train(client, frames=range(0, 40, 4), **more):
    body = {"project": f"{PROJECT}.{CREATED}", "label_config": CONFIG, "tasks": annotated(frames)}
    return client.post("/train", json=body | more).json()


def ended(client, job):
    until = time.monotonic() + 20
    while time.monotonic() < until:
        told = client.post("/job_status", json={"job": job}).json()
        if told["job_status"] in ("done", "failed"):
            return told
        time.sleep(0.02)
    raise AssertionError(told)


def setup(client, created=CREATED):
    body = {"project": f"{PROJECT}.{created}", "schema": CONFIG}
    return client.post("/setup", json=body).json()["model_version"]


def predict(client, frames, created=CREATED):
    body = {"project": f"{PROJECT}.{created}", "label_config": CONFIG}
    body["tasks"] = [task(frame) for frame in frames]
    return client.post("/predict", json=body).json()["results"]


def test_without_a_learner_events_are_taken_and_the_answer_says_so(serve):
    client = serve()
    for path, body in (
        ("/webhook", {"action": "START_TRAINING", "project": {"id": 7}}),
        ("/fit", {"event": "START_TRAINING", "data": {}}),
        ("/train", {"project": "7.1"}),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code == 201
        assert answer.json()["job"] is None
        assert "SEQUENCE_LEARNING_ENABLED" in answer.json()["message"]


def test_a_training_changes_the_version_and_the_answers(client):
    before = setup(client)
    answer = train(client)
    assert answer["status"] == "queued"
    told = ended(client, answer["job"])
    assert (told["job_status"], told["status"], told["version"]) == ("done", "trained", 1)
    assert told["figures"]

    assert setup(client) == f"{before}.seq1"
    assert f"{before}.seq1" in client.get("/versions").json()["versions"]
    drawn, carried = predict(client, [4, 6])
    assert drawn["model_version"] == carried["model_version"] == f"{before}.seq1"
    assert drawn["result"][0]["value"] == region(4)["value"]
    assert carried["result"][0]["value"]["x"] == pytest.approx(16, abs=0.5)


def test_what_was_learnt_survives_a_restart(client, serve, settings):
    ended(client, train(client)["job"])
    version = setup(client)
    client.__exit__(None, None, None)
    again = serve(learning=server.learning(settings))
    assert setup(again) == version
    assert predict(again, [6])[0]["result"]


def test_a_project_of_the_same_number_in_a_new_database_is_another_project(client):
    ended(client, train(client)["job"])
    assert ".seq" not in setup(client, created=CREATED + 1)
    assert predict(client, [6], created=CREATED + 1)[0]["result"] == []


def test_too_few_tasks_in_the_body_are_an_answer_at_once(client):
    answer = train(client, range(3))
    assert answer["status"] == "insufficient-data"
    assert (answer["sample_count"], answer["required_samples"]) == (3, 8)
    assert "annotate 5 more" in answer["message"]


def test_before_1_12_the_training_says_that_there_is_too_little(client):
    """Such a Label Studio sends the tasks itself, and shows nobody what it is answered."""
    client.headers["User-Agent"] = "heartex/1.10.1"
    told = ended(client, train(client, range(3))["job"])
    assert (told["job_status"], told["status"]) == ("done", "insufficient-data")
    [shown] = client.get("/status").json()["jobs"]
    assert "needs 8 annotated objects" in shown["message"]


def test_a_training_without_a_login_fails_and_says_what_to_set(client):
    answer = client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": 7}})
    told = ended(client, answer.json()["job"])
    assert told["job_status"] == "failed"
    assert "LABEL_STUDIO_API_KEY" in told["message"]
    assert "LABEL_STUDIO_API_KEY" in client.get("/").text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/webhook", {"action": "START_TRAINING"}),
        ("/webhook", {"action": "START_TRAINING", "project": {"id": "abc"}}),
        ("/fit", {"event": "START_TRAINING", "data": {}}),
        ("/fit", {"event": "START_TRAINING", "data": {"project": [1]}}),
        ("/train", {}),
    ],
)
def test_an_event_without_a_project_starts_nothing(client, path, body):
    answer = client.post(path, json=body)
    assert answer.status_code == 201
    assert answer.json()["job"] is None


def test_a_job_that_nobody_knows_is_gone(client):
    assert client.post("/job_status", json={"job": "nonsense"}).status_code == 410


class Slow:
    """Trainings that last until they are let go."""

    def __init__(self, engine, *, on_annotations=False, delay_s=0.0):
        self.may_end = Event()
        self.begun = []
        jobs = Jobs(engine)
        runner = LocalRunner(jobs, {"training": self.work})
        self.learning = Learning(
            trainings=Trainings(jobs, "", can_fetch=True, delay_s=delay_s, wake=runner.wake),
            learner=Learner(LearnedVersions(engine), ""),
            runner=runner,
            jobs=jobs,
            min_samples=8,
            prefer=True,
            on_annotations=on_annotations,
        )

    def work(self, job, report):
        self.begun.append(job.id)
        report(0.3, "learning")
        self.may_end.wait(20)
        return {"status": "trained", "version": 1, "message": "Version 1 answers."}


@pytest.fixture
def slow(settings):
    made = []

    def make(**how):
        made.append(Slow(parts.database(settings), **how))
        return made[-1]

    yield make
    for one in made:
        one.may_end.set()


def click(client, project=7):
    answer = client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": project}})
    assert answer.status_code == 201
    return answer.json()


def test_clicks_while_a_training_runs_are_answered_at_once_and_become_one_more(serve, slow):
    trainings = slow()
    client = serve(learning=trainings.learning)
    first = click(client)
    until(lambda: trainings.begun)

    def told():
        return client.post("/job_status", json={"job": first["job"]}).json()

    until(lambda: told()["progress"] == 0.3)
    assert told()["job_status"] == "running"
    more = {click(client)["job"] for _ in range(5)}
    assert len(more) == 1
    assert more != {first["job"]}
    trainings.may_end.set()
    ended(client, more.pop())
    assert len(trainings.begun) == 2


def test_a_click_says_in_which_project_of_that_number_it_was(serve, slow, monkeypatch):
    trainings = slow()
    client = serve(learning=trainings.learning)
    asked = []
    monkeypatch.setattr(
        trainings.learning.trainings, "start", lambda *which, **how: asked.append((which, how))
    )
    made = {"id": 7, "created_at": "2026-01-02T03:04:05.678901Z"}
    body = {"action": "START_TRAINING", "project": made}
    assert client.post("/webhook", json=body).status_code == 201
    assert asked == [((7,), {"created": 1_767_323_045, "delayed": False})]


def test_a_click_that_the_database_does_not_take_is_answered_and_kept(serve, slow, monkeypatch):
    trainings = slow()
    client = serve(learning=trainings.learning)
    monkeypatch.setattr(trainings.learning.trainings, "start_for_click", lambda *_, **__: None)
    answer = click(client)
    assert (answer["status"], answer["job"]) == ("ok", None)
    assert "The database does not answer" in answer["message"]


def test_the_status_page_shows_a_running_training(serve, slow):
    trainings = slow()
    client = serve(learning=trainings.learning)
    click(client)
    until(lambda: trainings.begun)
    until(lambda: "<progress" in client.get("/").text)


def test_predictions_go_on_while_a_training_runs(serve, slow):
    trainings = slow()
    client = serve(learning=trainings.learning)
    click(client)
    until(lambda: trainings.begun)
    assert predict(client, [1, 2])[0]["result"] == []


@pytest.mark.parametrize("on", [False, True])
def test_annotations_start_a_training_only_where_that_is_set(serve, slow, on):
    trainings = slow(on_annotations=on, delay_s=0.2)
    client = serve(learning=trainings.learning)
    answers = [
        client.post("/webhook", json={"action": action, "project": {"id": 7}}).json()
        for action in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")
    ]
    assert {answer["status"] for answer in answers} == {"queued" if on else "ok"}
    assert len({answer["job"] for answer in answers}) == 1
    if on:
        until(lambda: len(trainings.begun) == 1)


@pytest.mark.parametrize("action", ["PROJECT_UPDATED", "TASKS_CREATED", "SOMETHING_NEW"])
def test_other_events_start_nothing(serve, slow, action):
    client = serve(learning=slow(on_annotations=True).learning)
    answer = client.post("/webhook", json={"action": action, "project": {"id": 7}}).json()
    assert (answer["status"], answer["job"]) == ("ok", None)
