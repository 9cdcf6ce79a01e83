"""An image on which a predictor breaks costs only itself: a failing batch is halved."""

from collections.abc import Callable, Sequence

import structlog

from prelabel.errors import ModelError, OperatorError, OutOfMemory, PrelabelError
from prelabel.predictors.base import Answer
from prelabel.types import Image

log = structlog.get_logger(__name__)


def answer_each(predict: Callable[[Sequence[Image]], Answer], images: Sequence[Image]) -> Answer:
    """One entry per image, whatever `predict` raises.

    A batch that fails is run again in halves until the image that breaks it stands alone; its
    entry is then the error. Where nothing could be asked at all (OperatorError), every entry is.

    Args:
        predict: Answers images, or raises.
        images: The batch; may be empty.
    """
    if not images:
        return []
    try:
        answer = predict(images)
        assert len(answer) == len(images), f"{len(answer)} answers for {len(images)} images"
    except OperatorError as error:
        return [bare(error)] * len(images)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the log has it; the others go on
        if len(images) > 1:
            half = len(images) // 2
            log.info("batch_halved", images=len(images), reason=type(error).__name__)
            halves = images[:half], images[half:]
            return [entry for one in halves for entry in answer_each(predict, one)]
        outcome = error if isinstance(error, PrelabelError) else named(images[0].name, error)
        return [bare(outcome)]
    return answer


def bare(error: PrelabelError) -> PrelabelError:
    """An error as an outcome, which may be kept for long.

    The frames that it came through, and those of what caused it, hold what they worked on: an
    image, or the bytes of its file.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def named(thing: str, error: BaseException) -> ModelError:
    """What no room foresaw, as the outcome of one image or task: want of memory, or a defect."""
    if isinstance(error, MemoryError):  # of the machine; it says nothing against the image
        return OutOfMemory(
            thing,
            "the machine has no memory left for it",
            "Try again when it does less, or give it more.",
        )
    return defect(thing, error)


def defect(thing: object, error: BaseException) -> ModelError:
    """What nobody thought of: the log has all of it, the outcome its name."""
    log.error("defect", thing=str(thing), exc_info=error)
    return ModelError(
        str(thing),
        f"met a defect of prelabel ({type(error).__name__})",
        "Please report what the log says of it.",
    )
