"""Annotations as the sequence learner knows them, and as predictions for their own frames."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prelabel import keypoints
from prelabel.geometry import within_image
from prelabel.labelstudio.config import Control, LabelConfig
from prelabel.labelstudio.regions.check import is_shape, without_problems
from prelabel.labelstudio.regions.families import with_parents
from prelabel.labelstudio.regions.read import (
    are_numbers,
    keypoint_indices,
    size_of,
    whole_regions,
)
from prelabel.labelstudio.regions.turned import drawn_box, turned_rectangle, upright_box
from prelabel.labelstudio.regions.write import NUMBER_KEYS, Region
from prelabel.types import Attributes, Float32Array, Mark

SOURCE = "annotation"
"""The source of a region that a person drew on this very frame."""

_STORED_KEYS = (
    *("id", "from_name", "to_name", "type", "value", "parentID", "item_index", "meta"),
    *("original_width", "original_height", "image_rotation"),
    *("from_id", "to_id", "direction", "labels"),  # of a relation between two regions
)
"""What a prediction takes over from an annotation. The rest tells how people worked on it:
`origin`, `score` of the prediction it began as, `readonly`, `hidden`, `locked`."""

_NO_POINTS = np.zeros((0, 2), np.float32)
_NONE_SEEN = np.zeros(0, np.bool_)


@dataclass(frozen=True, slots=True)
class _Shape:
    """One rectangle or keypoint of a control and label that the config has.

    Attributes:
        identity: Its id, or "".
        parent: The id of its parent, or "".
        control: What it was drawn with.
        label: Its label.
        keypoint: Which of the 133 keypoints of a person it is, or None.
        value: Its numbers, in percent.
    """

    identity: str
    parent: str
    control: Control
    label: str
    keypoint: int | None
    value: Mapping[str, Any]

    @property
    def is_point(self) -> bool:
        """Whether it is a keypoint, of a person or alone."""
        return self.control.tag == "KeyPointLabels"


def read_marks(
    result: Sequence[Any],
    config: LabelConfig,
    default_box_pct: tuple[float, float],
    page: int | None = None,
) -> tuple[tuple[int, int], tuple[Mark, ...]]:
    """The objects that an annotation shows on one image.

    A rectangle is one object. The whole-body keypoints under one parent are one object, a person,
    with the parent's box, label and choices; those without a parent have the one that
    `with_parents` finds, or are one person too. Where several controls share them, the person is
    of the first of these in the config. Any other keypoint is an object of its own. What is chosen
    for a region with a per-region `<Choices>` goes with it.

    A turned rectangle keeps its angle; of a person's it is the upright box around it that counts.
    Shapes that prelabel does not fill are no objects: polygons, ellipses, brushes. Regions that
    are broken, or of a control or label that the config does not have, are passed over.

    Args:
        result: Regions of one annotation, as Label Studio stores them.
        config: The project's label config.
        default_box_pct: Width and height, in percent of the image, of the box that a lone
            keypoint counts as.
        page: Read only this page of a `valueList`; None where the task has one image.

    Returns:
        Height and width of the image in pixels, (0, 0) where nothing is drawn, and the objects.
    """
    regions = with_parents(whole_regions(result, page), config)
    image_hw = next((hw for region in regions if (hw := size_of(region))), None)
    if image_hw is None:
        return (0, 0), ()
    words = _Words.of(config, regions)
    shapes = [shape for region in regions if (shape := _shape(region, config, words))]
    people: dict[tuple[str, str], list[_Shape]] = {}
    for shape in shapes:
        if shape.keypoint is not None:
            people.setdefault((shape.control.to_name, shape.parent), []).append(shape)
    parents = {parent for _, parent in people if parent}
    boxes = {s.identity: s for s in shapes if not s.is_point and s.identity in parents}
    read = _MarkReader(image_hw, default_box_pct, chosen_by_region(regions, config))
    lone = (s for s in shapes if s.keypoint is None and s.identity not in boxes)
    marks = [read.lone(shape) for shape in lone]
    order = {control.name: place for place, control in enumerate(config.controls)}
    for (_, parent), points in people.items():
        points.sort(key=lambda point: order[point.control.name])
        marks.append(read.person(points, boxes.get(parent)))
    return image_hw, tuple(mark for mark in marks if mark is not None)


def keep(result: Sequence[Any]) -> bytes:
    """An annotation's regions as they are, to be given back for its own frame; b"" for none."""
    return json.dumps(result, ensure_ascii=False, separators=(",", ":")).encode() if result else b""


def kept(drawn: bytes, config: LabelConfig) -> list[Region]:
    """What `keep` kept, as regions of a prediction with score 1.

    Ids, geometry, labels, notes and choices are those of the annotation. Regions for which the
    config has no control or label any more are left out, with what hangs on them. A turned box
    whose first corner lies where Label Studio would not import it begins at another one.
    """
    stored = json.loads(drawn or b"[]")
    regions = [_as_predicted(region) for region in stored if isinstance(region, dict)]
    return without_problems(regions, config)


def chosen_by_region(
    regions: Sequence[Mapping[str, Any]], config: LabelConfig
) -> dict[str, Attributes]:
    """What was chosen for each region, by its id and the name of the choices' control.

    Choices that the config does not have are passed over.
    """
    chosen: dict[str, dict[str, tuple[str, ...]]] = {}
    for region in regions:
        control = config.control(str(region.get("from_name")))
        if control is not None and control.tag == "Choices" and control.per_region:
            known = known_labels(region["value"].get("choices"), control.stored_labels)
            if known:
                chosen.setdefault(str(region.get("id")), {})[control.name] = known
    return dict(chosen)


def known_labels(listed: object, known: frozenset[str]) -> tuple[str, ...]:
    """Those of the labels or choices in a region that are known."""
    labels = listed if isinstance(listed, list) else []
    return tuple(label for label in labels if isinstance(label, str) and label in known)


def plain_id(identity: str) -> str:
    """A region's id without "#", behind which the editor puts a mark of its own."""
    return identity.replace("#", "-")


@dataclass(frozen=True, slots=True)
class _Words:
    """The labels of all controls by name, looked up once for all regions of a result.

    Attributes:
        stored: As they stand in results.
        keypoints: Which of the 133 keypoints a label means; empty where no keypoint is drawn.
    """

    stored: Mapping[str, frozenset[str]]
    keypoints: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, config: LabelConfig, regions: Sequence[Mapping[str, Any]]) -> "_Words":
        stored = {control.name: control.stored_labels for control in config.controls}
        has_points = any(region.get("type") == "keypointlabels" for region in regions)
        return cls(stored, keypoint_indices(config) if has_points else {})


@dataclass(frozen=True, slots=True)
class _MarkReader:
    """Shapes in percent of one image to marks in its pixels; None for one without area."""

    image_hw: tuple[int, int]
    default_box_pct: tuple[float, float]
    chosen: Mapping[str, Attributes]

    def lone(self, shape: _Shape) -> Mark | None:
        """A rectangle, or a keypoint that is no part of a person."""
        if shape.is_point:
            xy = self._pixels(shape.value["x"], shape.value["y"])[None]
            box = self._box_around(xy)
            return self._mark(shape, box, shape.label, shape.identity, xy, np.ones(1, np.bool_))
        box, turn = drawn_box(shape.value, self.image_hw)
        return self._mark(shape, box, shape.label, shape.identity, _NO_POINTS, _NONE_SEEN, turn)

    def person(self, points: Sequence[_Shape], box: _Shape | None) -> Mark | None:
        """The keypoints of one person, and the rectangle that they lie under, if any."""
        xy = np.zeros((len(keypoints.NAMES), 2), np.float32)
        seen = np.zeros(len(keypoints.NAMES), np.bool_)
        for point in points:
            xy[point.keypoint] = self._pixels(point.value["x"], point.value["y"])
            seen[point.keypoint] = True
        if box is None:
            return self._mark(points[0], self._box_around(xy[seen]), "", "", xy, seen)
        around = upright_box(box.value, self.image_hw)
        return self._mark(points[0], around, box.label, box.identity, xy, seen)

    def _mark(
        self,
        shape: _Shape,
        box_xyxy: Float32Array,
        label: str,
        identity: str,
        points_xy: Float32Array,
        points_seen: NDArray[np.bool_],
        turn: float = 0.0,
    ) -> Mark | None:
        (box,), (visible,) = within_image(box_xyxy[None], turn, self.image_hw)
        if (visible <= 0).any():
            return None
        name, chosen = shape.control.name, self.chosen.get(identity, {})
        return Mark(name, label, box, chosen, points_xy, points_seen, turn=turn)

    def _pixels(self, x_pct: float, y_pct: float) -> Float32Array:
        height, width = self.image_hw
        return np.array([x_pct / 100 * width, y_pct / 100 * height], np.float32)

    def _box_around(self, points_xy: Float32Array) -> Float32Array:
        """The box around points; on a side where they have no extent, the default one."""
        low, high = points_xy.min(0), points_xy.max(0)
        room = np.where(high > low, 0, self._pixels(*self.default_box_pct) / 2)
        return np.concatenate([low - room, high + room]).astype(np.float32)


def _shape(region: Mapping[str, Any], config: LabelConfig, words: _Words) -> _Shape | None:
    """The shape that a region is; None where it is broken or not of this config."""
    control, value = config.control(str(region.get("from_name"))), region["value"]
    if control is None or config.image(control.to_name) is None or size_of(region) is None:
        return None
    numbers = {**value, "rotation": value.get("rotation") or 0.0}
    if control.tag == "RectangleLabels":
        is_whole = are_numbers(numbers, (*NUMBER_KEYS, "rotation")) and (
            value["width"] > 0 and value["height"] > 0
        )
    else:
        is_whole = control.tag == "KeyPointLabels" and are_numbers(numbers, ("x", "y"))
    labels = known_labels(value.get(control.result_type), words.stored[control.name])
    if not is_whole or not labels:
        return None
    identity, parent = str(region.get("id") or ""), str(region.get("parentID") or "")
    keypoint = words.keypoints.get(control.name, {}).get(labels[0])
    return _Shape(identity, parent, control, labels[0], keypoint, value)


def _as_predicted(region: Mapping[str, Any]) -> Region:
    """A region of an annotation as a model would have sent it."""
    made = {key: region[key] for key in _STORED_KEYS if region.get(key) is not None}
    for key in ("id", "parentID", "from_id", "to_id"):
        if isinstance(made.get(key), str):
            made[key] = plain_id(made[key])
    value = made.get("value")
    if isinstance(value, dict):
        made["value"] = {**value, **_percentages(value, size_of(region))}
    if is_shape(made):
        note = made.get("meta")
        made["meta"] = {**(note if isinstance(note, dict) else {}), "source": SOURCE}
        made["score"] = 1.0
    return made


def _percentages(value: Mapping[str, Any], hw: tuple[int, int] | None) -> dict[str, float]:
    """The numbers of a shape as floats; of an upright one, what lies outside the image cut off."""
    numbers = {key: float(value[key]) for key in NUMBER_KEYS if are_numbers(value, (key,))}
    if value.get("rotation"):
        is_whole = are_numbers(value, (*NUMBER_KEYS, "rotation"))
        if hw and is_whole and max(numbers.values()) > 100:  # noqa: PLR2004 - percent
            return turned_rectangle(*drawn_box(value, hw), hw) or numbers
        return numbers
    for start, extent in (("x", "width"), ("y", "height")):
        if start in numbers:
            low = min(max(numbers[start], 0.0), 100.0)
            high = numbers[start] + numbers.get(extent, 0.0)
            if len(numbers) == len(NUMBER_KEYS) and (low > numbers[start] or high > 100):  # noqa: PLR2004 - percent
                numbers[extent] = min(high, 100.0) - low
            numbers[start] = low
    return numbers
