"""How a backfill is cut into ranges, and what becomes of them.

A range is a part of the job in the table of jobs, so that any worker of any machine may take it,
and loses it when it does not come back. Only as many wait as workers will soon want: large ones
first, small ones towards the end, so that all workers end at about the same time and other
projects get their turn meanwhile.
"""

from collections.abc import Callable, Sequence

import structlog

from prelabel.batch.tally import Tally
from prelabel.errors import ModelError, PrelabelError
from prelabel.jobs.backfill_range import KIND, MOST_TASKS, Range
from prelabel.store.jobs import MOST_ATTEMPTS, Job, Jobs
from prelabel.store.journal import Failed
from prelabel.store.ledger import Ledger

log = structlog.get_logger(__name__)

_FEWEST_TASKS = 20
_LIKELY_WORKERS = 8
"""For so many the last tasks are cut where fewer are at work: others may just have become idle."""

_AHEAD = 2
"""Ranges that wait although nobody works on any; more wait where more are at work."""

_MOST_GIVEN_UP = 10
"""After so many tasks that no worker came back from, the workers are to blame."""


class Ranges:
    """The ranges of what is due of one campaign.

    Args:
        jobs: The table of jobs.
        whole: The backfill.
        ledger: What is due.
        tally: Counts what became of the tasks of ranges that are done.
        wake: Tells workers of this process that there are ranges.
    """

    def __init__(
        self, jobs: Jobs, whole: Job, ledger: Ledger, tally: Tally, wake: Callable[[], None]
    ) -> None:
        self._jobs = jobs
        self._whole = whole
        self._ledger = ledger
        self._version = ledger.campaign.model_version
        self._tally = tally
        self._wake = wake
        self._after_id = 0
        self._given_up = 0

    def look(self, *, may_cut: bool) -> bool:
        """Count what is done, and cut what workers will soon want.

        Args:
            may_cut: Whether more is to be predicted now.

        Returns:
            Whether anything is still to be done, or at work.

        Raises:
            PrelabelError: A range cannot be predicted, for a reason that all others have, too.
        """
        left, ended = self._parts()
        added = sum(self._end(part) for part in ended)
        self._jobs.forget([part.id for part in ended])
        if may_cut:
            added += self._cut(left)
        if added:
            self._wake()
        return bool(left or added)

    def withdraw(self) -> None:
        """What nobody works on yet is not to be predicted under this version."""
        left, _ = self._parts()
        self._jobs.forget([part.id for part in left if part.status == "queued"])

    def _parts(self) -> tuple[list[Job], list[Job]]:
        """The ranges that wait or are at work, and those that ended."""
        mine = [
            part
            for part in self._jobs.parts(self._whole)
            if Range.of(part).version == self._version
        ]
        left = [part for part in mine if part.status in ("queued", "running")]
        return left, [part for part in mine if part not in left]

    def _end(self, part: Job) -> int:
        """Take note of how a range ended; gives the number of those that took its place."""
        if part.status == "done" and part.result is not None:
            for kind in ("predicted", "empty", "already_there"):
                self._tally.add(kind, part.result[kind])
        if part.status != "failed":
            return 0
        which = Range.of(part)
        if part.attempts < MOST_ATTEMPTS:
            raise PrelabelError(str(which), "cannot be predicted", part.message)
        ids = self._ledger.due(which.first_id - 1, MOST_TASKS, last_id=which.last_id)
        if not ids:
            return 0
        # Its last worker began with this one alone, and did not come as far as the next.
        self._give_up(ids[0], part.message)
        if len(ids) == 1:
            return 0
        self._submit(ids[1:])
        return 1

    def _give_up(self, task_id: int, reason: str) -> None:
        """Of a task no worker came back.

        Raises:
            PrelabelError: There were many such tasks: it is not them.
        """
        error = ModelError(
            f"task {task_id}",
            f"it was being predicted, and {reason}",
            "Look at its image, and into the log of the worker.",
        )
        log.error("task given up", task=task_id, reason=str(error))
        self._ledger.fail([Failed.by(error, task_id, retry=False)])
        self._given_up += 1
        if self._given_up >= _MOST_GIVEN_UP:
            raise PrelabelError(
                "the workers",
                f"do not come back, {self._given_up} tasks were given up",
                "Look whether they have enough memory, then retrieve the predictions again.",
            )

    def _cut(self, left: Sequence[Job]) -> int:
        """Cut ranges until as many wait as are at work, and some more; gives how many."""
        running = sum(part.status == "running" for part in left)
        wanted = running + _AHEAD - (len(left) - running)
        covered = [(which.first_id, which.last_id) for which in map(Range.of, left)]
        number = 0
        while number < wanted:
            # Each worker gets two more of this size before nothing is left.
            workers = max(running, _LIKELY_WORKERS)
            fair = self._ledger.number_left(self._after_id) // (2 * workers)
            ids = self._next(min(max(fair, _FEWEST_TASKS), MOST_TASKS), covered)
            if not ids:
                break
            self._submit(ids)
            number += 1
        return number

    def _next(self, most: int, covered: Sequence[tuple[int, int]]) -> list[int]:
        """The next tasks that are due, without a range that is left from before in between."""
        while ids := self._ledger.due(self._after_id, most):
            free: list[int] = []
            for task_id in ids:
                if any(first <= task_id <= last for first, last in covered):
                    if free:
                        return free
                else:
                    free.append(task_id)
                self._after_id = task_id
            if free:
                return free
        return []

    def _submit(self, ids: Sequence[int]) -> None:
        part = Range(self._whole.project, self._version, ids[0], ids[-1])
        self._jobs.submit(KIND, part.project)
