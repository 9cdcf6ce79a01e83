"""What people marked on one frame: what the learner learns from, and what it answers with."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from prelabel.geometry import clip_boxes, within_image
from prelabel.learning.frames import FrameKey
from prelabel.types import SEQUENCE, Detections, Float32Array, Mark, Poses

LEAST_HALF = 0.5
"""Pixels that the box of a lone keypoint has on each side of it, at the very edge too."""


@dataclass(frozen=True, slots=True, eq=False)
class MarkedFrame:
    """One submitted frame. A frame without marks is evidence that nothing was there.

    Attributes:
        key: Its place in its sequence.
        image_hw: Height and width in pixels; (0, 0) where nothing is drawn.
        marks: All objects on it.
        drawn: What people drew, as it was stored and not looked into here; b"" for none.
        task: The number of the task that shows it, or None; another task under the same name
            shows another video.
    """

    key: FrameKey
    image_hw: tuple[int, int]
    marks: tuple[Mark, ...]
    drawn: bytes = b""
    task: int | None = None


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


def carried_boxes(
    answer: FrameAnswer, control: str, labels: Collection[str], image_hw: tuple[int, int]
) -> Detections:
    """What was carried for a control as boxes of an image, surest first.

    A lone keypoint is the centre of its box, also at an edge of the image, where half of the box
    that it counts as would lie outside.

    Args:
        answer: What the learner knows of the frame.
        control: The control whose marks are wanted.
        labels: The labels that it has; others are left out.
        image_hw: Height and width of the image in pixels.
    """
    own = _of(answer, {control})
    marks = [one for one in own if one.mark.label in labels and not _has_left(one.mark)]
    if not marks:
        return Detections.none(SEQUENCE)
    boxes = np.stack([_around_point(one.mark, answer.image_hw) for one in marks])
    boxes = boxes * np.tile(_scale(answer, image_hw), 2)
    return _inside(
        Detections(
            np.asarray(boxes, np.float32),
            np.array([one.confidence for one in marks], np.float32),
            tuple(one.mark.label for one in marks),
            (None,) * len(marks),
            SEQUENCE,
            attributes=tuple(one.mark.attributes for one in marks),
            turns=tuple(one.mark.turn for one in marks),
        ),
        image_hw,
    )


def carried_people(
    answer: FrameAnswer, controls: Collection[str], keypoints: int, image_hw: tuple[int, int]
) -> Poses:
    """What was carried for some controls as people, surest first; other marks are left out.

    Args:
        answer: What the learner knows of the frame.
        controls: The controls of the keypoints.
        keypoints: K.
        image_hw: Height and width of the image in pixels.
    """
    marks = [one for one in _of(answer, controls) if len(one.mark.points_seen) == keypoints]
    if not marks:
        return Poses.none(keypoints, SEQUENCE)
    scale = _scale(answer, image_hw)
    confidences = np.array([one.confidence for one in marks], np.float32)
    seen = np.stack([one.mark.points_seen for one in marks])
    boxes = np.stack([one.mark.box_xyxy for one in marks]) * np.tile(scale, 2)
    points = np.stack([one.mark.points_xy for one in marks]) * scale
    return Poses(
        clip_boxes(np.asarray(boxes, np.float32), image_hw),
        confidences,
        np.asarray(points, np.float32),
        np.where(seen, confidences[:, None], np.float32(0)),
        SEQUENCE,
        attributes=tuple(one.mark.attributes for one in marks),
    )


def _of(answer: FrameAnswer, controls: Collection[str]) -> list[CarriedMark]:
    return [one for one in answer.carried if one.mark.control in controls]


def _has_left(mark: Mark) -> bool:
    """Whether this is a lone keypoint that went out of the image, though its box did not."""
    return len(mark.points_seen) == 1 and not mark.points_seen[0]


def _around_point(mark: Mark, image_hw: tuple[int, int]) -> Float32Array:
    """A mark's box (4,); of a lone keypoint what of it lies evenly around the point."""
    if len(mark.points_seen) != 1:
        return mark.box_xyxy
    point = mark.points_xy[0]
    room = np.minimum(point, np.array(image_hw[::-1], np.float32) - point)
    half = np.maximum(np.minimum((mark.box_xyxy[2:] - mark.box_xyxy[:2]) / 2, room), LEAST_HALF)
    return np.concatenate([point - half, point + half])


def _scale(answer: FrameAnswer, image_hw: tuple[int, int]) -> Float32Array:
    """What x and y are multiplied with, where a frame has another size than those annotated."""
    height, width = answer.image_hw
    return np.array([image_hw[1] / (width or image_hw[1]), image_hw[0] / (height or image_hw[0])])


def _inside(boxes: Detections, image_hw: tuple[int, int]) -> Detections:
    """Boxes cut to the image; those outside it are left out."""
    within, visible = within_image(boxes.boxes_xyxy, boxes.turns or 0.0, image_hw)
    kept = np.flatnonzero((visible > 0).all(1))
    return replace(boxes.take(kept), boxes_xyxy=within[kept])
