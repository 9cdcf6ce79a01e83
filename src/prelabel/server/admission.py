"""How many tasks may wait in this process, and what is said to those who come too many."""

import math
import time
from collections import deque
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import Self

from prelabel.errors import Overloaded

FOR_PERSONS = 0.1
"""Share of the room for tasks that only single tasks get: a person finds room beside retrieves."""

_MOST_FOR_ALL = 2
"""Times `most_bytes` that bodies may take at all: the rest is for those that are not asked again,
or whose answer must have an entry for each of the tasks in them."""

_RATE_FROM_TASKS, _RATE_OVER_TASKS = 16, 256
_UNKNOWN_WAIT_S = 10
_LONGEST_WAIT_S = 120


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What waits in a process, and the most that may.

    Attributes:
        tasks: Tasks that were taken and have no outcome yet.
        most_tasks: MAX_QUEUED_TASKS.
        held_bytes: Memory of the requests that were let in and are not answered.
        most_bytes: MAX_QUEUED_MB, in bytes.
    """

    tasks: int
    most_tasks: int
    held_bytes: int
    most_bytes: int


class Admission:
    """Counts what waits; safe for several threads.

    Args:
        most_tasks: Tasks that may wait for their outcome.
        most_bytes: Memory of the requests that hold them, images in their bodies included.
    """

    def __init__(self, most_tasks: int = 20_000, most_bytes: int = 512 * 1024 * 1024) -> None:
        self._most_tasks = most_tasks
        self._most_bytes = most_bytes
        self._tasks = 0
        self._bytes = 0
        self._finished_s: deque[float] = deque(maxlen=_RATE_OVER_TASKS)
        self._is_closed = False
        self._lock = Lock()

    def occupancy(self) -> Occupancy:
        """How full it is now."""
        with self._lock:
            return Occupancy(self._tasks, self._most_tasks, self._bytes, self._most_bytes)

    def close(self) -> None:
        """Let nobody in any more, because the server ends."""
        self._is_closed = True

    def enter(self, size: int, *, asks_again: bool) -> "Stay":
        """Let a request in before its body is read.

        Args:
            size: Bytes of its body, as far as its head says.
            asks_again: Whether the caller asks again for what is not taken, as Label Studio does;
                it needs an answer to each task, and is turned away only where memory is at stake.

        Raises:
            Overloaded: There is no room.
        """
        if self._is_closed:  # said to all: a balancer in front then asks another server
            next_step = "Ask again in a moment, or another server."
            raise Overloaded("server", "is shutting down", next_step).after(1)
        with self._lock:
            full = self._tasks >= self._most_tasks
            if full and not asks_again:
                raise self._too_many(1)
            is_heavy = self._hold(size, asks_again=asks_again)
            return Stay(self, size, asks_again=asks_again, is_heavy=is_heavy)

    def enter_without_tasks(self, size: int) -> "Stay":
        """Let an event or a set-up in: its body counts, and is refused where memory is at stake.

        Raises:
            Overloaded: There is no room at all.
        """
        with self._lock:
            self._hold(size, asks_again=True)
            return Stay(self, size, asks_again=True, is_heavy=False)

    def hold(self, size: int, *, own: int, asks_again: bool) -> bool:
        """Count further bytes of a request; whether they are too many. See `Stay.has_come`."""
        with self._lock:
            return self._hold(size, own=own, asks_again=asks_again)

    def take(self, tasks: int, *, in_part: bool) -> int:
        """Take tasks, and say how many; see `Stay.take`."""
        with self._lock:
            kept_free = 0 if tasks == 1 else int(FOR_PERSONS * self._most_tasks)
            room = max(self._most_tasks - kept_free - self._tasks, 0)
            if tasks > room and self._tasks and not in_part:
                raise self._too_many(tasks - room)
            taken = min(tasks, room)
            self._tasks += taken
            return taken

    def give_back(self, *, finished: int = 0, unfinished: int = 0, size: int = 0) -> None:
        """Make room again."""
        with self._lock:
            self._tasks -= finished + unfinished
            self._bytes -= size
            self._finished_s.extend([time.monotonic()] * finished)

    def _hold(self, size: int, *, own: int = 0, asks_again: bool) -> bool:
        held = self._bytes + size
        is_heavy = self._bytes > own and held > self._most_bytes
        if is_heavy and (not asks_again or held > _MOST_FOR_ALL * self._most_bytes):
            cause = f"is full: the requests in it take {self._bytes / 2**20:.0f} MB"
            raise self._overloaded(1, cause, "MAX_QUEUED_MB")
        self._bytes = held
        return is_heavy

    def _too_many(self, tasks: int) -> Overloaded:
        return self._overloaded(tasks, f"is full: {self._tasks} tasks wait", "MAX_QUEUED_TASKS")

    def _overloaded(self, tasks: int, cause: str, setting: str) -> Overloaded:
        wait_s = self._wait_s(tasks)
        next_step = f"Come again in {wait_s} s, with fewer tasks at a time, or raise {setting}."
        return Overloaded("queue", cause, next_step).after(wait_s)

    def _wait_s(self, tasks: int) -> int:
        """Whole seconds in which so many tasks are done, at the rate of the last ones."""
        if len(self._finished_s) < _RATE_FROM_TASKS:
            return _UNKNOWN_WAIT_S
        rate = len(self._finished_s) / max(time.monotonic() - self._finished_s[0], 0.001)
        return min(max(math.ceil(tasks / rate), 1), _LONGEST_WAIT_S)


class Stay:
    """One request, from the head of its body to its answer; a context manager.

    Attributes:
        asks_again: Whether the caller is Label Studio, which asks again for what it did not get.
    """

    def __init__(
        self, admission: Admission, size: int, *, asks_again: bool, is_heavy: bool
    ) -> None:
        self._admission = admission
        self._size = size
        self.asks_again = asks_again
        self._is_heavy = is_heavy
        self._tasks = 0
        self._lock = Lock()

    def has_come(self, size: int) -> None:
        """So much of the body is here; what its head did not say of its size counts from now on.

        Raises:
            Overloaded: There is no room for it.
        """
        more = size - self._size
        if more > 0:
            own, asks_again = self._size, self.asks_again
            self._is_heavy |= self._admission.hold(more, own=own, asks_again=asks_again)
            self._size = size

    def take(self, tasks: int) -> int:
        """Take tasks of the request, as many as there is room for.

        Returns:
            How many, from the first on, are taken now. Fewer than all where the caller asks
            again, or where nothing else waits and they are too many for any time.

        Raises:
            Overloaded: There is no room for all of them, and others wait.
        """
        if self._is_heavy:
            return 0
        taken = self._admission.take(tasks, in_part=self.asks_again)
        with self._lock:
            self._tasks += taken
        return taken

    def done(self) -> None:
        """One of the tasks has its outcome; any thread may say so, also when it is too late."""
        with self._lock:
            if self._tasks:  # else the answer was given without it, and its place with that
                self._tasks -= 1
                self._admission.give_back(finished=1)

    def __enter__(self) -> Self:
        """Nothing is left to do: `enter` let it in."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give back what was taken."""
        with self._lock:
            self._admission.give_back(unfinished=self._tasks, size=self._size)
            self._tasks = 0
