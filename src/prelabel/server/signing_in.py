"""Whether Label Studio takes the login of the settings: found out at the start, not at a click."""

from collections.abc import Callable
from threading import Event, Thread

import structlog

from prelabel.errors import LabelStudioError, LabelStudioUnreachable

log = structlog.get_logger(__name__)

LOOK_AGAIN_S = 60.0
"""Label Studio may start later than we do, and a token may be allowed there afterwards."""


class SigningIn:
    """Signs in to Label Studio on a thread of its own, until that has once gone well.

    Args:
        sign_in: Does so, or raises LabelStudioError.
    """

    def __init__(self, sign_in: Callable[[], object]) -> None:
        self._sign_in = sign_in
        self._stopped = Event()
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why it has not gone well, "" where it has or is not known yet. Never waits."""
        return self._trouble

    def start(self) -> None:
        """Begin to look."""
        Thread(target=self._look, name="sign-in", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _look(self) -> None:
        while not self._stopped.is_set():
            try:
                self._sign_in()
            except LabelStudioError as error:
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    is_away = isinstance(error, LabelStudioUnreachable)
                    tell = log.info if is_away else log.warning  # it may only start later
                    tell("not signed in to Label Studio", reason=str(error))
            else:
                if self._trouble:
                    self._trouble = ""
                    log.info("signed in to Label Studio")
                return
            self._stopped.wait(LOOK_AGAIN_S)
