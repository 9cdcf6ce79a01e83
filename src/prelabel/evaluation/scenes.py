"""One image with what people annotated on it and what was predicted for it.

Annotations are float64, as the metrics compute. Letters in shapes: M annotated, N predicted,
K keypoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prelabel.types import Detections, Poses, require_shape

Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IndexArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedPeople:
    """The people that were annotated on one image.

    Attributes:
        boxes_xyxy: (M, 4) float64 pixels.
        areas: (M,) float64 square pixels: as annotated (in COCO the segment's), else the box's.
        keypoints_xy: (M, K, 2) float64 pixels; meaningless where not annotated.
        annotated: (M, K) bool: which keypoints were annotated, seen or hidden.
        crowds: (M,) bool: whether it stands for a crowd, in which nobody is counted.
        area_given: (M,) bool: whether the annotation came with its area.
    """

    boxes_xyxy: Float64Array
    areas: Float64Array
    keypoints_xy: Float64Array
    annotated: BoolArray
    crowds: BoolArray
    area_given: BoolArray

    def __post_init__(self) -> None:
        count, points = len(self.boxes_xyxy), self.annotated.shape[-1]
        require_shape("boxes_xyxy", self.boxes_xyxy, (count, 4), np.float64)
        require_shape("areas", self.areas, (count,), np.float64)
        require_shape("keypoints_xy", self.keypoints_xy, (count, points, 2), np.float64)
        require_shape("annotated", self.annotated, (count, points), np.bool_)
        require_shape("crowds", self.crowds, (count,), np.bool_)
        require_shape("area_given", self.area_given, (count,), np.bool_)

    def __len__(self) -> int:
        return len(self.boxes_xyxy)


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedBoxes:
    """The boxes that were annotated on one image.

    Attributes:
        boxes_xyxy: (M, 4) float64 pixels.
        labels: M labels.
        crowds: (M,) bool: whether it stands for a crowd, in which nothing is counted.
    """

    boxes_xyxy: Float64Array
    labels: tuple[str, ...]
    crowds: BoolArray

    def __post_init__(self) -> None:
        count = len(self.labels)
        require_shape("boxes_xyxy", self.boxes_xyxy, (count, 4), np.float64)
        require_shape("crowds", self.crowds, (count,), np.bool_)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What is compared on one image.

    Attributes:
        name: What to call the image.
        people: The annotated people.
        poses: The predicted ones; a keypoint of score 0 was not found.
        boxes: The annotated boxes.
        detections: The predicted ones.
        owners: (N,) the annotated person in whose box each pose was made; None where people were
            looked for.
    """

    name: str
    people: AnnotatedPeople
    poses: Poses
    boxes: AnnotatedBoxes
    detections: Detections
    owners: IndexArray | None = None
