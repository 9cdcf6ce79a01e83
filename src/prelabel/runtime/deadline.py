"""How much time is left to answer."""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment by which an answer must have been given.

    Attributes:
        at_s: That moment on the monotonic clock, in seconds; infinity for no deadline.
        budget_s: How much time there was in all, for messages.
    """

    at_s: float
    budget_s: float

    @classmethod
    def after(cls, budget_s: float) -> "Deadline":
        """The deadline `budget_s` seconds from now."""
        return cls(time.monotonic() + budget_s, budget_s)

    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(self.at_s - time.monotonic(), 0.0)

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self.at_s
