"""A predictor behind a queue: urgent callers first, images of several callers in one batch."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from prelabel.predictors.base import Answer, Predictor
from prelabel.predictors.wrapping import Wrapping
from prelabel.runtime.batch_queue import BatchQueue, Waiting
from prelabel.runtime.callers import Caller, Priority
from prelabel.runtime.hanging import Hang
from prelabel.types import Ask, Image

SOMEBODY = Caller(Priority.BULK)
"""Who calls a `Batcher` without saying who it is."""


class Batcher(Wrapping):
    """A `Predictor` that answers through another one, each caller in its turn.

    All views of one queue (see `at`) share its workers. `load`, `check` and `health` never stand in
    the queue.
    """

    def __init__(
        self, queue: BatchQueue, caller: Caller = SOMEBODY, *, is_alone: bool = False
    ) -> None:
        """Take the queue, who stands in it through this view, and whether with batches apart."""
        super().__init__(queue.predictor)
        self._queue = queue
        self._caller = caller
        self._is_alone = is_alone

    def at(self, caller: Caller) -> "Batcher":
        """The same queue, in which this caller stands."""
        return Batcher(self._queue, caller, is_alone=self._is_alone)

    def apart(self) -> "Batcher":
        """The same queue and caller, with each image in a batch of its own."""
        return Batcher(self._queue, self._caller, is_alone=True)

    @property
    def batch_size(self) -> int:
        """How many images pay off in one batch."""
        return self._queue.batch_size

    def waiting(self) -> Waiting:
        """What stands in the queue now."""
        return self._queue.waiting()

    def hang(self) -> Hang | None:
        """The call from which the predictor does not come back, if there is one."""
        return self._queue.hang

    def load(self) -> None:
        """Have the predictor ready, or know that it hangs, or that the caller has left.

        Raises:
            OperatorError: It cannot be loaded.
        """
        self._queue.load(self._caller)

    def predict(self, images: Sequence[Image], ask: Ask) -> Answer:
        """One entry per image, in order; never raises for an image.

        An image whose turn did not come before the caller's deadline, or before the caller left,
        has the entry NotReached; so has one that stands behind a call that hangs, at once, and
        one that the predictor does not come back from, ModelHangs.
        """
        return self._queue.answer(images, ask, self._caller, is_alone=self._is_alone)


@runtime_checkable
class Queued(Protocol):
    """What else a predictor has that stands in front of a queue."""

    def at(self, caller: Caller) -> Predictor:
        """The same queue, in which this caller stands."""
        ...

    def waiting(self) -> Waiting | None:
        """What stands in it now; None where there is no queue after all."""
        ...

    def hang(self) -> Hang | None:
        """The call from which the predictor does not come back, if there is one."""
        ...


def at(predictor: Predictor, caller: Caller) -> Predictor:
    """The predictor as a caller sees it: in its turn where there is a queue, else at once."""
    return predictor.at(caller) if isinstance(predictor, Queued) else predictor


def waiting(predictor: Predictor) -> Waiting | None:
    """What waits for a predictor; None where it has no queue."""
    return predictor.waiting() if isinstance(predictor, Queued) else None


def hang(predictor: Predictor) -> Hang | None:
    """The call from which a predictor does not come back, if there is one; never waits."""
    return predictor.hang() if isinstance(predictor, Queued) else None


def first_hang(predictors: Iterable[Predictor]) -> Hang | None:
    """The call from which one of several predictors does not come back, if any; never waits."""
    return next((found for one in predictors if (found := hang(one))), None)


def apart(predictor: Predictor) -> Predictor:
    """The predictor, with each image in a batch of its own where there is a queue."""
    return predictor.apart() if isinstance(predictor, Batcher) else predictor
