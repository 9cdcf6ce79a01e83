"""Regions in percent back into pixels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from prelabel import keypoints
from prelabel.labelstudio.config import LabelConfig, normalised
from prelabel.labelstudio.keypoint_labels import keypoint_labels
from prelabel.labelstudio.regions.turned import upright_box
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
        doubled: How many keypoints are not among them, since the same person has that keypoint
            once more, drawn later.
    """

    image_hw: tuple[int, int]
    boxes: Detections
    people: Poses
    doubled: int = 0


def read(result: Sequence[Any], config: LabelConfig, page: int | None = None) -> Drawn:
    """Read a result back into pixels: the inverse of `write`.

    Keypoints belong to the person whose region is their parent; those without a parent are one
    person. A person's box is the parent's, else the box around the keypoints. Regions that are
    broken are passed over.

    Args:
        result: Regions of one annotation or prediction.
        config: The project's label config.
        page: Read only this page of a `valueList`; None where the task has one image.
    """
    regions = whole_regions(result, page)
    hw = next((hw for region in regions if (hw := size_of(region))), None)
    if hw is None:
        return Drawn((0, 0), Detections.none("drawn"), Poses.none(len(keypoints.NAMES), "drawn"))
    points = _read_points(regions, config, hw)
    rectangles = [
        r for r in regions if r.get("type") == "rectanglelabels" and _is_rectangle(r["value"])
    ]
    families = points.keys() - {""}
    parents = {
        str(r["id"]): _read_rectangle(r, hw) for r in rectangles if str(r.get("id")) in families
    }
    lone = [r for r in rectangles if str(r.get("id")) not in families]
    people = _read_people(points, parents)
    doubled = sum(map(len, points.values())) - int((people.keypoint_scores > 0).sum())
    return Drawn(hw, _read_boxes(lone, regions, hw), people, doubled)


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
    for region in (r for r in regions if r.get("type") == "keypointlabels"):
        known = indices.get(str(region.get("from_name")), {})
        value = region["value"]
        for label in _texts(value.get("keypointlabels")):
            if label in known and are_numbers(value, ("x", "y")):
                x, y = value["x"] / 100 * hw[1], value["y"] / 100 * hw[0]
                family = str(region.get("parentID") or "")
                found.setdefault(family, []).append((known[label], x, y, _score(region)))
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
        str(region.get("id")): normalised(choice)
        for region in regions
        for choice in _texts(region["value"].get("choices"))
        if normalised(choice) in BODY_PARTS
    }
    return Detections(
        np.stack([box for _, box, _ in kept]),
        np.array([score for _, _, score in kept], np.float32),
        tuple(next(iter(_texts(r["value"].get("rectanglelabels"))), "") for r, _, _ in kept),
        tuple(parts.get(str(r.get("id"))) for r, _, _ in kept),
        "drawn",
    )


def _read_rectangle(region: Region, hw: tuple[int, int]) -> tuple[Float32Array, float]:
    """The upright box around a rectangle and its score."""
    return upright_box(region["value"], hw), _score(region)


def _is_rectangle(value: Mapping[str, Any]) -> bool:
    """Whether all its numbers are there; one that is not turned needs no angle."""
    turned = value.get("rotation") is not None
    return are_numbers(value, (*NUMBER_KEYS, "rotation") if turned else NUMBER_KEYS)


def _score(region: Region) -> float:
    """How sure a model is; 1 where a person drew it, or what is written is no score."""
    score = region.get("score")
    return float(score) if isinstance(score, int | float) and 0 < score <= 1 else 1.0


def _texts(listed: object) -> list[str]:
    return [text for text in listed if isinstance(text, str)] if isinstance(listed, list) else []


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

    An ellipse stands for the box around it. A keypoint that excludes, other shapes, and what is not
    drawn as Label Studio draws it are passed over.
    """
    boxes, points = [], []
    for result in results:
        if not isinstance(result, dict) or not isinstance(result.get("value"), dict):
            continue
        kind, value, hw = str(result.get("type")), result["value"], size_of(result)
        if hw is None:
            continue
        if (box := _box_around(kind, value, hw)) is not None:
            boxes.append(tuple(float(edge) for edge in box))
        is_point = kind.startswith("keypoint") and result.get("is_positive") is not False
        if is_point and are_numbers(value, ("x", "y")):
            points.append((value["x"] / 100 * hw[1], value["y"] / 100 * hw[0]))
    return tuple(boxes), tuple(points)


def _box_around(kind: str, value: Mapping[str, Any], hw: tuple[int, int]) -> Float32Array | None:
    """The upright box (4,) around an area in percent; None where it is none that can be read."""
    if kind.startswith("rectangle") and _is_rectangle(value):
        return upright_box(value, hw)
    if kind.startswith("ellipse") and are_numbers(value, ("x", "y", "radiusX", "radiusY")):
        turn = np.radians(value["rotation"] if are_numbers(value, ("rotation",)) else 0)
        middle = np.array([value["x"] / 100 * hw[1], value["y"] / 100 * hw[0]])
        radii = np.array([value["radiusX"] / 100 * hw[1], value["radiusY"] / 100 * hw[0]])
        axes = np.array([[np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        half = np.linalg.norm(axes * radii, axis=1)
        return np.concatenate([middle - half, middle + half]).astype(np.float32)
    return None


def whole_regions(result: Sequence[Any], page: int | None) -> list[dict[str, Any]]:
    """The regions of a result that have a value; with a page only those on it."""
    return [
        region
        for region in result
        if isinstance(region, dict)
        and isinstance(region.get("value"), dict)
        and (page is None or region.get("item_index", 0) == page)
    ]


def size_of(region: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of a region's image in pixels; None where it does not say so."""
    height, width = region.get("original_height"), region.get("original_width")
    return (height, width) if is_size(height) and is_size(width) else None


def is_size(size: object) -> TypeGuard[int]:
    """Whether this is a number of pixels."""
    return isinstance(size, int) and not isinstance(size, bool) and 0 < size <= _MOST_PIXELS


def are_numbers(value: Mapping[str, Any], keys: Iterable[str]) -> bool:
    """Whether all these keys hold finite numbers of a size that coordinates have."""
    numbers = [value.get(key) for key in keys]
    return all(isinstance(n, int | float) and -_FAR_PCT < n < _FAR_PCT for n in numbers)
