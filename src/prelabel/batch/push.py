"""The one writer of a run: it takes predictions from the journal and brings them to Label Studio.

Label Studio takes the same prediction twice without a word, and drops what it does not like
without one. So nothing is sent again before Label Studio was asked what it holds, and what it says
it created is compared with what was sent.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from threading import Condition

import structlog
from pydantic_core import to_json

from prelabel.batch.stages import StageClock
from prelabel.batch.tally import Tally
from prelabel.errors import LabelStudioError, PrelabelError, RequestRefused
from prelabel.labelstudio_api import predictions as api
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.predictions import Fate, Receipt
from prelabel.store.journal import Failed, Journal, Kept, State

log = structlog.get_logger(__name__)

MOST_PER_CHUNK = 500
MOST_BYTES_PER_CHUNK = 16 * 1024 * 1024
_FIRST_CHUNK = 20
"""People can begin after this one; Label Studio has less work with a few large ones."""

_PATIENCE_S = 30.0
"""What is predicted is pushed after this time, however little it is."""

_AFTER_A_KILL_S = 10.0
"""For how long a request of a killed process may still be at work in Label Studio."""

_LONGEST_LOOK_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Manners:
    """How Label Studio is treated.

    Attributes:
        request_delay_s: Pause between two writes.
        max_retries: How often in a row a write may fail before the run ends.
        max_backoff_s: Longest pause between two attempts.
        chunk: Most predictions of one write.
        chunk_bytes: Most bytes of one write.
    """

    request_delay_s: float = 1.0
    max_retries: int = 3
    max_backoff_s: float = 60.0
    chunk: int = MOST_PER_CHUNK
    chunk_bytes: int = MOST_BYTES_PER_CHUNK


@dataclass(frozen=True, slots=True)
class Target:
    """Where predictions go.

    Attributes:
        studio: Label Studio.
        project: The project's id.
        version: What the predictions are called.
    """

    studio: LabelStudio
    project: int
    version: str

    def holders(self, task_ids: Sequence[int]) -> dict[int, int]:
        """Which of these tasks hold a prediction of this version, and how many of all versions."""
        return api.holders(self.studio, self.project, self.version, task_ids)


class Writer:
    """Pushes what the journal holds. Only `run` writes; the other methods may be called from afar.

    Args:
        target: Where to.
        journal: What is to be pushed, and what became of it.
        manners: How Label Studio is treated.
        clock: Times the stage "push".
        tally: Counts what was pushed and what was refused.
        clear: Called with the tasks of a chunk before it is sent.
        pause: Waits; seconds.
    """

    def __init__(
        self,
        target: Target,
        journal: Journal,
        manners: Manners,
        clock: StageClock,
        tally: Tally,
        *,
        clear: Callable[[Sequence[int]], None] = lambda _: None,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._target = target
        self._journal = journal
        self._manners = manners
        self._clock = clock
        self._tally = tally
        self._clear = clear
        self._pause = pause
        self._changed = Condition()
        self._waiting = journal.counts()[State.PREDICTED]
        self._ended = False
        self._has_pushed = False
        self._failures = 0
        self._free_at = 0.0

    @property
    def waiting(self) -> int:
        """How many predictions wait to be pushed."""
        return self._waiting

    def expect(self, number: int) -> None:
        """So many predictions more are in the journal."""
        with self._changed:
            self._waiting += number
            self._changed.notify()

    def end(self) -> None:
        """No more predictions will come."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def run(self) -> None:
        """Push all there is and all that comes, until `end` is called.

        Raises:
            LabelStudioError: Label Studio cannot be reached, or will take nothing.
        """
        self._end_what_was_begun()
        while self._is_due():
            with self._clock.busy("push", 0):
                waiting = self._waiting
                rows = self._journal.waiting(self._next_size(), self._manners.chunk_bytes)
                # Where none are left, all that were counted went to Label Studio in another way.
                self._less_waiting(len(rows) or waiting)
                if rows:
                    self._push(rows)
                    self._has_pushed = True
        with self._clock.busy("push", 0):
            self._remove_duplicates()

    def _next_size(self) -> int:
        most = self._manners.chunk
        is_full = self._has_pushed or self._waiting >= most
        return most if is_full else min(_FIRST_CHUNK, most)

    def _is_due(self) -> bool:
        """Wait until there is something to push; False when there never will be."""
        since: float | None = None
        with self._changed:
            while not self._ended and self._waiting < self._next_size():
                if self._waiting and since is None:
                    since = time.monotonic()
                left_s = None if since is None else since + _PATIENCE_S - time.monotonic()
                if left_s is not None and left_s <= 0:
                    return True
                self._changed.wait(left_s)
            return self._waiting > 0

    def _less_waiting(self, number: int) -> None:
        with self._changed:
            self._waiting -= number

    def _end_what_was_begun(self) -> None:
        """Find out what became of the chunk that an earlier run was sending when it was killed."""
        begun = self._journal.in_doubt()
        if not begun:
            return
        log.info("looking for what was being sent", tasks=len(begun))
        with self._clock.busy("push", 0):
            present, missing = self._settled(list(begun), max(begun.values()) + _AFTER_A_KILL_S)
            self._journal.pushed(present)
            self._tally.add("already_there", len(present))
            self._back(missing)

    def _settled(self, task_ids: Sequence[int], until: float) -> tuple[list[int], list[int]]:
        """The tasks whose prediction is in Label Studio, once no more can come, and the others.

        Args:
            task_ids: What was sent.
            until: How long it may still be at work, in seconds since 1970.
        """
        pause_s = 0.5
        while True:
            held = self._target.holders(task_ids)
            left_s = until - time.time()
            if len(held) == len(task_ids) or left_s <= 0:
                present = [task_id for task_id in task_ids if task_id in held]
                return present, [task_id for task_id in task_ids if task_id not in held]
            self._pause(min(pause_s, left_s))
            pause_s = min(2 * pause_s, _LONGEST_LOOK_PAUSE_S)

    def _back(self, task_ids: Sequence[int]) -> None:
        self._journal.back(task_ids)
        self.expect(len(task_ids))

    def _push(self, rows: Sequence[Kept]) -> None:
        """Send predictions: each is pushed then, or waits again, or has failed."""
        ids = [kept.task_id for kept in rows]
        self._clear(ids)
        self._wait_for_turn()
        to_send = self._journal.sending(ids)
        rows = [kept for kept in rows if kept.task_id in to_send]
        ids = [kept.task_id for kept in rows]
        if not rows:
            return
        body = b"[" + b",".join(self._as_json(kept) for kept in rows) + b"]"
        receipt = api.import_predictions(self._target.studio, self._target.project, body)
        self._turn_ended()
        if receipt.fate is Fate.REFUSED and len(rows) > 1:
            log.info("chunk refused, halved", tasks=len(rows), reason=str(receipt.error))
            middle = len(rows) // 2
            self._push(rows[:middle])
            self._push(rows[middle:])
        elif receipt.fate is Fate.TAKEN and receipt.created < len(rows):
            present, missing = self._settled(ids, 0.0)
            self._took(present)
            self._one_by_one([kept for kept in rows if kept.task_id in missing])
        else:
            self._settle(rows, receipt)

    def _one_by_one(self, rows: Sequence[Kept]) -> None:
        """Send what was dropped without a word in a way in which Label Studio says why."""
        log.warning("Label Studio dropped predictions", tasks=[kept.task_id for kept in rows][:20])
        for kept in rows:
            self._wait_for_turn()
            self._journal.sending([kept.task_id])
            receipt = api.create_prediction(self._target.studio, self._as_json(kept))
            self._turn_ended()
            self._settle([kept], receipt)

    def _settle(self, rows: Sequence[Kept], receipt: Receipt) -> None:
        """Note what became of a write that was taken or refused whole, or may have been."""
        ids = [kept.task_id for kept in rows]
        if receipt.fate is Fate.TAKEN:
            self._failures = 0
            self._took(ids)
        elif receipt.fate is Fate.REFUSED:
            self._quarantine(rows, receipt.error)
        elif receipt.fate is Fate.TURNED_AWAY:
            self._back(ids)
            self._wait_after_failure(receipt)
        else:
            log.info("push in doubt, looking", tasks=len(ids), reason=str(receipt.error))
            present, missing = self._settled(ids, time.time() + receipt.settles_s)
            self._took(present)
            if present:  # it does take some
                self._failures = 0
            if missing:
                self._back(missing)
                self._wait_after_failure(receipt)

    def _took(self, task_ids: Sequence[int]) -> None:
        self._journal.pushed(task_ids)
        self._tally.add("pushed", len(task_ids))
        self._clock.done("push", len(task_ids))

    def _quarantine(self, rows: Sequence[Kept], error: PrelabelError | None) -> None:
        error = error or RequestRefused("prediction", "it was refused", "See Label Studio's log.")
        failures = [Failed.by(error, kept.task_id, retry=False) for kept in rows]
        for failed in failures:
            log.warning("prediction refused", task=failed.task_id, reason=failed.reason)
            self._tally.failed(failed)
        self._journal.fail(failures)

    def _wait_after_failure(self, receipt: Receipt) -> None:
        """Wait before the next attempt, longer each time.

        Raises:
            LabelStudioError: There were enough attempts.
        """
        error: LabelStudioError | None = receipt.error
        assert error is not None, "a write that was not taken has a reason"
        self._failures += 1
        if self._failures > self._manners.max_retries:
            raise error
        pause_s = backoff_s(self._failures, self._manners.max_backoff_s, receipt.retry_after_s)
        log.info("push failed, trying again", seconds=round(pause_s, 1), reason=str(error))
        self._pause(pause_s)

    def _wait_for_turn(self) -> None:
        left_s = self._free_at - time.monotonic()
        if left_s > 0:
            self._pause(left_s)

    def _turn_ended(self) -> None:
        self._free_at = time.monotonic() + self._manners.request_delay_s

    def _as_json(self, kept: Kept) -> bytes:
        version = to_json(self._target.version)
        return b'{"task":%d,"score":%.4f,"model_version":%b,"result":%b}' % (
            kept.task_id,
            kept.score,
            version,
            kept.result,
        )

    def _remove_duplicates(self) -> None:
        """Leave each task one prediction of this version.

        Label Studio makes two of one by itself where its SQLite database is locked after it stored
        a chunk: it then does the whole request once more.
        """
        target = self._target
        stored = target.studio.model_versions(target.project).get(target.version, 0)
        surplus = stored - api.number_of_holders(target.studio, target.project, target.version)
        if surplus <= 0:
            return
        log.warning("predictions stored twice, removing", number=surplus)
        suspects = chain(
            self._journal.doubted(),
            api.all_holders(target.studio, target.project, target.version),
        )
        for task_id in suspects:
            stored_ids = api.stored_ids(target.studio, task_id)
            own = [number for number, version in stored_ids if version == target.version]
            for extra in own[1:]:
                api.delete_prediction(target.studio, extra)
                surplus -= 1
            if surplus <= 0:
                return


def backoff_s(failures: int, longest_s: float, wish_s: float | None = None) -> float:
    """How long to wait after so many failures in a row: 1 s, doubled each time, jittered.

    Longer where more is wished for, as with `Retry-After`, but never longer than `longest_s`.
    """
    pause_s = 2.0 ** (failures - 1) * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
    return min(longest_s, max(pause_s, wish_s or 0.0))
