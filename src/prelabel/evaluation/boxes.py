"""How well boxes agree with annotated ones: average precision of each label."""

from collections.abc import Sequence

import numpy as np

from prelabel.evaluation.average_precision import (
    AveragePrecision,
    Matches,
    average_precision,
    match,
)
from prelabel.evaluation.scenes import BoolArray, Float64Array, Scene

MOST_BOXES = 100
"""Boxes of one label on one image that count, best first; COCO's number."""


def score_boxes(scenes: Sequence[Scene]) -> dict[str, AveragePrecision]:
    """Average precision of each label that was annotated or predicted, with IoU as similarity."""
    annotated = {label for scene in scenes for label in scene.boxes.labels}
    predicted = {label for scene in scenes for label in scene.detections.labels}
    return {
        label: average_precision([_matches(scene, label) for scene in scenes])
        for label in sorted(annotated | predicted)
    }


def overlaps(
    boxes_xyxy: Float64Array, annotated_xyxy: Float64Array, crowds: BoolArray
) -> Float64Array:
    """IoU of each of N boxes with each of M annotated ones: (N, M) in 0..1.

    With a crowd it is the share of the box that lies in the crowd, as COCO has it.
    """
    low = np.maximum(boxes_xyxy[:, None, :2], annotated_xyxy[None, :, :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], annotated_xyxy[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(-1)
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(1)[:, None]
    annotated_areas = (annotated_xyxy[:, 2:] - annotated_xyxy[:, :2]).prod(1)
    union = np.where(crowds, areas, areas + annotated_areas - shared)
    ratios: Float64Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratios


def _matches(scene: Scene, label: str) -> Matches:
    predicted = [row for row, name in enumerate(scene.detections.labels) if name == label]
    annotated = [row for row, name in enumerate(scene.boxes.labels) if name == label]
    crowds = scene.boxes.crowds[annotated]
    similarity = overlaps(
        scene.detections.boxes_xyxy[predicted].astype(np.float64),
        scene.boxes.boxes_xyxy[annotated],
        crowds,
    )
    scores = scene.detections.scores[predicted].astype(np.float64)
    return match(similarity, scores, crowds, crowds, MOST_BOXES)
