"""A predictor that answers through a second one where the first cannot be loaded."""

from collections.abc import Sequence
from threading import Lock
from typing import Self

import structlog

from prelabel.errors import OperatorError
from prelabel.predictors.base import Answer, Predictor, calls_at_once, why_blind
from prelabel.types import Ask, Image

log = structlog.get_logger(__name__)


class Fallback:
    """Answers through `first`, or through `second` once loading `first` has failed.

    The change is made once, said in the log, and stays until the process restarts, so that the
    model version is stable. A failure on an image is not a reason to change: it stays an error.
    """

    def __init__(self, first: Predictor, second: Predictor) -> None:
        self._active = first
        self._second = second
        self._reason = ""
        self._lock = Lock()

    @classmethod
    def given_up(cls, wanted: str, error: OperatorError, second: Predictor) -> Self:
        """A fallback whose first predictor, called `wanted`, could not even be built."""
        fallback = cls(second, second)
        fallback._give_up(wanted, error)
        return fallback

    @property
    def name(self) -> str:
        """Name of the predictor that answers now."""
        return self._active.name

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the predictor that answers now."""
        return self._active.fingerprint

    @property
    def wants_neighbours(self) -> bool:
        """Whether the predictor that answers now looks at neighbouring frames."""
        return self._active.wants_neighbours

    @property
    def batch_size(self) -> int:
        """Batch size of the predictor that answers now."""
        return self._active.batch_size

    @property
    def calls_at_once(self) -> int:
        """How many calls at the same time pay off for the predictor that answers now."""
        return calls_at_once(self._active)

    def why_blind(self, ask: Ask) -> str:
        """Why the predictor that answers now can find nothing of what is asked."""
        return why_blind(self._active, ask)

    def check(self) -> None:
        """Give the first predictor up as soon as it is known that loading it must fail.

        The name, and with it the model version, is then the same before the first prediction as
        after it.
        """
        with self._lock:
            if not self._reason:
                try:
                    self._active.check()
                except OperatorError as error:
                    self._give_up(self._active.name, error)

    def load(self) -> None:
        """Load the first predictor, or, where that is impossible, the second."""
        with self._lock:
            try:
                self._active.load()
            except OperatorError as error:
                if self._reason:
                    raise
                self._give_up(self._active.name, error)
                self._active.load()

    def predict(self, images: Sequence[Image], ask: Ask) -> Answer:
        """Answer through whichever predictor could be loaded."""
        self.load()
        return self._active.predict(images, ask)

    def health(self) -> dict[str, object]:
        """The active predictor's health, with why the first was given up."""
        health = dict(self._active.health())
        return {**health, "reason": self._reason} if self._reason else health

    def _give_up(self, wanted: str, error: OperatorError) -> None:
        self._reason = f"{wanted} cannot be used. {error}"
        self._active = self._second
        log.warning("fallback", wanted=wanted, used=self._second.name, reason=str(error))
