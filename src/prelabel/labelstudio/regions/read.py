"""Regions in percent back into pixels."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from prelabel import keypoints
from prelabel.labelstudio.config import LabelConfig, normalised
from prelabel.labelstudio.keypoint_labels import keypoint_labels
from prelabel.labelstudio.regions.write import NUMBER_KEYS, Region
from prelabel.types import BODY_PARTS, Detections, Float32Array, Poses

_FAR_PCT = 1e6  # no region lies so far out; NaN and infinity are not below it either
_MOST_PIXELS = 1_000_000  # of a side


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What is drawn on one image, by a person or a model.

    Attributes:
        image_hw: Height and width in pixels; (0, 0) where nothing is drawn.
        boxes: Rectangles that are not persons with keypoints; score 1 where a person drew it.
        people: Whole-body poses, K = 133; a keypoint that is not drawn has score 0.
    """

    image_hw: tuple[int, int]
    boxes: Detections
    people: Poses


def read(result: Sequence[Region], config: LabelConfig, page: int | None = None) -> Drawn:
    """Read a result back into pixels: the inverse of `write`.

    Keypoints belong to the person whose region is their parent; those without a parent are one
    person. A person's box is the parent's, else the box around the keypoints.

    Args:
        result: Regions of one annotation or prediction.
        config: The project's label config.
        page: Read only this page of a `valueList`; None where the task has one image.
    """
    regions = [region for region in result if page is None or region.get("item_index", 0) == page]
    shapes = [region for region in regions if "original_width" in region]
    if not shapes:
        return Drawn((0, 0), Detections.none("drawn"), Poses.none(len(keypoints.NAMES), "drawn"))
    hw = (int(shapes[0]["original_height"]), int(shapes[0]["original_width"]))
    points = _read_points(regions, config, hw)
    rectangles = [r for r in regions if r.get("type") == "rectanglelabels"]
    parents = {r["id"]: _read_rectangle(r, hw) for r in rectangles if r.get("id") in points}
    lone = [r for r in rectangles if r.get("id") not in points]
    return Drawn(hw, _read_boxes(lone, regions, hw), _read_people(points, parents))


def keypoint_indices(config: LabelConfig) -> dict[str, dict[str, int]]:
    """Which whole-body keypoint a stored label means, by the name of each keypoint control."""
    return {
        control.name: {label: index for index, label in keypoint_labels(control.labels).items()}
        for control in config.controls
        if control.tag == "KeyPointLabels"
    }


def _read_points(
    regions: Sequence[Region], config: LabelConfig, hw: tuple[int, int]
) -> dict[str, list[tuple[int, float, float, float]]]:
    """Index, x, y and score of each keypoint, by the id of its parent ("" for none)."""
    indices = keypoint_indices(config)
    found: dict[str, list[tuple[int, float, float, float]]] = {}
    for region in regions:
        known = indices.get(str(region.get("from_name")), {})
        for label in region.get("value", {}).get("keypointlabels", ()):
            if label in known:
                value, score = region["value"], float(region.get("score") or 1.0)
                x, y = value["x"] / 100 * hw[1], value["y"] / 100 * hw[0]
                family = str(region.get("parentID") or "")
                found.setdefault(family, []).append((known[label], x, y, score))
    return found


def _read_people(
    points: Mapping[str, Sequence[tuple[int, float, float, float]]],
    parents: Mapping[str, tuple[Float32Array, float]],
) -> Poses:
    people = Poses.none(len(keypoints.NAMES), "drawn")
    if not points:
        return people
    keypoints_xy = np.zeros((len(points), len(keypoints.NAMES), 2), np.float32)
    scores = np.zeros(keypoints_xy.shape[:2], np.float32)
    boxes, box_scores = [], []
    for person, (family, drawn) in enumerate(points.items()):
        for index, x, y, score in drawn:
            keypoints_xy[person, index], scores[person, index] = (x, y), score
        shown = keypoints_xy[person, scores[person] > 0]
        around = (np.concatenate([shown.min(0), shown.max(0)]), 1.0)
        box, box_score = parents.get(family, around)
        boxes.append(box)
        box_scores.append(box_score)
    return Poses(
        np.stack(boxes), np.array(box_scores, np.float32), keypoints_xy, scores, people.source
    )


def _read_boxes(
    rectangles: Sequence[Region], regions: Sequence[Region], hw: tuple[int, int]
) -> Detections:
    """Rectangles with their body parts; one without area, a slip of the hand, is left out."""
    read = [(region, *_read_rectangle(region, hw)) for region in rectangles]
    kept = [(region, box, score) for region, box, score in read if (box[2:] > box[:2]).all()]
    if not kept:
        return Detections.none("drawn")
    parts = {
        region.get("id"): choice
        for region in regions
        for choice in region.get("value", {}).get("choices", ())
        if normalised(choice) in BODY_PARTS
    }
    return Detections(
        np.stack([box for _, box, _ in kept]),
        np.array([score for _, _, score in kept], np.float32),
        tuple(str(next(iter(r["value"].get("rectanglelabels", ())), "")) for r, _, _ in kept),
        tuple(normalised(parts[r.get("id")]) if r.get("id") in parts else None for r, _, _ in kept),
        "drawn",
    )


def _read_rectangle(region: Region, hw: tuple[int, int]) -> tuple[Float32Array, float]:
    """The upright box around a rectangle and its score."""
    return upright_box(region["value"], hw), float(region.get("score") or 1.0)


def upright_box(value: Mapping[str, Any], hw: tuple[int, int]) -> Float32Array:
    """The box xyxy in pixels around a rectangle in percent, turned or not."""
    corner = np.array([value["x"] / 100 * hw[1], value["y"] / 100 * hw[0]])
    across = np.array([value["width"] / 100 * hw[1], 0.0])
    down = np.array([0.0, value["height"] / 100 * hw[0]])
    angle = math.radians(value.get("rotation") or 0.0)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    corners = corner + np.array([0 * across, across, down, across + down]) @ turn.T
    return np.concatenate([corners.min(0), corners.max(0)]).astype(np.float32)


def prompt_texts(results: Iterable[Any]) -> list[str]:
    """What an annotator typed into `<TextArea>` prompts, in order."""
    texts: list[str] = []
    for result in results:
        if isinstance(result, dict) and result.get("type") == "textarea":
            value = result.get("value")
            text = value.get("text") if isinstance(value, dict) else None
            lines = text if isinstance(text, list) else [text]
            texts += [line for line in lines if isinstance(line, str)]
    return texts


def drawn_places(
    results: Iterable[Any],
) -> tuple[tuple[tuple[float, ...], ...], tuple[tuple[float, ...], ...]]:
    """Where an annotator just drew with a smart tool: boxes xyxy and points xy, in pixels.

    What is not drawn as Label Studio draws it is passed over.
    """
    boxes, points = [], []
    for result in results:
        if not isinstance(result, dict) or not isinstance(result.get("value"), dict):
            continue
        kind, value = str(result.get("type")), result["value"]
        height, width = result.get("original_height"), result.get("original_width")
        if not is_size(height) or not is_size(width):
            continue
        if kind.startswith("rectangle") and are_numbers(value, NUMBER_KEYS):
            box = upright_box(value, (height, width))
            boxes.append(tuple(float(edge) for edge in box))
        is_point = kind.startswith("keypoint") and result.get("is_positive") is not False
        if is_point and are_numbers(value, ("x", "y")):
            points.append((value["x"] / 100 * width, value["y"] / 100 * height))
    return tuple(boxes), tuple(points)


def is_size(size: object) -> TypeGuard[int]:
    """Whether this is a number of pixels."""
    return isinstance(size, int) and not isinstance(size, bool) and 0 < size <= _MOST_PIXELS


def are_numbers(value: Mapping[str, Any], keys: Iterable[str]) -> bool:
    """Whether all these keys hold finite numbers of a size that coordinates have."""
    numbers = [value.get(key) for key in keys]
    return all(isinstance(n, int | float) and -_FAR_PCT < n < _FAR_PCT for n in numbers)
