"""The backfill job, with a Label Studio that remembers: each task gets one prediction, in time."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
from tests.batch.conftest import LEGACY, PROJECT, FakeLabelStudio, Faults, said

from prelabel.assembly.jobs import runners_of_worker
from prelabel.batch.push import Manners
from prelabel.errors import ImageUnreachable, NotReached
from prelabel.gathering import Access, Studio
from prelabel.jobs.backfill import Backfill, Means
from prelabel.jobs.local import LocalRunner
from prelabel.jobs.retrieves import KIND, Retrieves, Scope
from prelabel.jobs.work import Stopped
from prelabel.labelstudio.tasks import Task
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.pipeline import Prediction
from prelabel.plan import Predictors
from prelabel.runtime.batch_queue import BatchQueue
from prelabel.runtime.batcher import Batcher
from prelabel.settings import Settings
from prelabel.store.jobs import Jobs
from prelabel.store.journal import Campaign, State
from prelabel.store.ledger import Ledger, Seen
from prelabel.store.lock import held, run_lock
from prelabel.types import Detections, Image

from .conftest import until

URL = "http://studio.test"
CREATED = 1_767_323_045
CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="body_distortion"/></RectangleLabels></View>'
)
SCOPE = Scope(PROJECT, CREATED, "finder")


class StudioWithBirthday(FakeLabelStudio):
    """The same, with a project of which it is known when it was made."""

    def answer(self, request):
        if request.method == "GET" and request.url.path == f"/api/projects/{PROJECT}/":
            made = {"id": PROJECT, "created_at": "2026-01-02T03:04:05.678901Z"}
            return said(200, {**made, "label_config": self.label_config})
        return super().answer(request)


@dataclass
class Finder:
    """Finds one box; may be made to wait, or to be called otherwise."""

    name: str = "finder"
    fingerprint: str = ""
    wants_neighbours: bool = False
    batch_size: int = 1
    seen: list = field(default_factory=list)
    before: object = lambda image: None

    def check(self): ...

    def load(self): ...

    def health(self):
        return {"loaded": True}

    def predict(self, images, ask):
        return [self._find(image, ask) for image in images]

    def _find(self, image, ask):
        self.seen.append(image.name)
        self.before(image)
        box, score = np.array([[1, 1, 8, 9]], np.float32), np.array([0.5], np.float32)
        return Detections(box, score, (ask.phrases[0].label,), (None,), self.name)


class Pictures:
    """A picture for each address but some."""

    def load(self, reference):
        if reference.uri == "gone.png":
            raise ImageUnreachable(reference.uri, "is gone", "Upload it again.")
        return Image(np.zeros((10, 10, 3), np.uint8), reference.uri)


@pytest.fixture
def fake():
    return StudioWithBirthday(label_config=CONFIG)


@pytest.fixture
def finder():
    return Finder()


@pytest.fixture
def means(engine, table, fake, finder, tmp_path):
    queued = Batcher(BatchQueue(finder))
    with (
        LabelStudio(URL, token=LEGACY, transport=fake, attempts=1) as studio,
        ThreadPoolExecutor(4) as fetchers,
    ):
        yield Means(
            engine,
            table,
            studio,
            Predictors(queued, queued),
            lambda plan, project, created: plan,
            Studio(Pictures(), fetchers, lambda _: ()),
            lambda project: Access(),
            Manners(0.0, 1, 0.01),
            tmp_path,
        )


@pytest.fixture
def retrieves(engine, table):
    return Retrieves(engine, table, URL, budget_s=0.0)


@pytest.fixture
def ledger(engine):
    return Ledger(engine, Campaign(URL, PROJECT, str(CREATED), "finder"))


@pytest.fixture
def do(means, table):
    """Does the job that waits, to its end."""

    def run(report=lambda progress, message: None):
        job = table.claim("me", (KIND,), 60)
        assert job is not None, "no backfill waits"
        try:
            result = Backfill(means)(job, report)
        except Stopped:
            table.hand_back(job.id, "me")
            raise
        table.finish(job.id, "me", result)
        return result

    return run


def late(ids):
    return [(Task(id=task), NotReached("task", "was late", "Wait.")) for task in ids]


def click(retrieves, ids):
    """A retrieve of which nothing was reached in time."""
    mine = retrieves.begin(SCOPE, ids)
    retrieves.end(SCOPE, late(sorted(mine)))
    return mine


def test_a_job_without_anything_to_do_says_so(do, retrieves):
    retrieves.abandon(SCOPE, [])
    assert do()["message"] == "Label Studio holds predictions of 0 tasks."


def test_what_was_not_reached_is_predicted_and_pushed_once(do, fake, retrieves):
    ids = fake.add_tasks(450)
    click(retrieves, ids)
    result = do()
    assert (result["predicted"], result["pushed"], result["failed"]) == (450, 450, 0)
    assert fake.holding("finder") == dict.fromkeys(ids, 1)


def test_a_second_click_meanwhile_predicts_nothing_twice(do, fake, finder, retrieves, table):
    ids = fake.add_tasks(60)
    click(retrieves, ids)
    clicks = iter([1])
    finder.before = lambda image: next(clicks, None) and again.append(click(retrieves, ids))
    again = []
    do()
    assert again == [set()]
    assert len(finder.seen) == 60
    assert do()["predicted"] == 0
    assert fake.holding("finder") == dict.fromkeys(ids, 1)
    assert table.claim("me", (KIND,), 60) is None


def test_a_task_of_a_person_goes_first_and_is_taken_out_of_the_job(do, fake, finder, retrieves):
    ids = fake.add_tasks(20)
    click(retrieves, ids)
    asked = iter([15])

    def open_a_task(image):
        task = next(asked, None)
        if task is not None:
            assert retrieves.take(SCOPE, task) is Seen.OPEN
            assert retrieves.give(SCOPE, task)
            fake.hold(task, "finder")

    finder.before = open_a_task
    do()
    assert fake.holding("finder") == dict.fromkeys(ids, 1)


def test_a_person_is_given_what_the_job_has_made_already(retrieves, ledger, fake, do):
    (task,) = fake.add_tasks(1)
    retrieves.begin(SCOPE, [task])
    made = Prediction([{"id": "r"}], 0.5, "finder")
    retrieves.abandon(SCOPE, [(Task(id=task), made)])
    assert retrieves.take(SCOPE, task) == made
    do()
    assert fake.holding("finder") == {}


def test_a_click_whose_server_was_killed_before_it_answered_is_not_lost(do, fake, engine, table):
    ids = fake.add_tasks(3)
    at_once = Retrieves(engine, table, URL, budget_s=-60.0)
    assert at_once.begin(SCOPE, ids) == set(ids)
    do()
    assert fake.holding("finder") == dict.fromkeys(ids, 1)


def test_what_was_found_for_a_caller_who_hung_up_is_pushed_without_being_made_again(
    do, fake, finder, retrieves
):
    ids = fake.add_tasks(2)
    retrieves.begin(SCOPE, ids)
    made = Prediction([], 0.0, "finder")
    retrieves.abandon(SCOPE, [(Task(id=ids[0]), made), *late(ids[1:])])
    do()
    assert fake.holding("finder") == dict.fromkeys(ids, 1)
    assert len(finder.seen) == 1


def test_an_answer_that_label_studio_did_not_store_is_made_good(do, fake, retrieves, ledger):
    ids = fake.add_tasks(2)
    retrieves.begin(SCOPE, ids)
    made = [(Task(id=task), Prediction([], 0.0, "finder")) for task in ids]
    assert retrieves.end(SCOPE, made) == set(ids)
    fake.hold(ids[0], "finder")
    ledger._change(ids, (State.ANSWERED,), changed=time.time())
    retrieves.abandon(SCOPE, [])
    result = do()
    assert (result["already_there"], result["pushed"]) == (1, 1)
    assert fake.holding("finder") == dict.fromkeys(ids, 1)


def test_a_task_without_a_picture_costs_only_itself_and_is_named(do, fake, retrieves):
    ids = fake.add_tasks(3)
    fake.tasks[ids[1]]["data"]["image"] = "gone.png"
    click(retrieves, ids)
    result = do()
    assert (result["pushed"], result["failed"]) == (2, 1)
    assert "gone.png: is gone" in result["reasons"][0]


def test_a_task_that_was_deleted_meanwhile_is_left_out(do, fake, retrieves, ledger):
    ids = fake.add_tasks(3)
    click(retrieves, ids)
    del fake.tasks[ids[0]]
    assert do()["pushed"] == 2
    assert ledger.counts() == {State.PUSHED: 2}


def test_a_training_meanwhile_lets_the_rest_be_predicted_by_the_new_version(
    do, fake, finder, retrieves, means
):
    ids = fake.add_tasks(30)
    click(retrieves, ids)

    def train(image):
        if len(finder.seen) == 10:
            finder.name = "better"

    finder.before = train
    do()
    assert fake.holding("finder") + fake.holding("better") == dict.fromkeys(ids, 1)
    assert 0 < len(fake.holding("finder")) < 30


def test_a_label_studio_that_is_away_is_waited_for(do, fake, retrieves, monkeypatch):
    monkeypatch.setattr("prelabel.jobs.backfill._POLL_S", 0.01)
    ids = fake.add_tasks(3)
    click(retrieves, ids)
    fake.faults = [("GET", "/", Faults.no_connection)] * 2
    said_meanwhile = []
    do(lambda progress, message: said_meanwhile.append(message))
    assert any("waits for Label Studio" in message for message in said_meanwhile)
    assert fake.holding("finder") == dict.fromkeys(ids, 1)


def test_a_batch_run_of_the_same_project_is_waited_for(do, fake, retrieves, tmp_path, monkeypatch):
    monkeypatch.setattr("prelabel.jobs.backfill._POLL_S", 0.01)
    click(retrieves, fake.add_tasks(1))
    messages = []
    with ThreadPoolExecutor(1) as pool:
        with held(run_lock(tmp_path, URL, PROJECT), "project 7"):
            doing = pool.submit(do, lambda progress, message: messages.append(message))
            until(lambda: any("waits for a batch run" in message for message in messages))
            assert fake.holding("finder") == {}
        doing.result(10)
    assert fake.holding("finder") == {1: 1}


def test_a_job_that_is_stopped_loses_nothing_and_the_next_one_ends_it(
    do, fake, finder, retrieves, monkeypatch
):
    monkeypatch.setattr("prelabel.jobs.backfill_round._REPORT_EVERY_S", 0.0)
    ids = fake.add_tasks(40)
    click(retrieves, ids)

    def report(progress, message):
        if len(finder.seen) > 10:
            raise Stopped

    with pytest.raises(Stopped):
        do(report)
    do()
    assert fake.holding("finder") == dict.fromkeys(ids, 1)
    assert len(finder.seen) < 45


def test_a_cancelled_job_stops_and_its_tasks_may_be_asked_again(
    fake, finder, retrieves, means, table
):
    ids = fake.add_tasks(400)
    click(retrieves, ids)
    begun, go_on = threading.Event(), threading.Event()
    finder.before = lambda image: (begun.set(), go_on.wait(10))
    runner = LocalRunner(table, {KIND: Backfill(means)}, 0.02)
    runner.start()
    try:
        assert begun.wait(10)
        job = table.recent()[0]
        assert table.cancel(job.id)
        retrieves.cancelled(job)
        go_on.set()
        assert len(retrieves.begin(SCOPE, ids)) > 300
    finally:
        go_on.set()
        runner.stop()
    assert Jobs.get(table, job.id).status == "cancelled"


def test_a_worker_with_a_login_does_backfills_and_one_without_does_not(tmp_path):
    pytest.importorskip("dramatiq", reason="pip install 'prelabel[scale]'")

    def kinds(**more):
        nobody = "redis://127.0.0.1:1/0"
        settings = Settings(_env_file=None, data_dir=tmp_path, redis_url=nobody, **more)
        return {kind for one in runners_of_worker(settings) for kind in one._kinds}

    assert KIND in kinds(label_studio_url=URL, label_studio_api_key=LEGACY)
    assert KIND not in kinds(label_studio_url=URL)
