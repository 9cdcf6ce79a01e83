"""From SIGTERM to the end: the server says that it goes, and its callers go elsewhere."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NOTICE_S = 1.0
"""How long a server that ends still listens: a balancer learns from /ready, or from a refused
request, that it must ask another, and nobody meets a closed door."""


@contextmanager
def noticing_sigterm(notice: Callable[[], None]) -> Iterator[None]:
    """Inside, SIGTERM is told at once, and passed on to the web server `NOTICE_S` later.

    A second one is passed on at once. Needs a running event loop; outside the main thread, where
    a server hears no signals, nothing is changed.

    Args:
        notice: Called in the event loop.
    """
    passed_on = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(passed_on):
        yield
        return
    loop = asyncio.get_running_loop()

    def begin(number: int) -> None:
        notice()
        loop.call_later(NOTICE_S, passed_on, number, None)

    def hear(number: int, _: FrameType | None) -> None:
        signal.signal(number, passed_on)
        # Not here: the signal may have come while what `notice` needs was locked.
        loop.call_soon_threadsafe(begin, number)

    signal.signal(signal.SIGTERM, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, passed_on)
