"""The annotated images of a project, in pixels, each with what people drew on it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from prelabel.errors import ImageMissing, TaskError
from prelabel.export.names import Names
from prelabel.export.source import accepted
from prelabel.geometry import boxes_with_area, clip_boxes
from prelabel.labelstudio.config import ImageTag, LabelConfig
from prelabel.labelstudio.keypoint_labels import person_labels
from prelabel.labelstudio.regions.check import names_gone
from prelabel.labelstudio.regions.families import with_parents
from prelabel.labelstudio.regions.read import Drawn, keypoint_indices, read, whole_regions
from prelabel.types import Detections, Poses

Measure = Callable[[str, int], tuple[int, int]]
"""The height and width of the image at an address in the data of a task; raises a `TaskError`."""

_IDS_PER_TASK = 10_000
"""Image ids that each task has to itself where tasks have several images."""

_DOUBLED = (
    "keypoints drawn twice on one person, but for the last of each; "
    "those of people without a box count as one person's"
)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One annotated image.

    Attributes:
        id: A number of its own: the task's, where tasks have one image each.
        task_id: Its task.
        page: Its place among the images of its task, counted from 0.
        uri: Its address in the task's data.
        file_name: A relative path of its own, made of the address.
        image_hw: Height and width in pixels.
        boxes: Rectangles that are not persons with keypoints, cut to the image.
        people: Whole-body poses; a keypoint that is not drawn has score 0. Their boxes are cut to
            the image and at least a pixel wide and high, also around a single keypoint.
    """

    id: int
    task_id: int
    page: int
    uri: str
    file_name: str
    image_hw: tuple[int, int]
    boxes: Detections
    people: Poses


@dataclass(frozen=True, slots=True)
class Skipped:
    """A task, or an image or regions of it, that is not in the dataset."""

    task_id: int
    reason: str


def unmeasured(uri: str, task_id: int) -> tuple[int, int]:
    """The `Measure` where images are not looked at."""
    del task_id
    raise TaskError(uri, "only its file tells it", "Use --copy-images, which looks at the files.")


class Schema:
    """What a label config says about a dataset.

    Attributes:
        config: The label config.
        keypoints: Indices of the whole-body keypoints that it has labels for, ascending.
        box_labels: Stored labels of its rectangles, in order.
        person_labels: Those that mean a person; empty where there are no keypoints, since then
            they are labels like any other.
        several_images: Whether a task may have more than one image.
    """

    def __init__(self, config: LabelConfig) -> None:
        self.config = config
        known = keypoint_indices(config)
        rectangles = [
            label
            for control in config.controls
            if control.tag == "RectangleLabels"
            for label in control.labels
        ]
        self.keypoints = tuple(sorted({i for named in known.values() for i in named.values()}))
        self.box_labels = tuple(dict.fromkeys(label.stored for label in rectangles))
        self.person_labels = person_labels(config) if self.keypoints else ()
        self._others = {
            control.name: control.stored_labels.difference(known[control.name])
            for control in config.controls
            if self.keypoints and control.name in known
        }
        self.several_images = len(config.images) > 1 or any(tag.is_list for tag in config.images)

    def images_of(self, task: Mapping[str, Any]) -> list[tuple[ImageTag, int | None, str]]:
        """Of each image of a task the tag that shows it, its page in a list, and its address.

        Raises:
            ImageMissing: The task's data lacks one.
        """
        return [
            (tag, page if tag.is_list else None, uri)
            for tag in self.config.images
            for page, uri in enumerate(tag.uris(task["data"]))
        ]

    def drawn(self, holder: Mapping[str, Any], tag: ImageTag, page: int | None) -> Drawn:
        """What an annotation or a prediction holds on one image, boxes cut to that."""
        result = holder.get("result") or ()
        own = [region for region in result if region.get("to_name") == tag.name]
        whole = with_parents(whole_regions(own, page), self.config)
        return _cut(read(whole, self.config, page))

    def keypoints_of_nobody(self, holder: Mapping[str, Any]) -> set[str]:
        """The stored labels of drawn keypoints that are none of a person's."""
        found: set[str] = set()
        for region in whole_regions(holder.get("result") or (), None):
            labels = region["value"].get("keypointlabels")
            if isinstance(labels, list):
                found |= self._others.get(str(region.get("from_name")), set()).intersection(
                    map(str, labels)
                )
        return found


def pictures_of(
    tasks: Iterable[Mapping[str, Any]], schema: Schema, measure: Measure
) -> tuple[list[Picture], list[Skipped]]:
    """The annotated images of tasks, in order, and what was left out.

    An image on which people drew nothing is one of them, with nothing on it, where its size can
    be known: from another annotation or a prediction, else by `measure`.
    """
    pictures: list[Picture] = []
    skipped: list[Skipped] = []
    names = Names()
    for task in tasks:
        annotation = accepted(task)
        if annotation is None:
            reason = "skipped by its annotators" if task.get("annotations") else "not annotated"
            skipped.append(Skipped(task["id"], reason))
            continue
        try:
            found = list(_pictures_of_task(task, annotation, schema, names, measure))
        except ImageMissing as missing:
            skipped.append(Skipped(task["id"], f"{missing.thing} {missing.cause}"))
            continue
        if gone := names_gone(annotation.get("result") or (), schema.config):
            named = ", ".join(sorted(gone))
            why = f"regions that name {named}, which the label config does not have"
            skipped.append(Skipped(task["id"], why))
        if others := schema.keypoints_of_nobody(annotation):
            named = ", ".join(map(repr, sorted(others)))
            skipped.append(Skipped(task["id"], f"keypoints that are none of the 133: {named}"))
        pictures += [one for one in found if isinstance(one, Picture)]
        skipped += [one for one in found if isinstance(one, Skipped)]
    return pictures, skipped


def everyone(picture: Picture, schema: Schema) -> Poses:
    """All people of a picture: those with keypoints, and those of whom only the box is drawn."""
    rows = [row for row, label in enumerate(picture.boxes.labels) if label in schema.person_labels]
    if not rows:
        return picture.people
    boxes, people = picture.boxes.take(np.array(rows)), picture.people
    points = people.keypoints_xy.shape[1]
    return Poses(
        boxes_xyxy=np.concatenate([people.boxes_xyxy, boxes.boxes_xyxy]),
        box_scores=np.concatenate([people.box_scores, boxes.scores]),
        keypoints_xy=np.concatenate(
            [people.keypoints_xy, np.zeros((len(boxes), points, 2), np.float32)]
        ),
        keypoint_scores=np.concatenate(
            [people.keypoint_scores, np.zeros((len(boxes), points), np.float32)]
        ),
        source=people.source,
    )


def _pictures_of_task(
    task: Mapping[str, Any],
    annotation: Mapping[str, Any],
    schema: Schema,
    names: Names,
    measure: Measure,
) -> Iterator[Picture | Skipped]:
    number = task["id"]
    for place, (tag, page, uri) in enumerate(schema.images_of(task)):
        drawn = schema.drawn(annotation, tag, page)
        image_hw = drawn.image_hw if any(drawn.image_hw) else _known_size(task, tag, page, schema)
        try:
            image_hw = image_hw or measure(uri, number)
        except TaskError as error:
            where = f"image {place}" if schema.several_images else "it"
            why = f"its size is unknown: {error.cause}. {error.next_step}"
            yield Skipped(number, f"nothing is drawn on {where}, and {why}")
            continue
        if drawn.doubled:
            yield Skipped(number, _DOUBLED)
        owner = f"task-{number}-{place}" if schema.several_images else f"task-{number}"
        yield Picture(
            id=number * _IDS_PER_TASK + place if schema.several_images else number,
            task_id=number,
            page=place,
            uri=uri,
            file_name=names.name(uri, owner),
            image_hw=image_hw,
            boxes=drawn.boxes,
            people=replace(
                drawn.people, boxes_xyxy=boxes_with_area(drawn.people.boxes_xyxy, image_hw)
            ),
        )


def _cut(drawn: Drawn) -> Drawn:
    boxes, people = (
        clip_boxes(found.boxes_xyxy, drawn.image_hw) for found in (drawn.boxes, drawn.people)
    )
    inside = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))
    return replace(
        drawn,
        boxes=replace(drawn.boxes.take(inside), boxes_xyxy=boxes[inside]),
        people=replace(drawn.people, boxes_xyxy=people),
    )


def _known_size(
    task: Mapping[str, Any], tag: ImageTag, page: int | None, schema: Schema
) -> tuple[int, int] | None:
    """The size of an image, from any other annotation or prediction that tells it."""
    for other in (*(task.get("annotations") or ()), *(task.get("predictions") or ())):
        # An exported file may list predictions by their ids alone.
        if isinstance(other, Mapping):
            image_hw = schema.drawn(other, tag, page).image_hw
            if any(image_hw):
                return image_hw
    return None
