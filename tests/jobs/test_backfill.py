"""The backfill job, with a Label Studio that remembers: each task gets one prediction, in time."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
from tests.batch.conftest import LEGACY, PROJECT, Faults

from prelabel.assembly.jobs import runners_of_worker
from prelabel.errors import ImageUnavailable, PrelabelError
from prelabel.jobs.backfill import Backfill
from prelabel.jobs.backfill_range import KIND as RANGE
from prelabel.jobs.backfill_range import RangePrediction
from prelabel.jobs.local import LocalRunner
from prelabel.jobs.retrieves import KIND, WAITS, Retrieves
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

from .backfilling import (
    CONFIG,
    CREATED,
    SCOPE,
    URL,
    Finder,
    Pictures,
    StudioWithBirthday,
    click,
    late,
    means_with,
)
from .conftest import until


@pytest.fixture(autouse=True)
def in_haste(monkeypatch):
    monkeypatch.setattr("prelabel.jobs.backfill._LOOK_S", 0.05)


@pytest.fixture
def fake():
    return StudioWithBirthday(label_config=CONFIG)


@pytest.fixture
def finder():
    return Finder()


@pytest.fixture
def means(engine, table, fake, finder, tmp_path):
    queued = Batcher(BatchQueue(finder))
    with LabelStudio(URL, token=LEGACY, transport=fake, attempts=1) as studio:
        yield means_with(engine, studio, queued, tmp_path)


@pytest.fixture
def retrieves(engine, table):
    return Retrieves(engine, table, URL, budget_s=0.0)


@pytest.fixture
def ledger(engine):
    return Ledger(engine, Campaign(URL, PROJECT, str(CREATED), "finder"))


@pytest.fixture
def predicting(means, table):
    """Begins to predict ranges, two at a time, and gives who does; stopped in the end."""
    started = []

    def begin(**how):
        runner = LocalRunner(table, {RANGE: RangePrediction(means)}, 0.01, threads=2, **how)
        runner.start()
        started.append(runner)
        return runner

    yield begin
    for runner in started:
        runner.stop()


@pytest.fixture
def do(means, table, predicting):
    """Does the job that waits, to its end."""

    def run(report=lambda progress, message: None):
        job = table.claim("me", (KIND,), 60)
        assert job is not None, "no backfill waits"
        ranges = predicting()
        try:
            result = Backfill(means, ranges.wake)(job, report)
        except Stopped:
            table.hand_back(job.id, "me")
            raise
        table.finish(job.id, "me", result)
        return result

    return run


def answer(retrieves, ledger, ids):
    """A retrieve that was answered in full, some time ago."""
    retrieves.begin(SCOPE, ids)
    made = [(Task(id=task), Prediction([], 0.0, "finder")) for task in ids]
    assert retrieves.end(SCOPE, made) == set(ids)
    ledger._change(ids, (State.ANSWERED,), changed=time.time())
    retrieves.abandon(SCOPE, [])


class Died(BaseException):
    """Stands for the end of a process: nobody catches it, and nobody is told."""


def die():
    raise Died


@contextmanager
def mortal_workers(means):
    """Two workers of ranges that an image may kill, and those in their place; gives the deaths."""
    ended, deaths, lease_s = threading.Event(), [], 0.5

    def work(name):
        does = RangePrediction(means)
        while not ended.wait(0.01):
            job = means.jobs.claim(name, (RANGE,), lease_s)
            if job is not None:
                lives = partial(means.jobs.renew, job.id, name, lease_s, progress=0, message="")
                try:
                    found = does(job, lambda *_, lives=lives: lives())
                    means.jobs.finish(job.id, name, found)
                except Died:
                    deaths.append(job.id)

    with ThreadPoolExecutor(2) as pool:
        workers = [pool.submit(work, name) for name in "ab"]
        yield deaths
        ended.set()
        for worker in workers:
            worker.result()


def test_a_job_without_anything_to_do_says_so(do, retrieves):
    retrieves.abandon(SCOPE, [])
    assert do()["message"] == "Nothing was left to bring to Label Studio."


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


@pytest.mark.parametrize("end", ["failed", "waits"])
def test_what_a_job_cannot_bring_is_predicted_by_the_next_click(retrieves, table, end):
    assert retrieves.begin(SCOPE, [1, 2]) == {1, 2}
    retrieves.end(SCOPE, late([1, 2]))
    assert retrieves.begin(SCOPE, [1, 2]) == set()
    job = table.claim("me", (KIND,), 60)
    if end == "failed":
        table.fail(job.id, "me", "Invalid token.")
    else:
        table.renew(job.id, "me", 60, progress=0.0, message=f"{WAITS}: it is away")
    assert retrieves.begin(SCOPE, [1, 2]) == {1, 2}


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
    answer(retrieves, ledger, ids)
    fake.hold(ids[0], "finder")
    result = do()
    assert (result["already_there"], result["pushed"]) == (1, 1)
    assert fake.holding("finder") == dict.fromkeys(ids, 1)


def test_an_answer_that_label_studio_is_still_storing_is_left_to_a_later_job(
    do, fake, finder, retrieves, ledger, table
):
    ids = fake.add_tasks(20)
    answer(retrieves, ledger, ids)
    listed, on_the_way = fake.handle_request, iter(ids)

    def stores_some_at_each_request(request):
        for task in itertools.islice(on_the_way, 4):
            fake.hold(task, "finder")
        return listed(request)

    fake.handle_request = stores_some_at_each_request
    assert do()["pushed"] == 0
    assert finder.seen == []
    assert ledger.counts() == {State.ANSWERED: 20}
    (waits,) = (job for job in table.recent() if job.status == "queued")
    assert 10 < waits.due.timestamp() - time.time() < 20


def test_an_answer_that_is_stored_after_it_was_given_up_leaves_no_second_prediction(
    do, fake, retrieves, ledger, table, engine
):
    ids = fake.add_tasks(3)
    answer(retrieves, ledger, ids)
    assert do()["pushed"] == 3
    for task in ids:
        fake.hold(task, "finder")
    (waits,) = (job for job in table.recent() if job.status == "queued")
    assert waits.due.timestamp() - time.time() > 100
    retrieves.abandon(SCOPE, [])  # another click makes it due before its time
    do()
    assert fake.holding("finder") == dict.fromkeys(ids, 1)
    fake.hold(ids[0], "finder")
    (still,) = (job for job in table.recent() if job.status == "queued")
    assert abs((still.due - waits.due).total_seconds()) < 2
    retrieves.abandon(SCOPE, [])
    do()
    assert fake.holding("finder") == dict.fromkeys(ids, 1)


def test_an_image_that_kills_its_workers_is_given_up_and_costs_no_other_task_its_prediction(
    fake, finder, retrieves, means, table
):
    ids = fake.add_tasks(60)
    click(retrieves, ids)
    finder.before = lambda image: image.name == f"{ids[25]}.png" and die()
    with mortal_workers(replace(means, predictors=Predictors(finder, finder))) as deaths:
        job = table.claim("me", (KIND,), 60)
        result = Backfill(means)(job, lambda progress, message: None)
    assert result["failed"] == 1
    assert result["reasons"][0].startswith(
        f"task {ids[25]}: it was being predicted, and its worker"
    )
    assert "Look at its image, and into the log of the worker." in result["reasons"][0]
    assert 0 <= result["seconds"] < 600
    assert fake.holding("finder") == dict.fromkeys(set(ids) - {ids[25]}, 1)
    assert 3 <= len(deaths) <= 4


def test_workers_that_always_die_end_the_job_with_a_reason(
    fake, finder, retrieves, means, table, monkeypatch
):
    monkeypatch.setattr("prelabel.jobs.backfill_ranges._MOST_GIVEN_UP", 3)
    click(retrieves, fake.add_tasks(60))
    finder.before = lambda image: die()
    with mortal_workers(replace(means, predictors=Predictors(finder, finder))):
        job = table.claim("me", (KIND,), 60)
        enough = "3 tasks were given up.*Look whether they have enough memory, then retrieve"
        with pytest.raises(PrelabelError, match=enough):
            Backfill(means)(job, lambda progress, message: None)
    assert table.parts(job) == []


def test_a_defect_in_a_range_ends_the_job_with_its_reason(means, retrieves, fake, table):
    click(retrieves, fake.add_tasks(3))
    job = table.claim("me", (KIND,), 60)
    defective = LocalRunner(table, {RANGE: lambda job, report: 1 // 0}, 0.01)
    defective.start()
    try:
        with pytest.raises(PrelabelError, match=r"tasks 1 to 3 of project 7.*ZeroDivisionError"):
            Backfill(means)(job, lambda progress, message: None)
    finally:
        defective.stop()
    assert table.parts(job) == []
    assert fake.holding("finder") == {}


def test_a_backfill_that_begins_anew_leaves_ranges_at_work_alone(
    fake, finder, retrieves, means, table, predicting
):
    ids = fake.add_tasks(300)
    click(retrieves, ids)
    job = table.claim("me", (KIND,), 60)
    begun, go_on = threading.Event(), threading.Event()
    finder.before = lambda image: (begun.set(), go_on.wait(10))
    predicting()

    def stop_once_begun(progress, message):
        if begun.is_set():
            raise Stopped

    with pytest.raises(Stopped):
        Backfill(means)(job, stop_once_begun)
    at_work = {part.id for part in table.parts(job) if part.status == "running"}
    assert at_work

    def go_on_once_looked(progress, message):
        assert at_work <= {part.id for part in table.parts(job)} or go_on.is_set()
        go_on.set()

    Backfill(means)(job, go_on_once_looked)
    assert fake.holding("finder") == dict.fromkeys(ids, 1)
    assert len(finder.seen) == 300


def test_a_worker_that_answers_by_another_name_leaves_a_range_to_others(
    do, fake, finder, retrieves, means, table, monkeypatch
):
    monkeypatch.setattr("prelabel.jobs.backfill_range.POLL_S", 0.01)
    ids = fake.add_tasks(60)
    click(retrieves, ids)
    stranger = Finder(name="stranger")
    theirs = replace(means, predictors=Predictors(stranger, stranger))
    elsewhere = LocalRunner(table, {RANGE: RangePrediction(theirs)}, 0.01)
    elsewhere.start()
    try:
        while set(fake.holding("finder")) != set(ids):
            do()
            retrieves.abandon(SCOPE, [])
    finally:
        elsewhere.stop()
    assert stranger.seen == []
    assert fake.holding("finder") == dict.fromkeys(ids, 1)


def test_a_writer_whose_backfill_another_worker_has_sends_nothing(
    fake, finder, retrieves, means, table, predicting
):
    ids = fake.add_tasks(40)
    click(retrieves, ids)
    job = table.claim("me", (KIND,), 60)
    taken = []

    def another_takes_it(image):
        if not taken:
            table.hand_back(job.id, "me")
            taken.append(table.claim("another", (KIND,), 60))

    finder.before = another_takes_it
    predicting()
    with pytest.raises(Stopped):
        Backfill(means)(job, lambda progress, message: None)
    assert fake.imports == []
    Backfill(means)(taken[0], lambda progress, message: None)
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
    monkeypatch.setattr("prelabel.jobs.backfill_means.POLL_S", 0.01)
    ids = fake.add_tasks(3)
    click(retrieves, ids)
    fake.faults = [("GET", "/", Faults.no_connection)] * 2
    said_meanwhile = []
    do(lambda progress, message: said_meanwhile.append(message))
    assert any("waits for Label Studio" in message for message in said_meanwhile)
    assert fake.holding("finder") == dict.fromkeys(ids, 1)


def test_images_that_label_studio_keeps_are_not_given_up_while_it_is_away(
    do, fake, retrieves, monkeypatch
):
    monkeypatch.setattr("prelabel.jobs.backfill_means.POLL_S", 0.01)
    ids = fake.add_tasks(3)
    click(retrieves, ids)
    load, asked = Pictures.load, []

    def away_at_first(self, reference):
        asked.append(reference)
        if len(asked) <= 3:
            fake.faults = [("GET", "/", Faults.no_connection)] * 4
            raise ImageUnavailable(reference.uri, "no connection", "Check Label Studio.")
        if fake.faults:
            raise ImageUnavailable(reference.uri, "no connection", "Check Label Studio.")
        return load(self, reference)

    monkeypatch.setattr(Pictures, "load", away_at_first)
    assert do()["failed"] == 0
    assert fake.holding("finder") == dict.fromkeys(ids, 1)


def test_a_batch_run_of_the_same_project_is_waited_for(do, fake, retrieves, tmp_path, monkeypatch):
    monkeypatch.setattr("prelabel.jobs.backfill.POLL_S", 0.01)
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
    monkeypatch.setattr("prelabel.jobs.backfill_round._LOOK_S", 0.0)
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
    fake, finder, retrieves, means, table, predicting
):
    ids = fake.add_tasks(400)
    click(retrieves, ids)
    begun, go_on = threading.Event(), threading.Event()
    finder.before = lambda image: (begun.set(), go_on.wait(10))
    predicting()
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

    assert {KIND, RANGE} < kinds(label_studio_url=URL, label_studio_api_key=LEGACY)
    assert not {KIND, RANGE} & kinds(label_studio_url=URL)


def test_what_is_abandoned_is_brought_unless_the_job_before_failed(engine, table):
    def wake():  # whoever does jobs is at once at work on what is submitted
        job = table.claim("me", (KIND,), 60)
        began.append(job.id)

    began = []
    retrieves = Retrieves(engine, table, URL, budget_s=0.0, wake=wake)
    assert retrieves.abandon(SCOPE, [])
    table.fail(began.pop(), "me", "Label Studio refuses the token")
    assert not retrieves.abandon(SCOPE, [])
    table.finish(began.pop(), "me", {})
    assert retrieves.abandon(SCOPE, [])
