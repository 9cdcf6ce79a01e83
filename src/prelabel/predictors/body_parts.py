"""Where body parts are in an image, and which of them a box lies on."""

from dataclasses import replace
from typing import Protocol

import numpy as np

from prelabel.geometry import box_areas, intersections, pairwise_iou
from prelabel.types import Detections, Float32Array, Image

WITHIN = 0.6
"""A box lies on a part when this share of the box is inside the part's box."""
MIN_IOU = 0.3
"""A box that reaches further still lies on a part when they overlap this much."""


class PartLocator(Protocol):
    """Finds body parts, whether or not anything is wrong with them."""

    def locate(self, image: Image) -> Detections:
        """Boxes whose `body_parts` are set, surest first. Calls may come from several threads."""
        ...


def covering_part(box_xyxy: Float32Array, parts: Detections) -> str | None:
    """The body part that a box lies on, or None.

    A part qualifies when it holds `WITHIN` of the box's area or overlaps it with an IoU of
    `MIN_IOU`. Of several, the one of the highest IoU is taken: the hand before the person whose
    it is.

    Args:
        box_xyxy: (4,) pixels.
        parts: Located parts of the same image.
    """
    if len(parts) == 0:
        return None
    box = box_xyxy[None]
    is_within = intersections(box, parts.boxes_xyxy)[0] >= WITHIN * box_areas(box)
    iou = pairwise_iou(box, parts.boxes_xyxy)[0]
    qualifying = np.where(is_within | (iou >= MIN_IOU), iou, -1)
    best = int(qualifying.argmax())
    return parts.body_parts[best] if qualifying[best] >= 0 else None


def named_by_parts(found: Detections, parts: Detections) -> Detections:
    """Boxes with the body part that each lies on, as located; a phrase is the second best witness.

    The phrase that found a box says what its words resemble, the located parts say where it is.
    The phrase's part stands where a located part of that name covers the box, or where nothing
    smaller than a whole person does: a distorted hand is one that a pose may not find.

    Args:
        found: Boxes whose body parts come from phrases.
        parts: Located parts of the same image.
    """
    return replace(
        found,
        body_parts=tuple(
            _part(box, said, parts)
            for box, said in zip(found.boxes_xyxy, found.body_parts, strict=True)
        ),
    )


def _part(box_xyxy: Float32Array, said: str | None, parts: Detections) -> str | None:
    same = np.array([part == said for part in parts.body_parts], bool)
    if same.any() and covering_part(box_xyxy, parts.take(np.flatnonzero(same))):
        return said
    located = covering_part(box_xyxy, parts)
    return said if said and located in (None, "full_body") else located
