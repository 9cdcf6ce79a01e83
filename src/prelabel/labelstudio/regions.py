"""Findings in pixels to result JSON in percent, and the check of what leaves the house.

This is the only module that knows percent, and the only one that writes or reads result JSON.
"""

import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prelabel.labelstudio.config import Control, LabelConfig
from prelabel.types import Detections

Region = dict[str, Any]

POINT_WIDTH_PCT = 0.5
"""Diameter of a keypoint, in percent of the image width, as the editor draws it."""

_LABEL_KEYS = {"rectanglelabels": "rectanglelabels", "keypointlabels": "keypointlabels"}
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
        region["score"] = round(float(detections.scores[row]), _DECIMALS)
        region["meta"] = {"source": detections.source}
        regions.append(region)
        choice = part_choice and part_choice.value_for(label, detections.body_parts[row])
        if part_choice and choice:
            attribute = _region(part_choice.control, page, {**geometry, "choices": [choice]})
            regions.append({**attribute, "id": region["id"]})
    return regions


def mean_score(regions: Iterable[Region]) -> float:
    """The score of a prediction: the mean over its regions that have one, 0.0 where none has."""
    scores = [region["score"] for region in regions if "score" in region]
    return round(sum(scores) / len(scores), _DECIMALS) if scores else 0.0


def prompt_texts(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """What an annotator typed into `<TextArea>` prompts, in order."""
    texts: list[str] = []
    for result in results:
        value = result.get("value")
        if result.get("type") == "textarea" and isinstance(value, Mapping):
            text = value.get("text")
            texts += [text] if isinstance(text, str) else [t for t in text or () if str(t) == t]
    return texts


def problems(result: Sequence[Region], config: LabelConfig) -> list[str]:
    """All reasons why Label Studio would refuse, drop or misdraw a result; empty when it is right.

    Stricter than Label Studio's own validation, which lets unknown names, missing point widths
    and negative coordinates through.
    """
    shapes = {region.get("id") for region in result if region.get("type") in _LABEL_KEYS}
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
    key = _LABEL_KEYS.get(control.result_type, "choices")
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


def _is_size(size: object) -> bool:
    return isinstance(size, int) and size > 0


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
