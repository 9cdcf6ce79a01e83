"""Findings in pixels to result JSON in percent, and the check of what leaves the house.

This is the only module that knows percent, and the only one that writes or reads result JSON.
"""

import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from prelabel import keypoints
from prelabel.labelstudio.config import Control, LabelConfig, normalised
from prelabel.labelstudio.keypoint_labels import keypoint_labels
from prelabel.types import BODY_PARTS, Detections, Float32Array, Poses

Region = dict[str, Any]

POINT_WIDTH_PCT = 0.5
"""Diameter of a keypoint, in percent of the image width, as the editor draws it."""

_SHAPES = ("rectanglelabels", "keypointlabels")
_NUMBER_KEYS = ("x", "y", "width", "height")
_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class PartChoice:
    """The per-region choice that holds the body part.

    Attributes:
        control: The `<Choices>`.
        stored: Which stored choice stands for which body part.
        labels: The labels whose regions show the choice; empty means all.
    """

    control: Control
    stored: Mapping[str, str]
    labels: frozenset[str]

    def value_for(self, label: str, part: str | None) -> str | None:
        """The choice to store for a region, or None where the config has none that fits."""
        if self.labels and label not in self.labels:
            return None
        return self.stored.get(part or "other", self.stored.get("other"))


@dataclass(frozen=True, slots=True)
class PersonBox:
    """The rectangle that a person's keypoints lie under.

    Attributes:
        control: The `<RectangleLabels>`.
        label: Its stored label for a person.
    """

    control: Control
    label: str


@dataclass(frozen=True, slots=True)
class Page:
    """The image that regions lie on.

    Attributes:
        height: Pixels, upright.
        width: Pixels, upright.
        index: Its place in a `valueList`, or None where the task has one image.
    """

    height: int
    width: int
    index: int | None = None


def box_regions(
    detections: Detections, control: Control, part_choice: PartChoice | None, page: Page
) -> list[Region]:
    """Boxes as regions of a `RectangleLabels`, or as centres of a `KeyPointLabels`.

    Each region carries its score; its body part follows as a result of the same id.
    """
    as_points = control.tag == "KeyPointLabels"
    regions: list[Region] = []
    for row, label in enumerate(detections.labels):
        x1, y1, x2, y2 = (float(edge) for edge in detections.boxes_xyxy[row])
        geometry = (
            _point((x1 + x2) / 2, (y1 + y2) / 2, page)
            if as_points
            else _rectangle(x1, y1, x2, y2, page)
        )
        region = _region(control, page, {**geometry, control.result_type: [label]})
        regions.append(_found(region, detections.scores[row], detections.source))
        choice = part_choice and part_choice.value_for(label, detections.body_parts[row])
        if part_choice and choice:
            attribute = _region(part_choice.control, page, {**geometry, "choices": [choice]})
            regions.append({**attribute, "id": region["id"]})
    return regions


def pose_regions(
    poses: Poses,
    control: Control,
    points: Mapping[int, str],
    parent: PersonBox | None,
    page: Page,
) -> list[Region]:
    """Poses as one region per keypoint that was found, under the person's box where there is one.

    Args:
        poses: People; a keypoint of score 0 was not found, and one outside the image is not shown.
        control: The `<KeyPointLabels>`.
        points: The stored label of each keypoint that the control has.
        parent: The control and label of the person's box, or None.
        page: The image.
    """
    regions: list[Region] = []
    for person in range(len(poses)):
        family: dict[str, str] = {}
        if parent is not None:
            x1, y1, x2, y2 = (float(edge) for edge in poses.boxes_xyxy[person])
            box = _rectangle(x1, y1, x2, y2, page)
            value = {**box, parent.control.result_type: [parent.label]}
            region = _region(parent.control, page, value)
            family = {"parentID": region["id"]}
            regions.append(_found(region, poses.box_scores[person], poses.source))
        for index, label in points.items():
            x, y = (float(side) for side in poses.keypoints_xy[person, index])
            score = poses.keypoint_scores[person, index]
            if score > 0 and 0 <= x <= page.width and 0 <= y <= page.height:
                value = {**_point(x, y, page), control.result_type: [label]}
                region = {**_region(control, page, value), **family}
                regions.append(_found(region, score, poses.source))
    return regions


def mean_score(scores: Sequence[float]) -> float:
    """The score of a prediction: the mean over its boxes and persons, 0.0 where there are none."""
    return round(sum(scores) / len(scores), _DECIMALS) if scores else 0.0


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
    """Read a result back into pixels: the inverse of `box_regions` and `pose_regions`.

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


def _read_points(
    regions: Sequence[Region], config: LabelConfig, hw: tuple[int, int]
) -> dict[str, list[tuple[int, float, float, float]]]:
    """Index, x, y and score of each keypoint, by the id of its parent ("" for none)."""
    indices = {
        control.name: {label: index for index, label in keypoint_labels(control.labels).items()}
        for control in config.controls
        if control.tag == "KeyPointLabels"
    }
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
    """The upright box around a rectangle, turned or not, in pixels, and its score."""
    value = region["value"]
    corner = np.array([value["x"] / 100 * hw[1], value["y"] / 100 * hw[0]])
    across = np.array([value["width"] / 100 * hw[1], 0.0])
    down = np.array([0.0, value["height"] / 100 * hw[0]])
    angle = math.radians(value.get("rotation") or 0.0)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    corners = corner + np.array([0 * across, across, down, across + down]) @ turn.T
    box = np.concatenate([corners.min(0), corners.max(0)]).astype(np.float32)
    return box, float(region.get("score") or 1.0)


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
        if not _is_size(height) or not _is_size(width):
            continue
        if kind.startswith("rectangle") and _are_numbers(value, _NUMBER_KEYS):
            box, _ = _read_rectangle(result, (height, width))
            boxes.append(tuple(float(edge) for edge in box))
        is_point = kind.startswith("keypoint") and result.get("is_positive") is not False
        if is_point and _are_numbers(value, ("x", "y")):
            points.append((value["x"] / 100 * width, value["y"] / 100 * height))
    return tuple(boxes), tuple(points)


def problems(result: Sequence[Region], config: LabelConfig) -> list[str]:
    """All reasons why Label Studio would refuse, drop or misdraw a result; empty when it is right.

    Stricter than Label Studio's own validation, which lets unknown names, missing point widths
    and negative coordinates through.
    """
    shapes = {region.get("id") for region in result if region.get("type") in _SHAPES}
    found: list[str] = []
    for number, region in enumerate(result):
        control = config.control(str(region.get("from_name")))
        found += [f"region {number}: {reason}" for reason in _problems_of(region, control, shapes)]
    return found


def _problems_of(region: Region, control: Control | None, shapes: set[Any]) -> Iterable[str]:
    identity, value = region.get("id"), region.get("value")
    if not isinstance(identity, str) or not identity or "#" in identity:
        yield f"id {identity!r} is not a text without '#'"
    if control is None:
        yield f"the label config has no control {region.get('from_name')!r}"
        return
    if region.get("to_name") != control.to_name or region.get("type") != control.result_type:
        yield f"to_name or type is not that of {control.name!r}"
    if not isinstance(value, dict):
        yield "it has no value"
        return
    if "parentID" in region and region["parentID"] not in shapes:
        yield f"its parent {region['parentID']!r} is not in the result"
    score = region.get("score", 0.0)
    if not isinstance(score, float) or not 0 <= score <= 1:
        yield f"score {score!r} is not a number from 0 to 1"
    key = control.result_type if control.result_type in _SHAPES else "choices"
    known = {label.stored for label in control.labels}
    if not value.get(key) or not known.issuperset(value[key]):
        yield f"{key} {value.get(key)!r} are not of {control.name!r}"
    yield from _geometry_problems(value, control)
    if not all(_is_size(region.get(side)) for side in ("original_width", "original_height")):
        yield "original_width or original_height is missing"


def _geometry_problems(value: Mapping[str, Any], control: Control) -> Iterable[str]:
    numbers = {key: value[key] for key in _NUMBER_KEYS if key in value}
    for key, number in numbers.items():
        if not isinstance(number, float) or not math.isfinite(number) or not 0 <= number <= 100:  # noqa: PLR2004 - percent
            yield f"{key} {number!r} is not a percentage"
    expected = {"rectanglelabels": set(_NUMBER_KEYS), "keypointlabels": {"x", "y", "width"}}
    wanted = expected.get(control.result_type)
    if wanted is not None and set(numbers) != wanted:
        yield f"it has {sorted(numbers)} instead of {sorted(wanted)}"


def _is_size(size: object) -> TypeGuard[int]:
    return isinstance(size, int) and size > 0


def _are_numbers(value: Mapping[str, Any], keys: Iterable[str]) -> bool:
    return all(isinstance(value.get(key), int | float) for key in keys)


def _region(control: Control, page: Page, value: dict[str, Any]) -> Region:
    region: Region = {
        "id": uuid.uuid4().hex[:12],
        "from_name": control.name,
        "to_name": control.to_name,
        "type": control.result_type,
        "original_width": page.width,
        "original_height": page.height,
        "image_rotation": 0,
        "value": value,
    }
    if page.index is not None:
        region["item_index"] = page.index
    return region


def _found(region: Region, score: np.float32, source: str) -> Region:
    """A region with how sure a model is of it, and which."""
    return {**region, "score": round(float(score), _DECIMALS), "meta": {"source": source}}


def _percent(pixels: float, side: int) -> float:
    return round(min(max(100 * pixels / side, 0.0), 100.0), _DECIMALS)


def _rectangle(x1: float, y1: float, x2: float, y2: float, page: Page) -> dict[str, Any]:
    left, top = _percent(x1, page.width), _percent(y1, page.height)
    return {
        "x": left,
        "y": top,
        "width": round(_percent(x2, page.width) - left, _DECIMALS),
        "height": round(_percent(y2, page.height) - top, _DECIMALS),
        "rotation": 0,
    }


def _point(x: float, y: float, page: Page) -> dict[str, Any]:
    return {
        "x": _percent(x, page.width),
        "y": _percent(y, page.height),
        "width": POINT_WIDTH_PCT,
    }
