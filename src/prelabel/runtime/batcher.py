"""A predictor behind a queue: urgent callers first, images of several callers in one batch."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from prelabel.predictors.base import Answer, Predictor
from prelabel.runtime.batch_queue import BatchQueue, Waiting
from prelabel.runtime.callers import Caller, Priority
from prelabel.types import Ask, Image

SOMEBODY = Caller(Priority.BULK)
"""Who calls a `Batcher` without saying who it is."""


class Batcher:
    """A `Predictor` that answers through another one, each caller in its turn.

    All views of one queue (see `at`) share its workers. `load`, `check` and `health` go straight
    to the predictor: they never stand in the queue.
    """

    def __init__(self, queue: BatchQueue, caller: Caller = SOMEBODY) -> None:
        """Take the queue, and who stands in it through this view."""
        self._queue = queue
        self._predictor = queue.predictor
        self._caller = caller

    def at(self, caller: Caller) -> "Batcher":
        """The same queue, in which this caller stands."""
        return Batcher(self._queue, caller)

    @property
    def name(self) -> str:
        """Name of the predictor behind the queue."""
        return self._predictor.name

    @property
    def fingerprint(self) -> str:
        """Its fingerprint."""
        return self._predictor.fingerprint

    @property
    def wants_neighbours(self) -> bool:
        """Whether it looks at neighbouring frames."""
        return self._predictor.wants_neighbours

    @property
    def batch_size(self) -> int:
        """How many images pay off in one batch."""
        return self._queue.batch_size

    def check(self) -> None:
        """Check the predictor."""
        self._predictor.check()

    def load(self) -> None:
        """Load the predictor, on this thread: a load of minutes holds nobody else up."""
        self._predictor.load()

    def health(self) -> dict[str, object]:
        """The predictor's health."""
        return self._predictor.health()

    def waiting(self) -> Waiting:
        """What stands in the queue now."""
        return self._queue.waiting()

    def predict(self, images: Sequence[Image], ask: Ask) -> Answer:
        """One entry per image, in order; never raises for an image.

        An image whose turn did not come before the caller's deadline, or before the caller left,
        has the entry NotReached.
        """
        return self._queue.answer(images, ask, self._caller)


@runtime_checkable
class Queued(Protocol):
    """What else a predictor has that stands in front of a queue."""

    def at(self, caller: Caller) -> Predictor:
        """The same queue, in which this caller stands."""
        ...

    def waiting(self) -> Waiting | None:
        """What stands in it now; None where there is no queue after all."""
        ...


def at(predictor: Predictor, caller: Caller) -> Predictor:
    """The predictor as a caller sees it: in its turn where there is a queue, else at once."""
    return predictor.at(caller) if isinstance(predictor, Queued) else predictor


def waiting(predictor: Predictor) -> Waiting | None:
    """What waits for a predictor; None where it has no queue."""
    return predictor.waiting() if isinstance(predictor, Queued) else None
