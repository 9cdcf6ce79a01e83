"""One round of a backfill: what is due under one model version is predicted and pushed."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Thread

from prelabel.batch.local import local
from prelabel.batch.predicting import Predicting
from prelabel.batch.push import Manners, Target, Writer
from prelabel.batch.stages import StageClock
from prelabel.batch.tally import Tally
from prelabel.gathering import Access, Studio
from prelabel.jobs.work import Report
from prelabel.labelstudio.tasks import Task
from prelabel.labelstudio_api import listing
from prelabel.pipeline import Outcome, Prediction
from prelabel.plan import Plan
from prelabel.runtime.callers import Caller, Priority
from prelabel.store.ledger import Ledger

_BLOCK = 200
"""Tasks that Label Studio is asked about at a time; its addresses hold no more ids."""

_MOST_WAITING = 5000
"""Predictions that wait to be pushed, before no more are made."""

_REPORT_EVERY_S = 0.5
_LAST_PUSH_S = 10.0


@dataclass(frozen=True, slots=True)
class Work:
    """How the tasks of a project are predicted.

    Attributes:
        plan: Gives the plan as it is now.
        images: Where images come from.
        access: What they may be fetched with.
        manners: How Label Studio is treated.
    """

    plan: Callable[[], Plan]
    images: Studio
    access: Access
    manners: Manners


class Round:
    """One round. It ends when nothing is due any more, or the model version has moved on.

    Args:
        target: Label Studio, the project and the model version.
        ledger: What is due.
        work: How it is predicted.
        tally: Counts what becomes of it.
        report: Is told how far it is; raises `Stopped` where the round must end.
    """

    def __init__(
        self, target: Target, ledger: Ledger, work: Work, tally: Tally, report: Report
    ) -> None:
        self._target = target
        self._ledger = ledger
        self._work = work
        self._tally = tally
        self._report_to = report
        self._caller = Caller(Priority.BACKGROUND)
        self._stop = Event()
        self._writer = Writer(
            target, ledger, work.manners, StageClock(), tally, clear=self._clear, pause=self._pause
        )
        self._error: Exception | None = None
        self._begin = time.monotonic()
        self._settled_before = self._settled()
        self._due = ledger.number_due()
        self._reported_at = 0.0

    def go(self) -> None:
        """Predict and push.

        Raises:
            LabelStudioError: Label Studio cannot be reached, or will take nothing.
            StoreUnavailable: The database does not answer.
        """
        predicting = Predicting(
            self._predict,
            self._ledger,
            self._tally,
            max_retries=self._work.manners.max_retries,
            max_backoff_s=self._work.manners.max_backoff_s,
            stop=self._stop,
            kept=self._writer.expect,
        )
        writing = Thread(target=self._write, name="backfill-push", daemon=True)
        writing.start()
        try:
            predicting.run(self._tasks())
            self._writer.end()
            while writing.is_alive():
                self._report()
                writing.join(_REPORT_EVERY_S)
        finally:  # what was predicted is in the ledger, and pushed by whoever comes next
            self._caller.leave()
            self._stop.set()
            self._writer.end()
            writing.join(_LAST_PUSH_S)
        if self._error is not None:
            raise self._error

    def _write(self) -> None:
        try:
            self._writer.run()
        except Exception as error:  # noqa: BLE001 - raised in the thread of the job
            self._error = error
            self._stop.set()

    def _predict(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        plan = self._work.plan().at(self._caller)
        predict = local(plan, self._work.images, self._work.access)
        for index, outcome in predict(tasks):
            if isinstance(outcome, Prediction) and outcome.model_version != self._target.version:
                continue  # it stays asked, and is predicted anew under its new name
            yield index, outcome

    def _tasks(self) -> Iterator[Task]:
        """What is due, and is not in Label Studio; asked for a block ahead."""
        with ThreadPoolExecutor(1, thread_name_prefix="backfill-list") as lister:
            coming = lister.submit(self._block, 0)
            while not self._stop.is_set() and self._is_current():
                block = coming.result()
                if block is None:
                    return
                last_id, tasks = block
                coming = lister.submit(self._block, last_id)
                for task in tasks:
                    self._wait_for_pushes()
                    if self._stop.is_set():
                        return
                    yield task

    def _is_current(self) -> bool:
        return self._work.plan().model_version == self._target.version

    def _block(self, after_id: int) -> tuple[int, list[Task]] | None:
        """The next tasks that are due, with the last id that was looked at; None after the last."""
        ids = self._ledger.due(after_id, _BLOCK)
        if not ids:
            return None
        held = self._note_held(ids)
        missing = [task_id for task_id in ids if task_id not in held]
        if not missing:
            return ids[-1], []
        self._ledger.ask(missing)
        which = listing.Which(ids=tuple(missing))
        pages = listing.pages(self._target.studio, self._target.project, which)
        tasks = [self._task(listed) for _, page in pages for listed in page]
        listed_ids = {task.id for task in tasks}
        self._ledger.drop([task_id for task_id in missing if task_id not in listed_ids])
        return ids[-1], tasks

    def _task(self, listed: listing.Listed) -> Task:
        return Task(
            id=listed.id,
            inner_id=listed.inner_id,
            project=self._target.project,
            data=dict(listed.data),
        )

    def _clear(self, task_ids: Sequence[int]) -> None:
        """Of what is about to be sent, take out what Label Studio got otherwise meanwhile."""
        self._note_held(task_ids)

    def _note_held(self, task_ids: Sequence[int]) -> set[int]:
        held = set(self._target.holders(task_ids))
        self._ledger.pushed(list(held))
        self._tally.add("already_there", len(held))
        return held

    def _pause(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _wait_for_pushes(self) -> None:
        self._report()
        while self._writer.waiting > _MOST_WAITING and not self._stop.is_set():
            self._pause(_REPORT_EVERY_S)
            self._report()

    def _settled(self) -> int:
        counts = self._tally.counts()
        return counts.pushed + counts.already_there + counts.failed

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._reported_at < _REPORT_EVERY_S:
            return
        self._reported_at = now
        self._due = self._ledger.number_due()
        counts, settled = self._tally.counts(), self._settled()
        made = counts.predicted + counts.empty + counts.failed + counts.already_there
        rate = (settled - self._settled_before) / max(now - self._begin, 0.001)
        total = settled + self._due
        failed = f", {counts.failed} failed" if counts.failed else ""
        self._report_to(
            settled / max(total, 1),
            f"{made} of {total} tasks predicted, {settled - counts.failed} in Label Studio"
            f"{failed}, {rate:.1f} tasks/s",
        )
