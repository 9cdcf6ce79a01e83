"""A predictor that answers through a second one where the first cannot be loaded."""

from collections.abc import Sequence
from threading import Lock
from typing import Self

import structlog

from prelabel.errors import OperatorError
from prelabel.predictors.base import Answer, Predictor
from prelabel.predictors.wrapping import Wrapping
from prelabel.types import Ask, Image

log = structlog.get_logger(__name__)


class Fallback(Wrapping):
    """Answers through `first`, or through `second` once loading `first` has failed.

    The change is made once, said in the log, and stays until the process restarts, so that the
    model version is stable. A failure on an image is not a reason to change: it stays an error.
    """

    def __init__(self, first: Predictor, second: Predictor) -> None:
        super().__init__(first)
        self._second = second
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

    def _give_up(self, wanted: str, error: OperatorError) -> None:
        self._reason = f"{wanted} cannot be used. {error}"
        self._predictor = self._second
        log.warning("fallback", wanted=wanted, used=self._second.name, reason=str(error))
