"""The middle of a run: whatever predicts is given tasks, and each outcome is written down."""

import time
from collections.abc import Callable, Iterable, Iterator
from threading import Event

import structlog
from pydantic_core import to_json

from prelabel.batch.beginning import Beginning
from prelabel.batch.push import Manners, backoff_s
from prelabel.batch.tally import Tally
from prelabel.errors import PrelabelError, consequence_of
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Outcome, Prediction
from prelabel.store.journal import Failed, Journal, Kept

log = structlog.get_logger(__name__)

Predict = Callable[[Iterable[Task]], Iterator[tuple[int, Outcome]]]
"""Gives the index of a task and its outcome, in any order, reading only a little ahead."""

_MOST_AGAIN = 10_000
_WRITE_AFTER_S = 0.5
_WRITE_AT = 50


class Predicting:
    """Predicts tasks, and those again that failed for a reason which may pass.

    Args:
        predict: What predicts.
        journal: Where outcomes are written down; None for a dry run.
        tally: Counts them.
        manners: How often a task is tried again, and how long is waited at most before that.
        stop: Ends the waiting for another attempt.
        kept: Called with the number of predictions that were written down.
        max_failures: More failures set `stop`; None for any number.
        gives_up: Whether it ends where the first tasks all fail alike.
    """

    def __init__(
        self,
        predict: Predict,
        journal: Journal | None,
        tally: Tally,
        manners: Manners,
        *,
        stop: Event,
        kept: Callable[[int], None],
        max_failures: int | None = None,
        gives_up: bool = False,
    ) -> None:
        self._predict = predict
        self._journal = journal
        self._tally = tally
        self._manners = manners
        self._max_failures = max_failures
        self._stop = stop
        self._kept = kept
        self._predictions: list[Kept] = []
        self._failures: list[Failed] = []
        self._written_at = time.monotonic()
        self._beginning = Beginning(is_over=not gives_up)

    def run(self, tasks: Iterable[Task]) -> None:
        """Predict tasks until there are no more, then those again that may succeed now.

        Raises:
            OperatorError: The first tasks all failed alike; the next run tries them again.
        """
        try:
            self._rounds(tasks)
        finally:  # what was predicted before something broke is kept, too
            for task, outcome in self._beginning.end():
                assert isinstance(outcome, PrelabelError), "only failures are held back"
                self._note_failure(task, outcome, is_passing=True)
            self._write_down()

    def _rounds(self, tasks: Iterable[Task]) -> None:
        most = self._manners.max_retries
        again = self._round(tasks, is_last=most == 0)
        for attempt in range(1, most + 1):
            if not again:
                return
            log.info("trying failed tasks again", tasks=len(again), attempt=attempt)
            self._write_down()
            self._stop.wait(backoff_s(attempt, self._manners.max_backoff_s))
            if self._stop.is_set():
                break
            failed = [task for task, _ in again]
            again = self._round(failed, is_last=attempt == most)
        for task, error in again:
            self._note_failure(task, error)

    def _round(self, tasks: Iterable[Task], *, is_last: bool) -> list[tuple[Task, PrelabelError]]:
        """Predict tasks once; those that failed and may succeed later, if there is a later."""
        again: list[tuple[Task, PrelabelError]] = []
        numbered = _Numbered(tasks)

        def settle(certain: Iterable[tuple[Task, Outcome]]) -> None:
            for task, outcome in certain:
                if isinstance(outcome, Prediction):
                    self._note(task, outcome)
                elif consequence_of(outcome).retry and not is_last and len(again) < _MOST_AGAIN:
                    again.append((task, outcome))
                else:
                    self._note_failure(task, outcome)

        for index, outcome in self._predict(numbered):
            settle(self._beginning.after(numbered.pop(index), outcome))
            is_full = len(self._predictions) + len(self._failures) >= _WRITE_AT
            if is_full or time.monotonic() - self._written_at >= _WRITE_AFTER_S:
                self._write_down()
        settle(self._beginning.end())
        return again

    def _note(self, task: Task, prediction: Prediction) -> None:
        self._tally.predicted(task, prediction)
        result = to_json(prediction.result)
        self._predictions.append(Kept(_id_of(task), prediction.score, result))

    def _note_failure(self, task: Task, error: PrelabelError, *, is_passing: bool = False) -> None:
        retry = is_passing or consequence_of(error).retry
        failed = Failed.by(error, _id_of(task), retry=retry)
        self._tally.failed(failed)
        self._failures.append(failed)
        if self._max_failures is not None and self._tally.counts().failed > self._max_failures:
            self._stop.set()

    def _write_down(self) -> None:
        if self._journal is not None:
            self._journal.fail(self._failures)
            self._journal.keep(self._predictions)
            self._kept(len(self._predictions))
        self._predictions, self._failures = [], []
        self._written_at = time.monotonic()


class _Numbered:
    """Tasks, remembered by their place while they are being worked on."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = tasks
        self._begun: dict[int, Task] = {}

    def __iter__(self) -> Iterator[Task]:
        for index, task in enumerate(self._tasks):
            self._begun[index] = task
            yield task

    def pop(self, index: int) -> Task:
        return self._begun.pop(index)


def _id_of(task: Task) -> int:
    assert task.number is not None, "a listed task has an id"
    return task.number
