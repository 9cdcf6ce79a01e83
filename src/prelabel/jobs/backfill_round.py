"""One round of a backfill: what is due under one model version is predicted and pushed.

Workers predict it, range by range; whoever does the round pushes, and nobody else does.
"""

import time
from collections.abc import Callable, Sequence
from threading import Event, Thread

from prelabel.batch.push import Target, Writer
from prelabel.batch.stages import StageClock
from prelabel.batch.tally import Tally
from prelabel.jobs.backfill_means import Means, Subject
from prelabel.jobs.backfill_range import note_held
from prelabel.jobs.backfill_ranges import Ranges
from prelabel.jobs.work import Report, Stopped
from prelabel.store.jobs import Job
from prelabel.store.journal import Kept, State
from prelabel.store.ledger import Ledger

_MOST_WAITING = 5000
"""Predictions that wait to be pushed, before no more are made."""

_LOOK_S = 0.25
"""Pause between two looks at the ranges."""

_COUNT_S = 0.5
"""Shortest pause between two counts of the tasks."""

_LAST_PUSH_S = 10.0


class Round:
    """One round. It ends when nothing is due any more, or the model version has moved on.

    Args:
        means: What backfills work with.
        job: The backfill.
        subject: The project.
        version: The model version.
        tally: Counts what becomes of it.
        report: Is told how far it is; raises `Stopped` where the round must end.
        wake: Tells workers of this process that there are ranges.
    """

    def __init__(
        self,
        means: Means,
        job: Job,
        subject: Subject,
        version: str,
        tally: Tally,
        report: Report,
        wake: Callable[[], None],
    ) -> None:
        self._jobs = means.jobs
        self._job = job
        self._subject = subject
        self._target = Target(means.studio, subject.number, version)
        self._ledger = _Outbox(means.engine, subject.campaign(version))
        self._ranges = Ranges(means.jobs, job, self._ledger, tally, wake)
        self._tally = tally
        self._report_to = report
        self._stop = Event()
        self._writer = Writer(
            self._target,
            self._ledger,
            means.manners,
            StageClock(),
            tally,
            clear=self._clear,
            pause=self._stop.wait,
        )
        self._got_somewhere = False
        self._next_look = 0.0
        self._said = (0.0, "begins")
        self._error: Exception | None = None
        self._begin = time.monotonic()
        self._before = self._ledger.counts()

    def go(self) -> None:
        """Have it predicted, and push it.

        Raises:
            LabelStudioError: Label Studio cannot be reached, or will take nothing.
            StoreUnavailable: The database does not answer.
            PrelabelError: A range cannot be predicted.
        """
        writing = Thread(target=self._write, name="backfill-push", daemon=True)
        writing.start()
        try:
            while self._look() and not self._stop.wait(_LOOK_S):
                pass
            self._writer.end()
            while writing.is_alive():
                self._look_at_ledger()
                writing.join(_LOOK_S)
        finally:  # what was predicted is in the ledger, and pushed by whoever comes next
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

    def _look(self) -> bool:
        """Look at the ranges and at the ledger; False when all is predicted."""
        is_current = self._subject.plan().model_version == self._target.version
        if not is_current:
            self._ranges.withdraw()
        is_full = self._writer.waiting > _MOST_WAITING
        is_open = self._ranges.look(may_cut=is_current and not is_full)
        goes_on = is_open or (is_current and is_full)
        self._look_at_ledger(at_once=not goes_on)
        return goes_on

    def _look_at_ledger(self, *, at_once: bool = False) -> None:
        """Tell the writer what was made, and everybody how far it is.

        Args:
            at_once: Look however short a time ago that was done.
        """
        begin = time.monotonic()
        if at_once or begin >= self._next_look:
            self._said = self._seen()
            # Of a million tasks it takes a second.
            self._next_look = begin + max(_COUNT_S, 10 * (time.monotonic() - begin))
        self._report_to(*self._said)

    def _seen(self) -> tuple[float, str]:
        """How far it is, as share and in words."""
        counts = self._ledger.counts()
        self._writer.expect(
            max(0, counts[State.PREDICTED] - self._ledger.in_hand - self._writer.waiting)
        )
        there = max(0, counts[State.PUSHED] - self._before[State.PUSHED])
        if there and self._job.attempts > 1 and not self._got_somewhere:
            self._got_somewhere = True
            self._jobs.got_somewhere(self._job.id, self._job.owner or "")
        failed = max(0, counts[State.FAILED] - self._before[State.FAILED])
        made = there + failed + counts[State.PREDICTED] + counts[State.SENDING]
        total = there + failed + self._ledger.number_due()
        rate = (there + failed) / max(time.monotonic() - self._begin, 0.001)
        failures = f", {failed} failed" if failed else ""
        said = f"{min(made, total)} of {total} tasks predicted, {there} in Label Studio{failures}"
        return min(1.0, (there + failed) / max(total, 1)), f"{said}, {rate:.1f} tasks/s"

    def _clear(self, task_ids: Sequence[int]) -> None:
        """Before a chunk is sent: whether it is ours to send, and not in Label Studio yet."""
        if not self._jobs.is_held(self._job.id, self._job.owner or ""):
            raise Stopped  # another does this backfill, or nobody shall
        note_held(self._target, self._ledger, self._tally, task_ids)


class _Outbox(Ledger):
    """The ledger as the writer uses it.

    Attributes:
        in_hand: How many predictions the writer has taken and not begun to send.
    """

    in_hand = 0

    def waiting(self, most: int, most_bytes: int) -> list[Kept]:
        """The predictions that have waited longest; the writer has them in hand now."""
        taken = super().waiting(most, most_bytes)
        self.in_hand = len(taken)
        return taken

    def sending(self, task_ids: Sequence[int]) -> set[int]:
        """The predictions of these tasks are being sent, as far as they still are to be."""
        marked = super().sending(task_ids)
        self.in_hand = 0
        return marked
