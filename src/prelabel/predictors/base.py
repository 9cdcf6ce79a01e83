"""The one interface of every model, wrapper and stranger's package."""
# ruff: noqa: D102 - the comment beside each line is its documentation

from collections.abc import Sequence
from typing import Protocol

from prelabel.errors import PrelabelError
from prelabel.types import Ask, Detections, Image, Poses

Answer = Sequence[Detections | Poses | PrelabelError]
"""One entry per image, in order: what was found in it, or why it could not be looked at."""


class Predictor(Protocol):
    """Finds things in images. Calls may come from several threads at once."""

    @property
    def name(self) -> str: ...  # as in model_version, for example "grounding-dino-tiny"
    @property
    def fingerprint(self) -> str: ...  # "" with default settings, else changes when they do
    @property
    def wants_neighbours(self) -> bool: ...  # whether Image.before and .after help it
    @property
    def batch_size(self) -> int: ...  # how many images in one call pay off on its device

    def check(self) -> None: ...  # quick; OperatorError where load() is bound to fail

    # Make ready, once; OperatorError where that is impossible. It may take hours, as long as
    # health() changes meanwhile, or files grow in the folders of weights; else it hangs.
    def load(self) -> None: ...

    def predict(self, images: Sequence[Image], ask: Ask) -> Answer: ...

    def health(self) -> dict[str, object]: ...  # "loaded", "device", "reason"; never waits


def calls_at_once(predictor: Predictor) -> int:
    """How many calls at the same time pay off: what a predictor says that it gains from, or one."""
    return int(getattr(predictor, "calls_at_once", 1))


def why_blind(predictor: Predictor, ask: Ask) -> str:
    """Why a predictor can find nothing of what is asked, in any image; "" where it may."""
    tell = getattr(predictor, "why_blind", None)
    return str(tell(ask)) if tell else ""
