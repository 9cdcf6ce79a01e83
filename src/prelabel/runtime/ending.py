"""The end of a process in which a model hangs: Python would wait for that thread for ever."""

import os
import signal
import time
from collections.abc import Callable
from threading import Thread

import structlog

from prelabel.runtime.hanging import Hang

log = structlog.get_logger(__name__)

EXIT_CODE = 70
"""Of a process that ended because a model hung in it; "internal software error" by sysexits.h."""

_ORDERLY_S = 20.0
"""Time for an orderly end, in which what is under way is answered or handed back."""

_LAST_S = 3.0
"""Time for what is left to be done after that."""


class Ending:
    """Ends this process though a model hangs in it.

    Attributes:
        is_due: Whether the process ends because a model hangs.

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
        leave: Callable[[int], object] = os._exit,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.is_due = False
        self._is_started_anew = is_started_anew
        self._terminate = terminate
        self._leave = leave
        self._wait = wait

    def hung(self, hang: Hang) -> None:
        """A model hangs. Does not return where the process ends by itself."""
        if self._is_started_anew:
            self.is_due = True
            log.error("process ends to be started anew", model=hang.model)
            self._terminate()
            self._wait(_ORDERLY_S)
            self._leave(EXIT_CODE)

    def closed(self, still_hangs: Callable[[], bool]) -> None:
        """The process is about to end, all is handed back and written down."""
        if still_hangs():
            Thread(target=self._leave_soon, args=(still_hangs,), daemon=True).start()

    def _leave_soon(self, still_hangs: Callable[[], bool]) -> None:
        self._wait(_LAST_S)
        if still_hangs():
            self._leave(EXIT_CODE)
