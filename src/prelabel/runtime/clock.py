"""The word by which work says that it begins and ends, for whoever wants to know how long it took.

The server's metrics and the batch run's summary both listen to it.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Clock(Protocol):
    """Times pieces of work. Threads may share one."""

    def busy(self, stage: str, items: int = 1, /) -> AbstractContextManager[None]:
        """Time what happens inside, as work of a stage on so many items."""
        ...


class NoClock:
    """Times nothing."""

    def busy(self, _stage: str, _items: int = 1, /) -> AbstractContextManager[None]:
        """Nothing happens."""
        return nullcontext()


UNTIMED = NoClock()
