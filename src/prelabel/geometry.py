"""Array functions on boxes: pixels in, pixels out, nothing else."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prelabel.types import Float32Array


def clip_boxes(boxes_xyxy: Float32Array, image_hw: tuple[int, int]) -> Float32Array:
    """Boxes (N, 4) cut to an image of `image_hw` (height, width) pixels; sides may become 0."""
    height, width = image_hw
    return np.clip(boxes_xyxy, 0, np.array([width, height, width, height], np.float32))


def boxes_with_area(boxes_xyxy: Float32Array, image_hw: tuple[int, int]) -> Float32Array:
    """Boxes (N, 4) cut to an image of `image_hw` pixels, no side of which is shorter than one."""
    height, width = image_hw
    cut = clip_boxes(boxes_xyxy, image_hw)
    low = np.minimum(cut[:, :2], np.array([width - 1, height - 1], np.float32))
    return np.concatenate([low, np.maximum(cut[:, 2:], low + 1)], 1)


def around_turned(boxes_xyxy: Float32Array, turns: ArrayLike) -> Float32Array:
    """Upright boxes (N, 4) around boxes that are turned by degrees (N,) about their centres."""
    angles = np.deg2rad(np.asarray(turns, np.float64).reshape(-1, 1))
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    halves = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / 2
    reach = np.abs(np.cos(angles)) * halves + np.abs(np.sin(angles)) * halves[:, ::-1]
    around = np.concatenate([centres - reach, centres + reach], 1)
    return np.where(angles == 0, boxes_xyxy, around).astype(np.float32)


def within_image(
    boxes_xyxy: Float32Array, turns: ArrayLike, image_hw: tuple[int, int]
) -> tuple[Float32Array, Float32Array]:
    """Boxes (N, 4) that are turned by degrees (N,), as they belong into an image.

    Returns:
        (N, 4) upright ones cut to the image, turned ones as they are, since a cut would move
        their edges inside the image too; and (N, 2) width and height of what of each, or of the
        upright box around it, lies inside: 0 where it has no area.
    """
    visible = clip_boxes(around_turned(boxes_xyxy, turns), image_hw)
    upright = np.asarray(turns, np.float64).reshape(-1, 1) == 0
    has_area = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(1, keepdims=True)
    sides: Float32Array = (visible[:, 2:] - visible[:, :2]) * has_area
    return np.where(upright, visible, boxes_xyxy), sides


def box_areas(boxes_xyxy: Float32Array) -> Float32Array:
    """Areas (N,) in square pixels; 0 where a box is turned inside out."""
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0)
    areas: Float32Array = sides[:, 0] * sides[:, 1]
    return areas


def intersections(boxes_xyxy: Float32Array, others_xyxy: Float32Array) -> Float32Array:
    """Overlap in square pixels of each of N boxes with each of M others: (N, M)."""
    low = np.maximum(boxes_xyxy[:, None, :2], others_xyxy[None, :, :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], others_xyxy[None, :, 2:])
    sides = np.maximum(high - low, 0)
    overlaps: Float32Array = sides[..., 0] * sides[..., 1]
    return overlaps


def pairwise_iou(boxes_xyxy: Float32Array, others_xyxy: Float32Array) -> Float32Array:
    """Intersection over union of each of N boxes with each of M others: (N, M) in 0..1."""
    overlaps = intersections(boxes_xyxy, others_xyxy)
    unions = box_areas(boxes_xyxy)[:, None] + box_areas(others_xyxy)[None, :] - overlaps
    ious: Float32Array = np.divide(overlaps, unions, out=np.zeros_like(overlaps), where=unions > 0)
    return ious


def non_maximum_suppression(
    boxes_xyxy: Float32Array,
    scores: Float32Array,
    groups: NDArray[np.int64],
    *,
    iou_within: float,
    iou_across: float,
) -> NDArray[np.int64]:
    """Greedy suppression of duplicates, best score first.

    Args:
        boxes_xyxy: (N, 4) pixels.
        scores: (N,).
        groups: (N,) class of each box.
        iou_within: A box over this IoU with a better box of its own group is dropped.
        iou_across: The same against better boxes of other groups.

    Returns:
        Indices of the boxes kept, best first; ties keep their order.
    """
    order = np.argsort(-scores, kind="stable")
    iou = pairwise_iou(boxes_xyxy[order], boxes_xyxy[order])
    same_group = groups[order][:, None] == groups[order][None, :]
    duplicates = iou > np.where(same_group, iou_within, iou_across)
    kept = np.ones(len(order), bool)
    for rank in range(len(order)):
        if kept[rank]:
            kept[rank + 1 :] &= ~duplicates[rank, rank + 1 :]
    survivors: NDArray[np.int64] = order[kept]
    return survivors
