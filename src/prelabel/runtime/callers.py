"""Who waits for predictions: how urgently, until when, and whether still."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from threading import Lock

from prelabel.runtime.deadline import Deadline


class Priority(IntEnum):
    """Whose work goes first; the smaller, the sooner."""

    PERSON = 0  # someone waits for one task, or for what a smart tool finds
    BULK = 1  # a retrieve of many tasks
    BACKGROUND = 2  # a job that nobody waits for


class Caller:
    """One request, as the queues in front of predictors know it.

    Args:
        priority: How urgent it is.
        deadline: When an answer is of no use any more; None for never.
    """

    def __init__(self, priority: Priority, deadline: Deadline | None = None) -> None:
        self.priority = priority
        self._deadline = deadline
        self._left = False
        self._withdrawals: set[Callable[[], None]] = set()
        self._lock = Lock()

    @property
    def has_left(self) -> bool:
        """Whether it waits no longer."""
        return self._left

    def remaining_s(self) -> float | None:
        """Seconds for which it still waits; None for as long as it takes."""
        if self._left:
            return 0.0
        return None if self._deadline is None else self._deadline.remaining_s()

    def leave(self) -> None:
        """Wait no longer: what was not begun is taken out of every queue."""
        with self._lock:
            self._left = True
            withdrawals = tuple(self._withdrawals)
        for withdraw in withdrawals:
            withdraw()

    @contextmanager
    def waiting(self, withdraw: Callable[[], None]) -> Iterator[None]:
        """While this lasts, leaving calls `withdraw`; it is called at once where that happened."""
        with self._lock:
            self._withdrawals.add(withdraw)
            left = self._left
        try:
            if left:
                withdraw()
            yield
        finally:
            with self._lock:
                self._withdrawals.discard(withdraw)
