"""What was learnt of one sequence, and what it says of one frame."""

import copy
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prelabel.learning.carry import Carrier, Mode
from prelabel.learning.marks import CarriedMark, FrameAnswer, MarkedFrame
from prelabel.learning.motion import Ints
from prelabel.learning.tracks import link, reach
from prelabel.types import Mark

LEAST_CONFIDENCE = 0.5
"""What overlaps less than this in the mean is as often wrong as right, and is not carried."""

Kind = tuple[str, str]
"""Control and label."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to learn.

    Attributes:
        mode: The rule by which a track is carried; auto takes the one that does best.
        neighbours: How many annotated frames knn and local_linear look at.
        min_samples: A label of a sequence with fewer marks is not carried.
    """

    mode: Mode = "auto"
    neighbours: int = 4
    min_samples: int = 8


class Clip:
    """The annotated frames of one sequence, the tracks through them, and what they tell.

    Args:
        frames: Annotated frames, one or more, ascending.
        kinds: The controls and labels that are carried.
        options: How.
    """

    def __init__(
        self, frames: Sequence[MarkedFrame], kinds: Collection[Kind], options: Options
    ) -> None:
        self.frames = {frame.key.index: frame for frame in frames}
        self.indices = np.array([frame.key.index for frame in frames], np.int64)
        self._empty = np.array([not frame.marks for frame in frames])
        sizes = Counter(frame.image_hw for frame in frames if frame.marks)
        self.image_hw = sizes.most_common(1)[0][0] if sizes else (0, 0)
        stride, self.max_gap = reach(self.indices.tolist())
        by_kind: dict[Kind, list[list[Mark]]] = {kind: [[] for _ in frames] for kind in kinds}
        for place, frame in enumerate(frames):
            for mark in frame.marks:
                if (mark.control, mark.label) in by_kind:
                    scaled = _scaled(mark, frame.image_hw, self.image_hw)
                    by_kind[mark.control, mark.label][place].append(scaled)
        self.carriers = tuple(
            Carrier(tracks, options.mode, options.neighbours, self.image_hw, stride)
            for kind in sorted(by_kind)
            if (tracks := link(self.indices.tolist(), by_kind[kind], self.max_gap))
        )

    def by(self, mode: Mode) -> "Clip":
        """The same tracks, carried by another rule."""
        other = copy.copy(self)
        other.carriers = tuple(carrier.by(mode) for carrier in self.carriers)
        return other

    def at(self, index: int) -> FrameAnswer | None:
        """What should be on a frame; None where that is not known."""
        known = self.frames.get(index)
        if known is not None:
            return as_drawn(known)
        at = np.array([index], np.int64)
        sure: list[CarriedMark] = []
        for carrier in self.carriers:
            carried = carrier.carry(at)
            rows = np.flatnonzero(carried.confidence >= LEAST_CONFIDENCE)
            sure += [carrier.mark(carried, int(row)) for row in rows]
        if sure or self.between_empty(at)[0]:
            sure.sort(key=lambda mark: -mark.confidence)
            return FrameAnswer(self.image_hw, tuple(sure))
        return None

    def between_empty(self, at: Ints) -> NDArray[np.bool_]:
        """Whether the annotated frames on either side of frames (Q,) are near and empty: (Q,)."""
        after = np.searchsorted(self.indices, at)
        between = (after > 0) & (after < len(self.indices))
        left, right = after[between] - 1, after[between]
        near = self.indices[right] - self.indices[left] <= self.max_gap
        between[between] = near & self._empty[left] & self._empty[right]
        return between


def as_drawn(frame: MarkedFrame) -> FrameAnswer:
    """What people drew on a frame, as the answer for it."""
    marks = tuple(CarriedMark(mark, 1.0) for mark in frame.marks)
    return FrameAnswer(frame.image_hw, marks, frame.drawn)


def _scaled(mark: Mark, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Mark:
    """A mark as it would be on an image of another size."""
    if from_hw == to_hw:
        return mark
    factor = np.array([to_hw[1] / from_hw[1], to_hw[0] / from_hw[0]], np.float32)
    return replace(
        mark, box_xyxy=mark.box_xyxy * np.tile(factor, 2), points_xy=mark.points_xy * factor
    )
