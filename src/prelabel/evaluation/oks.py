"""Object keypoint similarity: how well a pose agrees with an annotated one, as COCO defines it.

Per keypoint exp(-d² / (2 · area · (2s)²)), d the distance in pixels and s the keypoint's spread
among annotators; then the mean over the annotated keypoints. Definition: https://cocodataset.org
(keypoint evaluation), and `pycocotools`, which the tests compare with.
"""

import numpy as np

from prelabel import keypoints
from prelabel.evaluation.scenes import AnnotatedPeople, BoolArray, Float64Array
from prelabel.types import Poses

PARTS: dict[str, range] = {**keypoints.GROUPS, "whole_body": range(len(keypoints.NAMES))}
"""The keypoints of each part that is scored."""

_TINY = float(np.spacing(1))  # as COCO has it: an area of 0 divides nothing


def similarities(poses: Poses, people: AnnotatedPeople, points: range) -> Float64Array:
    """The similarity of each of N poses to each of M annotated people: (N, M) in 0..1.

    A keypoint that was not found (score 0) adds nothing, which is the only difference from COCO,
    where it lies at (0, 0). For a person of whom none of these keypoints is annotated, distance
    is measured to a box of three times the sides around the person's, as COCO does: such a person
    excuses poses near it, and is not counted itself.

    Args:
        poses: With K keypoints.
        people: With the same K keypoints.
        points: The keypoints that count.
    """
    wanted = slice(points.start, points.stop)
    places = poses.keypoints_xy[:, wanted].astype(np.float64)[:, None]
    annotated = people.annotated[:, wanted]
    unknown: BoolArray = ~np.any(annotated, axis=1)
    offsets = places - people.keypoints_xy[None, :, wanted]
    beyond = _beyond(places, people.boxes_xyxy)
    squared = np.where(unknown[None, :, None], (beyond**2).sum(-1), (offsets**2).sum(-1))
    spread = (2 * np.array(keypoints.SIGMAS)[wanted]) ** 2
    agreement = np.exp(-squared / spread / (people.areas + _TINY)[None, :, None] / 2)
    agreement *= (poses.keypoint_scores[:, wanted] > 0)[:, None]
    counted = annotated | unknown[:, None]
    means: Float64Array = (agreement * counted).sum(-1) / counted.sum(-1)
    return means


def _beyond(places: Float64Array, boxes_xyxy: Float64Array) -> Float64Array:
    """How far places (N, 1, K, 2) lie outside the thrice as large boxes (M, 4): (N, M, K, 2)."""
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    low = (boxes_xyxy[:, :2] - sides)[None, :, None]
    high = (boxes_xyxy[:, 2:] + sides)[None, :, None]
    beyond: Float64Array = np.maximum(low - places, 0) + np.maximum(places - high, 0)
    return beyond
