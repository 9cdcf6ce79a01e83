"""Ctrl-C and SIGTERM: the first time a run ends in order, the second time at once."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

from prelabel.batch.summary import INTERRUPTED

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[Event]:
    """An event that the first signal sets; the second ends the process.

    To end it so loses nothing: whatever is predicted is in the journal.
    """
    interrupt = Event()

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        if interrupt.is_set():
            os._exit(INTERRUPTED)
        interrupt.set()
        # No print: the signal may have come in the middle of one.
        os.write(
            sys.stderr.fileno(),
            b"\nprelabel: ending what is begun and pushing it; once more to stop at once\n",
        )

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
