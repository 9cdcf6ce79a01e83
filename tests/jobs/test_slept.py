"""Jobs of a machine that slept, or whose clock was set: their leases are over all at once."""

import threading

import pytest

from prelabel.errors import StoreUnavailable
from prelabel.jobs.work import Worker
from prelabel.store.database import open_database
from prelabel.store.jobs import Jobs

LEASE_S = 20.0


class Clock:
    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


class NotRenewing(Jobs):
    """The table before the first sign of life after the sleep."""

    def renew(self, job_id, owner, lease_s, *, progress, message):
        raise StoreUnavailable("the table", "is not asked yet", "Wait.")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def jobs(tmp_path, clock):
    engine = open_database("", tmp_path)
    yield NotRenewing(engine, clock)
    engine.dispose()


def test_a_worker_that_slept_does_not_take_what_it_has_at_work(jobs, clock):
    begun, may_end = threading.Event(), threading.Event()

    def work(_job, _report):
        begun.set()
        may_end.wait()
        return {}

    worker = Worker(jobs, {"training": work}, lease_s=LEASE_S)
    submitted = jobs.submit("training", "1")
    thread = threading.Thread(target=worker.do, args=(worker.take(),))
    thread.start()
    begun.wait()
    clock.now += 3600
    taken = [worker.take(), worker.take(submitted.id)]
    may_end.set()
    thread.join()
    assert taken == [None, None]
    done = jobs.get(submitted.id)
    assert (done.status, done.attempts) == ("done", 1)


def test_another_worker_takes_what_was_left(jobs, clock):
    jobs.submit("training", "1")
    Worker(jobs, {"training": lambda *_: {}}, lease_s=LEASE_S).take()
    clock.now += 3600
    taken = Worker(jobs, {"training": lambda *_: {}}, lease_s=LEASE_S).take()
    assert taken.attempts == 2


@pytest.mark.parametrize(
    "trouble", [StoreUnavailable("the database", "is away", "Wait."), SystemError("a defect")]
)
def test_what_a_worker_broke_off_it_may_take_again(jobs, clock, trouble, monkeypatch):
    def work(_job, _report):
        raise trouble

    def fail(*_):
        raise trouble

    monkeypatch.setattr(jobs, "fail", fail)
    worker = Worker(jobs, {"training": work}, lease_s=LEASE_S)
    submitted = jobs.submit("training", "1")
    worker.do(worker.take())
    clock.now += 3600
    assert worker.take().id == submitted.id
