"""Whether Label Studio holds the predictions that it should, picture by picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prelabel import keypoints
from prelabel.geometry import box_areas, intersections, pairwise_iou
from prelabel.labelstudio.config import LabelConfig
from prelabel.labelstudio.regions.check import problems
from prelabel.labelstudio.regions.read import read
from prelabel.types import BODY_PARTS, Float32Array, Poses

SAME_PLACE_IOU = 0.3
INSIDE_SHARE = 0.9
INSIDE_AREA_RATIO = 8.0
"""A box around a planted spot may be this many times larger, or smaller: no box finds by being
the whole picture."""
SAME_POINT_SHARE = 0.15
"""A keypoint may lie this share of the person's diagonal away: the right place is checked here,
and not how exact it is, which `prelabel evaluate` measures."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One task, its picture and what Label Studio holds for it.

    Attributes:
        name: The picture's file name.
        image_hw: Height and width of the picture file in pixels.
        predictions: What Label Studio holds for the task.
    """

    name: str
    image_hw: tuple[int, int]
    predictions: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class VisiblePerson:
    """A person whom a photo is known to show.

    Attributes:
        box_xyxy: (4,) float32 pixels.
        keypoints_xy: Where some of the keypoints are, in pixels, by their names.
    """

    box_xyxy: Float32Array
    keypoints_xy: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about one picture.

    Attributes:
        name: The picture's file name.
        expected: How many spots of damage, or people, it is known to show.
        found: How many of them were found.
        drawn: How many boxes, or people, its prediction has.
        faults: What is wrong, in words; empty when all is right.
    """

    name: str
    expected: int
    found: int
    drawn: int
    faults: tuple[str, ...]


def verdict_on_boxes(
    stored: Stored, planted_xyxy: Float32Array, model_version: str, config: LabelConfig
) -> Verdict:
    """Hold one frame's prediction against the damage that was planted in it.

    Args:
        stored: The frame and its predictions.
        planted_xyxy: (N, 4) float32 pixels: the damage that was drawn into the frame.
        model_version: What the backend's `/setup` answers for this project.
        config: The project's label config.
    """
    if len(stored.predictions) != 1:
        return _not_one_prediction(stored, len(planted_xyxy))
    result = stored.predictions[0]["result"]
    boxes_xyxy = read(result, config).boxes.boxes_xyxy
    covered = same_place(planted_xyxy, boxes_xyxy).any(axis=1)
    faults = [*_faults_of_any(stored, model_version, config), *_label_faults(result)]
    faults += [f"no box over the damage at {_whole(box)}" for box in planted_xyxy[~covered]]
    found = int(covered.sum())
    return Verdict(stored.name, len(planted_xyxy), found, len(boxes_xyxy), tuple(faults))


def verdict_on_poses(
    stored: Stored, people: Sequence[VisiblePerson], model_version: str, config: LabelConfig
) -> Verdict:
    """Hold one photo's prediction against the people whom it shows: all of them, and nobody else.

    Args:
        stored: The photo and its predictions.
        people: Whom it shows.
        model_version: What the backend's `/setup` answers for this project.
        config: The project's label config.
    """
    if len(stored.predictions) != 1:
        return _not_one_prediction(stored, len(people))
    result = stored.predictions[0]["result"]
    drawn = read(result, config)
    faults = [*_faults_of_any(stored, model_version, config), *_parent_faults(result)]
    if len(drawn.boxes):
        faults.append(f"{len(drawn.boxes)} boxes without keypoints")
    if len(drawn.people) != len(people):
        faults.append(f"{len(drawn.people)} people instead of {len(people)}")
    found = 0
    for person in people:
        there = same_place(person.box_xyxy[None], drawn.people.boxes_xyxy)[0]
        found += bool(there.any())
        if there.any():
            faults += _keypoint_faults(person, drawn.people.take(np.flatnonzero(there)[:1]))
        else:
            faults.append(f"no person at {_whole(person.box_xyxy)}")
    return Verdict(stored.name, len(people), found, len(drawn.people), tuple(faults))


def same_place(planted_xyxy: Float32Array, boxes_xyxy: Float32Array) -> np.ndarray[Any, Any]:
    """Which of M boxes lies on which of N planted spots: (N, M) bool.

    It does with enough overlap, or when one holds the other and is not much larger.
    """
    areas, others = box_areas(planted_xyxy)[:, None], box_areas(boxes_xyxy)[None, :]
    smaller, larger = np.minimum(areas, others), np.maximum(areas, others)
    held = intersections(planted_xyxy, boxes_xyxy) >= INSIDE_SHARE * smaller
    inside = held & (larger <= INSIDE_AREA_RATIO * smaller)
    return np.asarray(inside | (pairwise_iou(planted_xyxy, boxes_xyxy) >= SAME_PLACE_IOU))


def table(title: str, verdicts: Sequence[Verdict]) -> str:
    """The verdicts on a project: a line per picture, what is wrong below it, a total."""
    lines = [title, f"{'picture':<24}{'expected':>9}{'found':>7}{'drawn':>7}  verdict"]
    for verdict in verdicts:
        counts = f"{verdict.expected:>9}{verdict.found:>7}{verdict.drawn:>7}"
        lines.append(f"{verdict.name:<24}{counts}  {'WRONG' if verdict.faults else 'right'}")
        lines += [f"    {fault}" for fault in verdict.faults]
    right = sum(not verdict.faults for verdict in verdicts)
    lines.append(f"{right} of {len(verdicts)} pictures have the prediction that they should have")
    return "\n".join(lines)


def _not_one_prediction(stored: Stored, expected: int) -> Verdict:
    fault = f"{len(stored.predictions)} predictions instead of 1"
    return Verdict(stored.name, expected, 0, 0, (fault,))


def _faults_of_any(stored: Stored, model_version: str, config: LabelConfig) -> list[str]:
    """What would be wrong with any project's prediction."""
    (prediction,) = stored.predictions
    faults = problems(prediction["result"], config)
    if prediction["model_version"] != model_version:
        faults.append(f"model_version {prediction['model_version']!r} is not {model_version!r}")
    sizes = {(one["original_height"], one["original_width"]) for one in prediction["result"]}
    faults += [f"original size {s} is not {stored.image_hw}" for s in sizes - {stored.image_hw}]
    return faults


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


def _parent_faults(result: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each keypoint lies under a rectangle; that it is in the result, `problems` sees to."""
    boxes = {region["id"] for region in result if region["type"] == "rectanglelabels"}
    astray = [
        region["value"]["keypointlabels"][0]
        for region in result
        if region["type"] == "keypointlabels" and region.get("parentID") not in boxes
    ]
    return [f"keypoints under no person: {', '.join(astray)}"] if astray else []


def _keypoint_faults(person: VisiblePerson, pose: Poses) -> list[str]:
    """Keypoints of one person that are missing, or lie somewhere else.

    Args:
        person: Where they are.
        pose: One pose of all whole-body keypoints.
    """
    reach = SAME_POINT_SHARE * float(np.hypot(*(person.box_xyxy[2:] - person.box_xyxy[:2])))
    faults = []
    for name, xy in person.keypoints_xy.items():
        index = keypoints.INDEX[name]
        away = float(np.hypot(*(pose.keypoints_xy[0, index] - xy)))
        if pose.keypoint_scores[0, index] == 0:
            faults.append(f"no {name}")
        elif away > reach:
            faults.append(f"{name} lies {away:.0f} pixels from where it is")
    return faults


def _whole(box_xyxy: Float32Array) -> list[int]:
    return [round(float(edge)) for edge in box_xyxy]
