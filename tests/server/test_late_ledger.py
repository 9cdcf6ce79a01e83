"""A retrieve that a slow database writes down when its answer is already on its way."""

import asyncio
from threading import Event

import pytest

from prelabel.errors import StoreUnavailable
from prelabel.jobs.retrieves import Scope
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Prediction
from prelabel.server import backfilling
from prelabel.server.backfilling import Backfilling
from prelabel.server.retrieve import Retrieve

SCOPE = Scope(1, 1_700_000_000, "fake")
TASKS = [Task(id=number) for number in (1, 2, 3)]
FOUND = [(task, Prediction([], 0.0, "fake")) for task in TASKS]


class SlowLedgers:
    """Writes requests down when it is let to, and remembers what it was told of them."""

    def __init__(self, mine):
        self.mine, self.trouble = mine, None
        self.may_go_on, self.was_told = Event(), Event()
        self.told = []

    def begin(self, scope, numbers):
        self.may_go_on.wait(10)
        if self.trouble:
            raise self.trouble
        return self.mine

    def end(self, scope, found):
        self.told.append(("answered", [task.number for task, _ in found]))
        self.was_told.set()
        return self.mine

    def abandon(self, scope, found):
        self.told.append(("abandoned", [task.number for task, _ in found]))
        self.was_told.set()


class NoRunner:
    def stop(self, _seconds): ...


@pytest.fixture
def ledgers():
    return SlowLedgers({1, 2})


@pytest.fixture
def slow(ledgers, monkeypatch):
    monkeypatch.setattr(backfilling, "_PATIENCE_S", 0.01)
    there = Backfilling(ledgers, NoRunner(), None)
    yield there
    ledgers.may_go_on.set()
    there.stop()


async def answered(retrieve, *, gone=False):
    """One request from its begin to its answer, while the database does not answer."""
    assert await retrieve.begin() == TASKS
    assert await retrieve.end(FOUND, gone=gone) == [outcome for _, outcome in FOUND]


@pytest.mark.parametrize(("gone", "said"), [(False, "answered"), (True, "abandoned")])
def test_what_was_answered_is_written_down_as_soon_as_the_request_is(slow, ledgers, gone, said):
    asyncio.run(answered(Retrieve(slow, SCOPE, TASKS), gone=gone))
    assert ledgers.told == []
    ledgers.may_go_on.set()
    assert ledgers.was_told.wait(10)
    assert ledgers.told == [(said, [1, 2])]


def test_a_request_that_is_written_down_before_its_answer_ends_with_it(slow, ledgers):
    async def whole():
        retrieve = Retrieve(slow, SCOPE, TASKS)
        assert await retrieve.begin() == TASKS
        ledgers.may_go_on.set()
        await asyncio.to_thread(lambda: slow._threads.submit(int).result(60))
        await retrieve.end(FOUND, gone=False)

    asyncio.run(whole())
    assert ledgers.was_told.wait(10)
    assert ledgers.told == [("answered", [1, 2])]


def test_nothing_is_written_of_a_request_that_never_was(slow, ledgers):
    ledgers.trouble = StoreUnavailable("the database", "is locked", "Try again.")
    asyncio.run(answered(Retrieve(slow, SCOPE, TASKS)))
    ledgers.may_go_on.set()
    slow._threads.shutdown(wait=True)
    assert ledgers.told == []
