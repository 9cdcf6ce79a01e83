"""Which tasks are being answered in this process: Label Studio stores all that it is answered.

With a token the ledger knows that, for all processes and beyond their end. Without one nobody takes
away what was stored twice; so a task is given in one answer only, of all that are made at a time.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import ceil
from threading import Lock

from prelabel.jobs.retrieves import Scope, stored_in_s

_SHOWS_AFTER_S, _SHOWS_PER_S = 0.5, 20.0
_LONGEST_FOR_A_PERSON_S = 10.0
"""A person had rather see a prediction twice than none for long."""

_STORES_ONE_IN_S = 1.0
_READS_PER_S, _LONGEST_READING_S = 400.0, 60.0
"""Label Studio reads the tasks of a request before it sends it: 460 in a second were seen."""

_MOST_KEPT = 200_000


def _end() -> "Future[None]":
    made: Future[None] = Future()
    made.set_running_or_notify_cancel()  # who waits for it cannot cancel it
    return made


@dataclass(eq=False, slots=True)
class Claim:
    """One request; only `UnderWay` changes it.

    Attributes:
        scope: The project, and the model version that answers it.
        asked: The tasks that it asks for, each with when Label Studio had last changed it; once it
            has ended, those that were answered.
        size: How many tasks it asks for. Where it is one, a person may wait for it.
        number: Later ones have greater numbers.
        mine: The tasks that it is to predict.
        theirs: Those that other requests have in work.
        before: Of `mine`, those that it took from others, and from whom.
        again_in_s: After how long those that others answered may be asked for again.
        answered: Of `mine`, those whose predictions are in its answer.
        ended_s: When it ended, on the clock of `UnderWay`; None while it is under way.
        end: Done when it has ended.
    """

    scope: Scope
    asked: Mapping[int, str | None]
    size: int
    number: int
    mine: set[int] = field(default_factory=set)
    theirs: set[int] = field(default_factory=set)
    before: "dict[int, Claim]" = field(default_factory=dict)
    again_in_s: int = 0
    answered: set[int] = field(default_factory=set)
    ended_s: float | None = None
    end: "Future[None]" = field(default_factory=_end)

    @property
    def is_single(self) -> bool:
        """Whether a person may wait for it."""
        return self.size == 1


class UnderWay:
    """The tasks that requests have in work, or were answered a moment ago. Threads may share it.

    A task belongs to the first request that wants it, until that ends. A person takes it from a
    request for many. What was answered is not given to another request until Label Studio has
    stored it; what was not answered is free at once.

    Args:
        clock: Gives seconds.
        most_kept: Answered tasks that are remembered at most.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, most_kept: int = _MOST_KEPT
    ) -> None:
        self._clock = clock
        self._most_kept = most_kept
        self._numbers = count()
        self._open: dict[Scope, set[Claim]] = {}
        self._holders: dict[Scope, dict[int, Claim]] = {}
        self._ended: list[tuple[float, int, Claim]] = []
        self._kept = 0
        self._lock = Lock()

    def begin(self, scope: Scope, asked: Mapping[int, str | None]) -> Claim:
        """A request comes.

        Args:
            scope: What it is answered for.
            asked: What it asks for, each task with when Label Studio last changed it.

        Returns:
            What of it is to be predicted. Tasks that are neither its own nor in work elsewhere
            were answered a moment ago.
        """
        with self._lock:
            now = self._clock()
            self._forget(now)
            claim = Claim(scope, asked, len(asked), next(self._numbers))
            self._open.setdefault(scope, set()).add(claim)
            holders = self._holders.setdefault(scope, {})
            for task in asked:
                holder = holders.get(task)
                if holder is None or _gives_way(holder, claim, now) or _moved(holder, claim, task):
                    _take(holders, task, claim)
                elif holder.ended_s is None:
                    claim.theirs.add(task)
                else:
                    claim.again_in_s = max(claim.again_in_s, _again_in_s(holder, claim, now))
            return claim

    def freed(self, claim: Claim) -> set[int]:
        """What others had in work and did not answer; it is the request's now."""
        with self._lock:
            holders = self._holders[claim.scope]
            free = {task for task in claim.theirs if task not in holders}
            for task in free:
                _take(holders, task, claim)
            claim.theirs -= free
            return free

    def awaited(self, claim: Claim) -> "set[Future[None]]":
        """The ends of the requests that the request may get something from.

        None of them waits for this one: they came before it, or are for single tasks.
        """
        with self._lock:
            holders = self._holders[claim.scope]
            others = {holders[task] for task in claim.theirs if task in holders}
            return {one.end for one in others if one.is_single or one.number < claim.number}

    def end(self, claim: Claim, found: Iterable[int] = ()) -> set[int]:
        """A request is about to be answered, or ends without; what it has in work is free.

        Args:
            claim: The request. Nothing is changed where it has ended already.
            found: The tasks that a prediction can be answered for.

        Returns:
            Those whose predictions may be in the answer; others were taken by persons.
        """
        with self._lock:
            if claim.ended_s is not None:
                return claim.answered
            holders = self._holders[claim.scope]
            own = {task for task in claim.mine if holders.get(task) is claim}
            claim.answered = own & set(found)
            claim.ended_s = self._clock()
            for task in own - claim.answered:
                _give_back(holders, task, claim)
            claim.before.clear()
            claim.asked = {task: claim.asked[task] for task in claim.answered}
            self._keep(claim)
        claim.end.set_result(None)
        return claim.answered

    def _keep(self, claim: Claim) -> None:
        """Remember what was answered, and tell those who want it, too."""
        assert claim.ended_s is not None, "it was ended"
        still_open = self._open[claim.scope]
        still_open.discard(claim)
        for other in still_open:
            if not other.theirs.isdisjoint(claim.answered):
                other.theirs -= claim.answered
                again_in_s = _again_in_s(claim, other, claim.ended_s)
                other.again_in_s = max(other.again_in_s, again_in_s)
        heappush(self._ended, (claim.ended_s + _kept_s(claim), claim.number, claim))
        self._kept += len(claim.answered)
        self._forget(claim.ended_s)

    def _forget(self, now: float) -> None:
        """Forget what Label Studio has stored by now, and more where there is too much of it."""
        while self._ended and (self._ended[0][0] <= now or self._kept > self._most_kept):
            claim = heappop(self._ended)[-1]
            self._kept -= len(claim.answered)
            holders = self._holders.get(claim.scope, {})
            for task in claim.answered:
                if holders.get(task) is claim:
                    del holders[task]
            if not holders and not self._open.get(claim.scope):
                self._holders.pop(claim.scope, None)
                self._open.pop(claim.scope, None)


def _gives_way(holder: Claim, claim: Claim, now: float) -> bool:
    """Whether a task is free for a request that comes now, though another has or had it."""
    if holder.ended_s is None:
        return claim.is_single and not holder.is_single
    return now >= holder.ended_s + _stored_in_s(holder, claim)


def _moved(holder: Claim, claim: Claim, task: int) -> bool:
    """Whether Label Studio has stored what a task was answered, and it was deleted there.

    To store a prediction changes the task's `updated_at`; to delete predictions does not.
    """
    return holder.ended_s is not None and holder.asked.get(task) != claim.asked[task]


def _stored_in_s(holder: Claim, claim: Claim | None) -> float:
    """How long after an answer a request may come that was made before that was stored.

    Args:
        holder: The request that was answered.
        claim: The request that comes; None for any that is for many tasks.
    """
    answered = len(holder.answered)
    if claim and answered == 1:
        # Short, as it may have been the test that the settings page makes, which is not stored.
        reading_s = min(claim.size / _READS_PER_S, _LONGEST_READING_S)
        return _STORES_ONE_IN_S if claim.is_single else reading_s
    if claim and claim.is_single:
        return min(_SHOWS_AFTER_S + answered / _SHOWS_PER_S, _LONGEST_FOR_A_PERSON_S)
    return stored_in_s(answered)


def _kept_s(claim: Claim) -> float:
    """How long after its end a claim is to be remembered."""
    if not claim.answered:
        return 0.0
    return _LONGEST_READING_S if len(claim.answered) == 1 else _stored_in_s(claim, None)


def _again_in_s(holder: Claim, claim: Claim, now: float) -> int:
    assert holder.ended_s is not None, "it has answered"
    return max(ceil(holder.ended_s + _stored_in_s(holder, claim) - now), 1)


def _take(holders: dict[int, Claim], task: int, claim: Claim) -> None:
    before = holders.get(task)
    if before is not None and before.ended_s is None:
        claim.before[task] = before
    holders[task] = claim
    claim.mine.add(task)


def _give_back(holders: dict[int, Claim], task: int, claim: Claim) -> None:
    """A task was not answered: whoever had it in work before has it again."""
    before = claim.before.get(task)
    if before is not None and before.ended_s is None:
        holders[task] = before
    else:
        del holders[task]
