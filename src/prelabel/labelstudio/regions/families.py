"""Keypoints that annotators drew inside a person's box without hanging them under it.

The editor gives a new keypoint no parent: whoever draws a wrist anew, or a person by hand, would
have to drag each point under the box in the list of regions.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from prelabel.labelstudio.config import LabelConfig
from prelabel.labelstudio.keypoint_labels import person_labels
from prelabel.labelstudio.regions.read import are_numbers, keypoint_indices, size_of
from prelabel.labelstudio.regions.turned import upright_box
from prelabel.labelstudio.regions.write import NUMBER_KEYS, Region
from prelabel.types import Float32Array

_BOX_KEYS = (*NUMBER_KEYS, "rotation")


def with_parents(regions: Sequence[Region], config: LabelConfig) -> list[Region]:
    """The regions, in which keypoints without a parent have the person's box that they lie in.

    A keypoint is given to a box if it lies in no other person's. Where that person has one of the
    keypoints that would come to it already, or would get one twice, somebody else is meant, who
    has no box: then it is given none.

    Args:
        regions: Whole regions of one image.
        config: The project's label config.
    """
    if not any(r.get("type") == "keypointlabels" and not r.get("parentID") for r in regions):
        return list(regions)
    points = _keypoints(regions, config)
    taken: dict[str, set[int]] = defaultdict(set)
    for row, index in points.items():
        taken[str(regions[row].get("parentID") or "")].add(index)
    boxes = _boxes(regions, taken.keys(), person_labels(config))
    within: dict[str, list[int]] = defaultdict(list)
    for row in points:
        holders = [identity for identity, box in boxes.items() if _lies_in(regions[row], *box)]
        if not regions[row].get("parentID") and len(holders) == 1:
            within[holders[0]].append(row)
    parents: dict[int, str] = {}
    for identity, rows in within.items():
        indices = {points[row] for row in rows}
        if len(indices) == len(rows) and indices.isdisjoint(taken[identity]):
            parents |= dict.fromkeys(rows, identity)
    return [
        {**region, "parentID": parents[row]} if row in parents else region
        for row, region in enumerate(regions)
    ]


def _keypoints(regions: Sequence[Region], config: LabelConfig) -> dict[int, int]:
    """Which regions are whole-body keypoints of one label, and of which index."""
    known = keypoint_indices(config)
    found = {}
    for row, region in enumerate(regions):
        labels = region["value"].get("keypointlabels")
        label = labels[0] if isinstance(labels, list) and len(labels) == 1 else None
        index = known.get(str(region.get("from_name")), {}).get(str(label))
        if index is not None and size_of(region) and are_numbers(region["value"], ("x", "y")):
            found[row] = index
    return found


def _boxes(
    regions: Sequence[Region], parents: Collection[str], of_people: Collection[str]
) -> Mapping[str, tuple[object, Float32Array]]:
    """The image and the box xyxy (4,) in pixels of each person, by the ids of their regions."""
    boxes = {}
    for region in regions:
        identity, hw = str(region.get("id") or ""), size_of(region)
        value = {**region["value"], "rotation": region["value"].get("rotation") or 0.0}
        labels, is_whole = value.get("rectanglelabels"), are_numbers(value, _BOX_KEYS)
        if not identity or hw is None or not is_whole or not isinstance(labels, list):
            continue
        if identity in parents or any(label in of_people for label in labels):
            boxes[identity] = (region.get("to_name"), upright_box(value, hw))
    return boxes


def _lies_in(point: Region, image: object, box_xyxy: Float32Array) -> bool:
    if point.get("to_name") != image:
        return False
    height, width = size_of(point) or (0, 0)
    place = np.array([point["value"]["x"] / 100 * width, point["value"]["y"] / 100 * height])
    return bool((box_xyxy[:2] <= place).all() and (place <= box_xyxy[2:]).all())
