"""A predictor that answers through a second one where the first cannot be loaded."""

from collections.abc import Sequence
from threading import Lock

import structlog

from prelabel.errors import OperatorError
from prelabel.predictors.base import Answer, Predictor
from prelabel.types import Ask, Image

log = structlog.get_logger(__name__)


class Fallback:
    """Answers through `first`, or through `second` once loading `first` has failed.

    The change is made once, said in the log, and stays until the process restarts, so that the
    model version is stable. A failure on an image is not a reason to change: it stays an error.
    """

    def __init__(self, first: Predictor, second: Predictor) -> None:
        self._first = first
        self._second = second
        self._reason: OperatorError | None = None
        self._lock = Lock()

    @property
    def _active(self) -> Predictor:
        return self._first if self._reason is None else self._second

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

    def load(self) -> None:
        """Load the first predictor, or, where that is impossible, the second."""
        if self._reason is None:
            with self._lock:
                if self._reason is None:
                    try:
                        self._first.load()
                    except OperatorError as error:
                        self._give_up(error)
        if self._reason is not None:
            self._second.load()

    def predict(self, images: Sequence[Image], ask: Ask) -> Answer:
        """Answer through whichever predictor could be loaded."""
        self.load()
        return self._active.predict(images, ask)

    def health(self) -> dict[str, object]:
        """The active predictor's health, with why the first was given up."""
        health = dict(self._active.health())
        if self._reason is not None:
            health["reason"] = f"{self._first.name} cannot be used: {self._reason}"
        return health

    def _give_up(self, error: OperatorError) -> None:
        self._reason = error
        log.warning("fallback", wanted=self._first.name, used=self._second.name, reason=str(error))
