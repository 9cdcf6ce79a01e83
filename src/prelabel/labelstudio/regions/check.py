"""The check of what leaves the house: whether Label Studio would take a result and show it."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prelabel.labelstudio.config import Control, LabelConfig
from prelabel.labelstudio.regions.read import are_numbers, is_size
from prelabel.labelstudio.regions.write import NUMBER_KEYS, Region

_NOT_DRAWN = frozenset(
    {
        *("choices", "datetime", "labels", "number", "pairwise", "ranker", "rating"),
        *("relation", "taxonomy", "textarea"),
    }
)
_EXPECTED_NUMBERS = {
    "rectanglelabels": set(NUMBER_KEYS),
    "keypointlabels": {"x", "y", "width"},
}


def problems(result: Sequence[Region], config: LabelConfig) -> list[str]:
    """All reasons why Label Studio would refuse, drop or misdraw a result; empty when it is right.

    Stricter than Label Studio's own validation, which lets unknown names, missing point widths
    and negative coordinates through.
    """
    shapes = _ids_of_shapes(result)
    return [
        f"region {number}: {reason}"
        for number, region in enumerate(result)
        for reason in _problems_of(region, config, shapes)
    ]


def without_problems(result: Sequence[Region], config: LabelConfig) -> list[Region]:
    """The regions in which there is no problem, and that hang on none in which there is one."""
    left = list(result)
    while True:
        shapes = _ids_of_shapes(left)
        right = [region for region in left if not any(_problems_of(region, config, shapes))]
        if len(right) == len(left):
            return right
        left = right


def is_shape(region: Mapping[str, Any]) -> bool:
    """Whether a region is drawn, and not chosen, typed or a relation."""
    return str(region.get("type")) not in _NOT_DRAWN


def _ids_of_shapes(result: Sequence[Region]) -> set[str]:
    return {str(region.get("id")) for region in result if is_shape(region)}


def _problems_of(region: Region, config: LabelConfig, shapes: set[str]) -> Iterator[str]:
    if region.get("type") == "relation":
        if not shapes.issuperset((str(region.get("from_id")), str(region.get("to_id")))):
            yield "one end of the relation is not in the result"
        return
    identity, value = region.get("id"), region.get("value")
    control = config.control(str(region.get("from_name")))
    if not isinstance(identity, str) or not identity or "#" in identity:
        yield f"id {identity!r} is not a text without '#'"
    if control is None:
        yield f"the label config has no control {region.get('from_name')!r}"
        return
    yield from _family_problems(region, control, shapes)
    if not isinstance(value, dict):
        yield "it has no value"
        return
    yield from _label_problems(value, control, config)
    yield from _geometry_problems(value, control)
    if control.tag == "VideoRectangle":
        yield from _keyframe_problems(value)
    is_on_image = config.image(control.to_name) is not None and (
        is_shape(region) or control.per_region
    )
    sizes = (region.get("original_width"), region.get("original_height"))
    if is_on_image and not all(is_size(size) for size in sizes):
        yield "original_width or original_height is missing"


def _family_problems(region: Region, control: Control, shapes: set[str]) -> Iterator[str]:
    """What is wrong with a region's place among the controls and the other regions."""
    if region.get("to_name") != control.to_name or region.get("type") != control.result_type:
        yield f"to_name or type is not that of {control.name!r}"
    if "parentID" in region and str(region["parentID"]) not in shapes:
        yield f"its parent {region['parentID']!r} is not in the result"
    if control.per_region and str(region.get("id")) not in shapes:
        yield "the region that it describes is not in the result"
    score = region.get("score", 0.0)
    if not isinstance(score, float) or not 0 <= score <= 1:
        yield f"score {score!r} is not a number from 0 to 1"


def _label_problems(
    value: Mapping[str, Any], control: Control, config: LabelConfig
) -> Iterator[str]:
    key, named_by = control.result_type, control
    if control.tag == "VideoRectangle":
        labels = config.labels_beside(control)
        if labels is None:
            return
        key, named_by = "labels", labels
    if key == "choices" or key.endswith("labels"):
        known, stored = named_by.stored_labels, value.get(key)
        if not stored or not isinstance(stored, list) or not known.issuperset(map(str, stored)):
            yield f"{key} {stored!r} are not of {named_by.name!r}"
    if control.per_region and "labels" in value:
        yield "it tells the labels of its track again: the editor would take them off"


def _geometry_problems(value: Mapping[str, Any], control: Control) -> Iterator[str]:
    yield from _percent_problems(value)
    numbers = {key for key in NUMBER_KEYS if key in value}
    wanted = _EXPECTED_NUMBERS.get(control.result_type)
    if wanted is not None and numbers != wanted:
        yield f"it has {sorted(numbers)} instead of {sorted(wanted)}"


def _percent_problems(value: Mapping[str, Any], most: float = 100.0) -> Iterator[str]:
    numbers = {key: value[key] for key in NUMBER_KEYS if key in value}
    turn = value.get("rotation")
    if turn is not None and not are_numbers(value, ("rotation",)):
        yield f"rotation {turn!r} is not an angle"
    least = -math.inf if turn else 0  # the corner of a turned box may lie outside
    for key, number in numbers.items():
        is_number = isinstance(number, float) and math.isfinite(number)
        if not is_number or not least <= number <= most:
            yield f"{key} {number!r} is not a percentage"


def _keyframe_problems(value: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the keyframes of a track through a video; frames count from 1."""
    count, keyframes = value.get("framesCount"), value.get("sequence")
    if not isinstance(count, int) or not _is_duration(value, "duration"):
        yield "framesCount or duration is missing"
        return
    if not isinstance(keyframes, list) or not keyframes:
        yield "it has no keyframes"
        return
    last = 0
    for keyframe in keyframes:
        frame = keyframe.get("frame") if isinstance(keyframe, dict) else None
        if not isinstance(frame, int) or not last < frame <= count:
            yield f"keyframe {frame!r} does not lie behind {last} and within {count} frames"
            return
        last = frame
        if not isinstance(keyframe.get("enabled"), bool) or not _is_duration(keyframe, "time"):
            yield f"keyframe {frame} has no time, or does not say whether it is enabled"
        if not _EXPECTED_NUMBERS["rectanglelabels"].issubset(keyframe):
            yield f"keyframe {frame} has no box"
        # Nobody looks how far out a keyframe's corner lies, and that of a turned box may.
        yield from _percent_problems(keyframe, math.inf if keyframe.get("rotation") else 100.0)


def _is_duration(value: Mapping[str, Any], key: str) -> bool:
    return are_numbers(value, (key,)) and value[key] > 0


def names_gone(result: Iterable[Region], config: LabelConfig) -> set[str]:
    """The controls and labels, in words, that regions name and the label config does not have.

    Label Studio hides such regions. Relations between regions are of no control.
    """
    drawn = (region for region in result if region.get("from_name"))
    return {name for region in drawn for name in _names_gone(region, config)}


def _names_gone(region: Region, config: LabelConfig) -> Iterator[str]:
    name, kind = str(region["from_name"]), str(region.get("type"))
    control = config.control(name)
    if control is None:
        yield f"the control {name!r}"
        return
    value = region.get("value")
    named = value.get(kind) if isinstance(value, Mapping) else None
    if kind == control.result_type and isinstance(named, list) and control.stored_labels:
        labels = map(str, named)  # what an import wrote may be anything
        yield from (f"the label {one!r}" for one in labels if one not in control.stored_labels)
