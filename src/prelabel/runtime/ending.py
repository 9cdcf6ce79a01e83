"""The end of a process in which a model hangs: Python would wait for that thread for ever."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import structlog

from prelabel.errors import PrelabelError, consequence_of
from prelabel.runtime.hanging import Hang

log = structlog.get_logger(__name__)

EXIT_CODE = 70
"""Of a process that ended because a model hung in it; "internal software error" by sysexits.h."""

_ORDERLY_S = 20.0
"""Time for an orderly end, in which what is under way is answered or handed back."""

_LAST_S = 3.0
"""Time for what is left to be done after that."""


def leave_at_once(exit_code: int) -> None:
    """End this process, whatever its threads do; what was printed is not lost."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(exit_code)


class Ending:
    """Ends this process though a model hangs in it.

    Attributes:
        is_due: Whether the process ends because a model hangs.
        exit_code: What it ends with where nothing but force ends it.

    Args:
        is_started_anew: Whether somebody starts it again. Then it ends by itself once a model
            hangs; else only when it is told to end.
        terminate: Asks for an orderly end.
        leave: Ends the process at once with an exit code, whatever its threads do.
        wait: Waits for so many seconds.
    """

    def __init__(
        self,
        *,
        is_started_anew: bool,
        terminate: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGTERM),
        leave: Callable[[int], object] = leave_at_once,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.is_due = False
        self.exit_code = EXIT_CODE
        self._is_started_anew = is_started_anew
        self._terminate = terminate
        self._leave = leave
        self._wait = wait

    def ends_with(self, exit_code: int) -> None:
        """Say what the process would end with by itself."""
        self.exit_code = exit_code

    def hung(self, hang: Hang) -> None:
        """A model hangs. Does not return where the process ends by itself."""
        if self._is_started_anew:
            self.is_due = True
            log.error("process ends to be started anew", model=hang.model)
            self._terminate()
            self._wait(_ORDERLY_S)
            self._leave(self.exit_code)

    def closed(self, still_hangs: Callable[[], bool]) -> None:
        """The process is about to end, all is handed back and written down."""
        if still_hangs():
            # No daemon: what libraries do at the very end would wait for the driver, and for ever.
            Thread(target=self._leave_soon, args=(still_hangs,)).start()

    def _leave_soon(self, still_hangs: Callable[[], bool]) -> None:
        self._wait(_LAST_S)
        if still_hangs():
            self._leave(self.exit_code)


@contextmanager
def ended_for_sure(still_hangs: Callable[[], bool]) -> Iterator[Ending]:
    """The end of a command that nobody starts anew: with its own exit code, though a model hangs.

    Args:
        still_hangs: Whether a model hangs.
    """
    ending = Ending(is_started_anew=False)
    try:
        yield ending
    except PrelabelError as error:
        ending.ends_with(consequence_of(error).exit_code)
        raise
    finally:
        ending.closed(still_hangs)
