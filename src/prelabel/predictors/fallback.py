"""A predictor that answers through a second one where the first cannot be loaded."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock, Thread
from typing import Self

import structlog

from prelabel.errors import OperatorError, WeightsUnavailable
from prelabel.predictors.base import Answer, Predictor
from prelabel.predictors.wrapping import Wrapping
from prelabel.types import Ask, Image

log = structlog.get_logger(__name__)

RETRY_S = 60.0
"""A host that had no weights for us is not asked again for so long."""


class Fallback(Wrapping):
    """Answers through `first`, or through `second` once loading `first` has failed.

    Missing weights may come: with `retry_s`, the first call after that time tries the first one
    again on a thread of its own, while the second goes on answering. Any other change stays until
    the process restarts. Each is said in the log, and changes the model version. A failure on an
    image is not a reason to change: it stays an error.

    Args:
        first: What is to answer.
        second: What is always there.
        retry_s: Seconds until missing weights are looked for again; None for never, where the
            model version must not change any more.
    """

    def __init__(
        self, first: Predictor, second: Predictor, *, retry_s: float | None = None
    ) -> None:
        super().__init__(first)
        self._first = first
        self._second = second
        self._retry_s = retry_s
        self._retry_at: float | None = None
        self._reason = ""
        self._lock = Lock()

    @classmethod
    def given_up(cls, wanted: str, error: OperatorError, second: Predictor) -> Self:
        """A fallback whose first predictor, called `wanted`, could not even be built."""
        fallback = cls(second, second)
        fallback._give_up(wanted, error)
        return fallback

    def check(self) -> None:
        """Give the first predictor up as soon as it is known that loading it must fail.

        The name, and with it the model version, is then the same before the first prediction as
        after it.
        """
        with self._lock:
            if not self._reason:
                try:
                    self._predictor.check()
                except OperatorError as error:
                    self._give_up(self.name, error)

    def load(self) -> None:
        """Load the first predictor, or, where that is impossible, the second."""
        with self._lock:
            if self._retry_at is not None and time.monotonic() >= self._retry_at:
                self._retry_at = None
                # It may fetch for hours; nobody who ends this process has to wait for it.
                Thread(target=self._try_again, name="load-again", daemon=True).start()
            try:
                self._predictor.load()
            except OperatorError as error:
                if self._reason:
                    raise
                self._give_up(self.name, error)
                self._predictor.load()

    def predict(self, images: Sequence[Image], ask: Ask) -> Answer:
        """Answer through whichever predictor could be loaded."""
        self.load()
        return self._predictor.predict(images, ask)

    def health(self) -> dict[str, object]:
        """The health of the one that answers, with why the first was given up."""
        health = super().health()
        reasons = [str(reason) for reason in (self._reason, health.get("reason")) if reason]
        return {**health, "reason": " ".join(reasons)} if reasons else health

    def _try_again(self) -> None:
        try:
            self._first.check()
            self._first.load()
        except OperatorError as error:
            with self._lock:
                self._give_up(self._first.name, error)
            return
        with self._lock:
            self._predictor, self._reason = self._first, ""
        log.info("fallback_ended", used=self._first.name, instead_of=self._second.name)

    def _give_up(self, wanted: str, error: OperatorError) -> None:
        reason = f"{wanted} cannot be used. {error}"
        self._predictor = self._second
        if self._retry_s is not None and isinstance(error, WeightsUnavailable):
            self._retry_at = time.monotonic() + self._retry_s
            at = datetime.now(UTC) + timedelta(seconds=self._retry_s)
            reason += f" The first request after {at:%H:%M:%S} UTC tries it again."
        tell = log.info if self._reason else log.warning  # of one outage, one warning
        self._reason = reason
        tell("fallback", wanted=wanted, used=self._second.name, reason=reason)
