"""A range of a backfill whose model hangs: it waits, and a stop does not take its attempt off."""

from threading import Event

import pytest
from tests.batch.conftest import LEGACY, PROJECT

from prelabel.jobs.backfill_range import KIND as RANGE
from prelabel.jobs.backfill_range import Range, RangePrediction
from prelabel.jobs.local import LocalRunner
from prelabel.jobs.retrieves import Retrieves
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.runtime.batch_queue import BatchQueue
from prelabel.runtime.batcher import Batcher
from prelabel.runtime.hanging import Watch
from prelabel.store.journal import Campaign, State
from prelabel.store.ledger import Ledger

from .backfilling import CONFIG, CREATED, URL, Finder, StudioWithBirthday, click, means_with
from .conftest import until

LEASE_S = 0.5


@pytest.fixture(autouse=True)
def in_haste(monkeypatch):
    monkeypatch.setattr("prelabel.jobs.backfill_range.POLL_S", 0.01)


@pytest.fixture
def fake():
    return StudioWithBirthday(label_config=CONFIG)


@pytest.fixture
def tar_pit():
    """Holds the finder at one image until it is set."""
    may_go_on = Event()
    yield may_go_on
    may_go_on.set()


@pytest.fixture
def queued(tar_pit):
    def stick(image):
        if image.name == "3.png":
            tar_pit.wait()

    return Batcher(BatchQueue(Finder(before=stick), watch=Watch(0.2, 0.2)))


@pytest.fixture
def runner(engine, table, fake, queued, tmp_path):
    """Predicts ranges, two at a time."""
    with LabelStudio(URL, token=LEGACY, transport=fake, attempts=1) as studio:
        means = means_with(engine, studio, queued, tmp_path)
        does = {RANGE: RangePrediction(means)}
        runner = LocalRunner(table, does, 0.01, threads=2, lease_s=LEASE_S)
        yield runner
        runner.stop()


@pytest.fixture
def ranges(engine, table, fake):
    """Two ranges of one click: the finder hangs on a task of the first."""
    click(Retrieves(engine, table, URL, budget_s=0.0), fake.add_tasks(20))
    return [Range(f"{URL}#{PROJECT}", "finder", first, first + 9) for first in (1, 11)]


def begun(ranges, runner, table):
    """The jobs of the ranges, each begun when the one before has met the hang."""
    runner.start()
    jobs = []
    for part in ranges:
        job = table.submit(RANGE, part.project).id
        until(lambda job=job: table.get(job).message == "finder hangs")
        jobs.append(job)
    return jobs


@pytest.fixture
def ledger(engine):
    return Ledger(engine, Campaign(URL, PROJECT, str(CREATED), "finder"))


def test_a_range_on_which_a_model_hangs_waits_and_keeps_its_lease(runner, ranges, table):
    jobs = begun(ranges, runner, table)
    before = table.get(jobs[0]).lease_until
    until(lambda: table.get(jobs[0]).lease_until > before)
    assert [table.get(job).attempts for job in jobs] == [1, 1]


def test_a_stop_hands_back_the_range_that_only_waits_and_not_the_one_that_is_to_blame(
    runner, ranges, table, queued
):
    jobs = begun(ranges, runner, table)
    runner.stop()
    blamed, waited = map(table.get, jobs)
    assert (waited.status, waited.attempts) == ("queued", 0)
    assert (blamed.status, blamed.attempts) == ("running", 1)
    again = until(lambda: table.claim("next", (RANGE,), 60, job_id=blamed.id))
    assert again.attempts == 2


def test_ranges_whose_model_is_never_loaded_wait_and_a_stop_hands_all_of_them_back(
    runner, ranges, table, queued, monkeypatch, tar_pit
):
    model = queued._queue.predictor
    is_loaded = Event()
    monkeypatch.setattr(model, "health", lambda: {"loaded": is_loaded.is_set()})
    monkeypatch.setattr(model, "load", lambda: (tar_pit.wait(), is_loaded.set()))
    jobs = begun(ranges, runner, table)
    runner.stop()
    assert [(table.get(job).status, table.get(job).attempts) for job in jobs] == [
        ("queued", 0),
        ("queued", 0),
    ]


def test_when_the_model_comes_back_the_range_goes_on_to_its_end(
    runner, ranges, table, tar_pit, ledger
):
    jobs = begun(ranges, runner, table)
    tar_pit.set()
    until(lambda: all(table.get(job).status == "done" for job in jobs))
    assert ledger.counts() == {State.PREDICTED: 20}
