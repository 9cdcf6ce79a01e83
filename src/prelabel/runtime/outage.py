"""Something that this process needs and that may be away for a while: a database, Redis."""

import time
from threading import Lock

import structlog

log = structlog.get_logger(__name__)


class Outage:
    """Says once that it does not answer, and once that it is back. Threads may share it.

    Args:
        away: The log's line when it does not answer.
        back: The log's line when it answers again.
        about: What both lines say beside.
    """

    def __init__(self, away: str, back: str, **about: str) -> None:
        self._away = away
        self._back = back
        self._about = about
        self._lock = Lock()
        self._failed_at: float | None = None

    def was_on_within(self, seconds: float) -> bool:
        """Whether it was asked in vain so lately, and has not answered since. Never waits."""
        failed_at = self._failed_at
        return failed_at is not None and time.monotonic() < failed_at + seconds

    def begins(self, error: Exception) -> None:
        """It does not answer."""
        with self._lock:
            if self._failed_at is None:
                log.warning(self._away, reason=str(error), **self._about)
            self._failed_at = time.monotonic()

    def ends(self) -> None:
        """It has answered."""
        if self._failed_at is None:
            return
        with self._lock:
            if self._failed_at is not None:
                log.info(self._back, **self._about)
            self._failed_at = None
