"""Whether Label Studio holds the predictions that it should, frame by frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prelabel.geometry import box_areas, intersections, pairwise_iou
from prelabel.labelstudio.config import LabelConfig
from prelabel.labelstudio.regions import problems, read
from prelabel.types import BODY_PARTS, Float32Array

SAME_PLACE_IOU = 0.3
INSIDE_SHARE = 0.9
INSIDE_AREA_RATIO = 8.0
"""A box around a planted spot may be this many times larger, or smaller: no box finds by being
the whole picture."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One task and what its frame is known to show.

    Attributes:
        name: The frame's file name.
        image_hw: Height and width of the frame file in pixels.
        planted_xyxy: (N, 4) float32 pixels: the damage that was drawn into the frame.
        predictions: What Label Studio holds for the task.
    """

    name: str
    image_hw: tuple[int, int]
    planted_xyxy: Float32Array
    predictions: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about one frame.

    Attributes:
        name: The frame's file name.
        planted: How much damage was planted.
        found: How much of it has a box.
        boxes: How many boxes its prediction has.
        faults: What is wrong, in words; empty when all is right.
    """

    name: str
    planted: int
    found: int
    boxes: int
    faults: tuple[str, ...]


def verdict_on(frame: Frame, model_version: str, config: LabelConfig) -> Verdict:
    """Hold one frame's predictions against what they must be.

    Args:
        frame: The task's frame and its predictions.
        model_version: What the backend's `/setup` answers for this project.
        config: The project's label config.
    """
    planted = len(frame.planted_xyxy)
    if len(frame.predictions) != 1:
        fault = f"{len(frame.predictions)} predictions instead of 1"
        return Verdict(frame.name, planted, 0, 0, (fault,))
    prediction = frame.predictions[0]
    result = prediction["result"]
    boxes_xyxy = read(result, config).boxes.boxes_xyxy
    covered = same_place(frame.planted_xyxy, boxes_xyxy).any(axis=1)
    faults = problems(result, config)
    if prediction["model_version"] != model_version:
        faults.append(f"model_version {prediction['model_version']!r} is not {model_version!r}")
    faults += _label_faults(result)
    faults += _size_faults(result, frame.image_hw)
    faults += [
        f"no box over the damage at {[round(float(edge)) for edge in box]}"
        for box in frame.planted_xyxy[~covered]
    ]
    return Verdict(frame.name, planted, int(covered.sum()), len(boxes_xyxy), tuple(faults))


def same_place(planted_xyxy: Float32Array, boxes_xyxy: Float32Array) -> np.ndarray[Any, Any]:
    """Which of M boxes lies on which of N planted spots: (N, M) bool.

    It does with enough overlap, or when one holds the other and is not much larger.
    """
    areas, others = box_areas(planted_xyxy)[:, None], box_areas(boxes_xyxy)[None, :]
    smaller, larger = np.minimum(areas, others), np.maximum(areas, others)
    held = intersections(planted_xyxy, boxes_xyxy) >= INSIDE_SHARE * smaller
    inside = held & (larger <= INSIDE_AREA_RATIO * smaller)
    return np.asarray(inside | (pairwise_iou(planted_xyxy, boxes_xyxy) >= SAME_PLACE_IOU))


def table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts for a terminal: a line per frame, what is wrong below it, a total."""
    lines = [f"{'frame':<24}{'planted':>8}{'found':>7}{'boxes':>7}  verdict"]
    for verdict in verdicts:
        counts = f"{verdict.planted:>8}{verdict.found:>7}{verdict.boxes:>7}"
        lines.append(f"{verdict.name:<24}{counts}  {'WRONG' if verdict.faults else 'right'}")
        lines += [f"    {fault}" for fault in verdict.faults]
    right = sum(not verdict.faults for verdict in verdicts)
    lines.append(f"{right} of {len(verdicts)} frames have the prediction that they should have")
    return "\n".join(lines)


def _label_faults(result: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each rectangle is a body distortion with one body part of the vocabulary."""
    parts = {
        region["id"]: region["value"]["choices"]
        for region in result
        if region["from_name"] == "body_part"
    }
    faults = []
    for region in result:
        if region["type"] == "rectanglelabels":
            if region["value"]["rectanglelabels"] != ["body_distortion"]:
                faults.append(f"label {region['value']['rectanglelabels']}")
            chosen = parts.get(region["id"], [])
            if len(chosen) != 1 or chosen[0] not in BODY_PARTS:
                faults.append(f"body_part {chosen}")
    return faults


def _size_faults(result: Sequence[Mapping[str, Any]], image_hw: tuple[int, int]) -> list[str]:
    sizes = {(region["original_height"], region["original_width"]) for region in result}
    return [f"original size {size} is not {image_hw}" for size in sizes - {image_hw}]
