"""COCO datasets: keypoints of the body, of the whole body, and plain boxes.

Formats: https://cocodataset.org/#format-data, and for the whole body data_format.md of
jin-s13/COCO-WholeBody. What is drawn has visibility 2; what is not drawn is (0, 0, 0).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from prelabel import keypoints
from prelabel.export.pictures import Picture, Schema, everyone
from prelabel.geometry import boxes_with_area
from prelabel.types import Float32Array, Poses

Json = dict[str, Any]

_DRAWN = 2
_DECIMALS = 3
_PERSON = 1
_PARTS = {
    "foot": keypoints.FEET,
    "face": keypoints.FACE,
    "lefthand": keypoints.LEFT_HAND,
    "righthand": keypoints.RIGHT_HAND,
}
"""COCO-WholeBody's names of the parts beside the body."""


def coco_keypoints(pictures: Sequence[Picture], schema: Schema) -> Json:
    """A dataset of people with the 17 keypoints of the body."""
    return _people(pictures, schema, whole_body=False)


def coco_wholebody(pictures: Sequence[Picture], schema: Schema) -> Json:
    """A dataset of people with the 133 keypoints of the whole body, part by part."""
    return _people(pictures, schema, whole_body=True)


def coco_boxes(pictures: Sequence[Picture], schema: Schema) -> Json:
    """A dataset of boxes, one category for each label of the project's rectangles.

    A box's body part stands in its `attributes`. People with keypoints are among the boxes where
    the project has rectangles for them.
    """
    # Of several labels for persons, keypoints do not tell which the person's rectangle has.
    person = schema.person_labels[0] if len(schema.person_labels) == 1 else "person"
    drawn = [label for picture in pictures for label in picture.boxes.labels]
    people = [person] if schema.person_labels else []
    labels = dict.fromkeys([*schema.box_labels, *people, *drawn])
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    annotations = []
    for picture in pictures:
        boxes = picture.boxes
        rows = list(zip(boxes.boxes_xyxy, boxes.labels, boxes.body_parts, strict=True))
        if people:
            rows += [(box, person, None) for box in picture.people.boxes_xyxy]
        for box, label, part in rows:
            attributes = {"attributes": {"body_part": part}} if part else {}
            annotations.append({**_box(box, picture, numbers[label]), **attributes})
    categories = [{"id": number, "name": label} for label, number in numbers.items()]
    return _dataset(pictures, annotations, categories)


def _people(pictures: Sequence[Picture], schema: Schema, *, whole_body: bool) -> Json:
    annotations = []
    for picture in pictures:
        people = everyone(picture, schema)
        for row in range(len(people)):
            person = {
                **_box(people.boxes_xyxy[row], picture, _PERSON),
                "num_keypoints": int((people.keypoint_scores[row, keypoints.BODY] > 0).sum()),
                "keypoints": _triplets(people, row, keypoints.BODY),
            }
            parts = _parts(people, row, picture.image_hw) if whole_body else {}
            annotations.append({**person, **parts})
    return _dataset(pictures, annotations, [_person_category()])


def _parts(people: Poses, row: int, image_hw: tuple[int, int]) -> Json:
    """The fields that COCO-WholeBody adds; a part of which nothing is drawn is not valid."""
    fields: Json = {}
    for name, indices in _PARTS.items():
        drawn = people.keypoints_xy[row, indices][people.keypoint_scores[row, indices] > 0]
        fields[f"{name}_kpts"] = _triplets(people, row, indices)
        fields[f"{name}_valid"] = len(drawn) > 0
        if name != "foot":  # the format has no box for feet
            box = np.zeros(4, np.float32)
            if len(drawn):
                around = np.concatenate([drawn.min(0), drawn.max(0)])
                (box,) = boxes_with_area(around[None], image_hw)
            fields[f"{name}_box"] = _xywh(box)
    return fields


def _triplets(people: Poses, row: int, indices: Sequence[int]) -> list[float]:
    """x, y and visibility of each keypoint, in one flat list."""
    flat: list[float] = []
    for index in indices:
        if people.keypoint_scores[row, index] > 0:
            x, y = people.keypoints_xy[row, index]
            flat += [_number(x), _number(y), _DRAWN]
        else:
            flat += [0, 0, 0]
    return flat


def _box(box_xyxy: Float32Array, picture: Picture, category: int) -> Json:
    """The fields that each annotation has; its area is the box's, as nobody draws outlines."""
    x, y, width, height = _xywh(box_xyxy)
    return {
        "image_id": picture.id,
        "category_id": category,
        "bbox": [x, y, width, height],
        "area": _number(width * height),
        "iscrowd": 0,
    }


def _xywh(box_xyxy: Float32Array) -> list[float]:
    x1, y1, x2, y2 = box_xyxy
    return [_number(side) for side in (x1, y1, x2 - x1, y2 - y1)]


def _number(pixels: float) -> float:
    return round(float(pixels), _DECIMALS)


def _person_category() -> Json:
    """Its skeleton counts keypoints from 1."""
    return {
        "id": _PERSON,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(keypoints.BODY_NAMES),
        "skeleton": [
            [one + 1, other + 1]
            for one, other in keypoints.LINKS
            if one in keypoints.BODY and other in keypoints.BODY
        ],
    }


def _dataset(
    pictures: Sequence[Picture], annotations: Iterable[Json], categories: list[Json]
) -> Json:
    return {
        "info": {"description": "Annotations made in Label Studio, exported by prelabel"},
        "licenses": [],
        "images": [_image(picture) for picture in pictures],
        "annotations": [{"id": number, **row} for number, row in enumerate(annotations, start=1)],
        "categories": categories,
    }


def _image(picture: Picture) -> Json:
    height, width = picture.image_hw
    return {
        "id": picture.id,
        "file_name": picture.file_name,
        "width": width,
        "height": height,
        "task_id": picture.task_id,
        "page": picture.page,
    }
