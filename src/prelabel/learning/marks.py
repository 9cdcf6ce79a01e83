"""What people marked on one frame: what the learner learns from, and what it answers with."""

from dataclasses import dataclass

from prelabel.learning.frames import FrameKey
from prelabel.types import Mark


@dataclass(frozen=True, slots=True, eq=False)
class MarkedFrame:
    """One submitted frame. A frame without marks is evidence that nothing was there.

    Attributes:
        key: Its place in its sequence.
        image_hw: Height and width in pixels; (0, 0) where nothing is drawn.
        marks: All objects on it.
        drawn: What people drew, as it was stored and not looked into here; b"" for none.
    """

    key: FrameKey
    image_hw: tuple[int, int]
    marks: tuple[Mark, ...]
    drawn: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class CarriedMark:
    """A mark that the learner carried to another frame.

    Attributes:
        mark: Where it should be there.
        confidence: Expected overlap (IoU) with what a person would draw, 0..1.
    """

    mark: Mark
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)
class FrameAnswer:
    """What the learner knows of one frame.

    Attributes:
        image_hw: Height and width in pixels of the sequence's frames; (0, 0) if not known.
        carried: Objects that should be there, surest first; on an annotated frame those drawn.
        drawn: What people drew there, as `MarkedFrame.drawn`; None where they did not annotate it.
    """

    image_hw: tuple[int, int]
    carried: tuple[CarriedMark, ...]
    drawn: bytes | None = None
