"""The check of what leaves the house: whether Label Studio would take a result and show it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prelabel.labelstudio.config import Control, LabelConfig
from prelabel.labelstudio.regions.read import is_size
from prelabel.labelstudio.regions.write import NUMBER_KEYS, SHAPES, Region


def problems(result: Sequence[Region], config: LabelConfig) -> list[str]:
    """All reasons why Label Studio would refuse, drop or misdraw a result; empty when it is right.

    Stricter than Label Studio's own validation, which lets unknown names, missing point widths
    and negative coordinates through.
    """
    shapes = {region.get("id") for region in result if region.get("type") in SHAPES}
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
    key = control.result_type if control.result_type in SHAPES else "choices"
    known = {label.stored for label in control.labels}
    if not value.get(key) or not known.issuperset(value[key]):
        yield f"{key} {value.get(key)!r} are not of {control.name!r}"
    yield from _geometry_problems(value, control)
    if not all(is_size(region.get(side)) for side in ("original_width", "original_height")):
        yield "original_width or original_height is missing"


def _geometry_problems(value: Mapping[str, Any], control: Control) -> Iterable[str]:
    numbers = {key: value[key] for key in NUMBER_KEYS if key in value}
    for key, number in numbers.items():
        if not isinstance(number, float) or not math.isfinite(number) or not 0 <= number <= 100:  # noqa: PLR2004 - percent
            yield f"{key} {number!r} is not a percentage"
    expected = {"rectanglelabels": set(NUMBER_KEYS), "keypointlabels": {"x", "y", "width"}}
    wanted = expected.get(control.result_type)
    if wanted is not None and set(numbers) != wanted:
        yield f"it has {sorted(numbers)} instead of {sorted(wanted)}"
