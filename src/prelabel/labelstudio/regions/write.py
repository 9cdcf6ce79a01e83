"""Findings in pixels to regions in percent."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from prelabel.geometry import around_turned, clip_boxes
from prelabel.labelstudio.config import Control
from prelabel.labelstudio.regions.turned import turned_rectangle
from prelabel.types import SEQUENCE, Attributes, Detections, Float32Array, Poses

Region = dict[str, Any]

POINT_WIDTH_PCT = 0.5
"""Diameter of a keypoint, in percent of the image width, as the editor draws it."""

SHAPES = ("rectanglelabels", "keypointlabels")
"""The types of regions that are drawn, not chosen."""

NUMBER_KEYS = ("x", "y", "width", "height")
"""Where a region's value holds percent."""

NO_CHOICES: Mapping[str, Control] = MappingProxyType({})
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
class PointLabels:
    """Where keypoints of people are drawn.

    Attributes:
        control: The `<KeyPointLabels>`.
        labels: The stored label of each keypoint index that it has.
    """

    control: Control
    labels: Mapping[int, str]


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
    detections: Detections,
    control: Control,
    part_choice: PartChoice | None,
    page: Page,
    choices: Mapping[str, Control] = NO_CHOICES,
) -> list[Region]:
    """Boxes as regions of a `RectangleLabels`, or as centres of a `KeyPointLabels`.

    Each region carries its score; its body part and what people chose for it follow as results
    of the same id.

    Args:
        detections: Boxes.
        control: Where they are drawn.
        part_choice: Where the body part goes, or None.
        page: The image.
        choices: The per-region `<Choices>` of the image by name, for `detections.attributes`.
    """
    as_points = control.tag == "KeyPointLabels"
    regions: list[Region] = []
    for row, label in enumerate(detections.labels):
        box, turn = detections.boxes_xyxy[row], detections.turn_of(row)
        geometry = _centre(box, page) if as_points else _box(box, turn, page)
        region = _region(control, page, {**geometry, control.result_type: [label]})
        regions.append(_found(region, detections.scores[row], detections.source_of(row)))
        for chooser, chosen in _chosen(detections, row, part_choice, choices):
            attribute = _region(chooser, page, {**geometry, "choices": chosen})
            regions.append({**attribute, "id": region["id"]})
    return regions


def _chosen(
    detections: Detections,
    row: int,
    part_choice: PartChoice | None,
    choices: Mapping[str, Control],
) -> Iterator[tuple[Control, list[str]]]:
    """What is chosen for one box: by people, else its body part.

    Where people marked a box and left a choice open, nothing is guessed but a part that is known.
    """
    by_people = detections.attributes[row] if detections.attributes else {}
    yield from _known(by_people, choices)
    if part_choice is None or part_choice.control.name in by_people:
        return
    part, drawn = detections.body_parts[row], detections.source_of(row) == SEQUENCE
    choice = part_choice.value_for(detections.labels[row], part)
    if choice and not (drawn and part is None):
        yield part_choice.control, [choice]


def _known(
    by_people: Attributes, choices: Mapping[str, Control]
) -> Iterator[tuple[Control, list[str]]]:
    """What people chose, as far as the label config still has it."""
    for name, chosen in by_people.items():
        if name in choices:
            known = choices[name].stored_labels
            kept = [choice for choice in chosen if choice in known]
            if kept:
                yield choices[name], kept


def pose_regions(
    poses: Poses,
    points: Sequence[PointLabels],
    parent: PersonBox | None,
    page: Page,
    choices: Mapping[str, Control] = NO_CHOICES,
) -> list[Region]:
    """Poses as one region per keypoint that was found, under the person's box where there is one.

    Args:
        poses: People; a keypoint of score 0 was not found, and one outside the image is not shown.
        points: The controls of the keypoints.
        parent: The control and label of the person's box, or None.
        page: The image.
        choices: The per-region `<Choices>` of the image by name, for `poses.attributes`.
    """
    regions: list[Region] = []
    for person in range(len(poses)):
        family: dict[str, str] = {}
        source = poses.source_of(person)
        if parent is not None:
            box = _rectangle(poses.boxes_xyxy[person], page)
            value = {**box, parent.control.result_type: [parent.label]}
            region = _region(parent.control, page, value)
            family = {"parentID": region["id"]}
            regions.append(_found(region, poses.box_scores[person], source))
            by_people = poses.attributes[person] if poses.attributes else {}
            for chooser, chosen in _known(by_people, choices):
                attribute = _region(chooser, page, {**box, "choices": chosen})
                regions.append({**attribute, "id": region["id"]})
        for one in points:
            found = _point_regions(poses, person, one, page)
            regions.extend({**region, **family} for region in found)
    return regions


def _point_regions(poses: Poses, person: int, points: PointLabels, page: Page) -> Iterator[Region]:
    for index, label in points.labels.items():
        x, y = (float(side) for side in poses.keypoints_xy[person, index])
        score = poses.keypoint_scores[person, index]
        if score > 0 and 0 <= x <= page.width and 0 <= y <= page.height:
            value = {**_point(x, y, page), points.control.result_type: [label]}
            region = _region(points.control, page, value)
            yield _found(region, score, poses.source_of(person))


def mean_score(scores: Sequence[float]) -> float:
    """The score of a prediction: the mean over its boxes and persons, 0.0 where there are none."""
    return round(sum(scores) / len(scores), _DECIMALS) if scores else 0.0


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


def _box(box_xyxy: Float32Array, turn: float, page: Page) -> dict[str, Any]:
    """A rectangle at its angle, or upright around it where Label Studio would not import that."""
    if not turn:
        return _rectangle(box_xyxy, page)
    turned = turned_rectangle(box_xyxy, turn, (page.height, page.width))
    around = around_turned(box_xyxy[None], turn)
    return turned or _rectangle(clip_boxes(around, (page.height, page.width))[0], page)


def _rectangle(box_xyxy: Float32Array, page: Page) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(edge) for edge in box_xyxy)
    left, top = _percent(x1, page.width), _percent(y1, page.height)
    return {
        "x": left,
        "y": top,
        "width": round(_percent(x2, page.width) - left, _DECIMALS),
        "height": round(_percent(y2, page.height) - top, _DECIMALS),
        "rotation": 0,
    }


def _centre(box_xyxy: Float32Array, page: Page) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(edge) for edge in box_xyxy)
    return _point((x1 + x2) / 2, (y1 + y2) / 2, page)


def _point(x: float, y: float, page: Page) -> dict[str, Any]:
    return {
        "x": _percent(x, page.width),
        "y": _percent(y, page.height),
        "width": POINT_WIDTH_PCT,
    }
