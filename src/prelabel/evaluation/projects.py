"""Label Studio tasks: their stored predictions beside what people annotated."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from prelabel.errors import ImageMissing, InvalidRequest, SettingsError
from prelabel.evaluation.coco import PERSON
from prelabel.evaluation.scenes import AnnotatedBoxes, AnnotatedPeople, Scene
from prelabel.export.pictures import Schema
from prelabel.export.source import accepted, moment
from prelabel.labelstudio.regions.read import Drawn
from prelabel.types import Detections

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Compared:
    """The images of tasks that have both an annotation and a prediction.

    Attributes:
        scenes: The images.
        model_versions: How many predictions of each model version were taken.
        left_out: How many tasks or images were not, by reason.
    """

    scenes: list[Scene] = field(default_factory=list)
    model_versions: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def compare(tasks: Iterable[Json], schema: Schema, model_version: str | None = None) -> Compared:
    """Put the newest prediction of each task beside its annotation.

    The annotation is the one that an export takes: a ground truth before others, then the newest,
    never a skipped one. A person's area for OKS is that of the box.

    Args:
        tasks: With all their annotations and predictions.
        schema: What the project's label config says.
        model_version: Compare predictions of this version only.

    Raises:
        InvalidRequest: The tasks name their predictions without holding them.
        SettingsError: None of their predictions is of the model version.
    """
    compared = Compared()
    held: set[str] = set()
    for task in tasks:
        annotation, predictions = accepted(task), _predictions(task)
        held.update(str(row.get("model_version")) for row in predictions)
        prediction = _newest(predictions, model_version)
        if annotation is None or prediction is None:
            missing = "annotation" if annotation is None else "prediction"
            compared.left_out[f"tasks without {missing}"] += 1
            continue
        try:
            images = schema.images_of(task)
        except ImageMissing:
            images = []
        if not images:
            compared.left_out["tasks without image"] += 1
            continue
        compared.model_versions[str(prediction.get("model_version"))] += 1
        for tag, page, _ in images:
            drawn = schema.drawn(annotation, tag, page)
            predicted = schema.drawn(prediction, tag, page)
            if any(drawn.image_hw) and predicted.image_hw not in (drawn.image_hw, (0, 0)):
                compared.left_out["images of two sizes in annotation and prediction"] += 1
                continue
            several = f", {tag.name} {page or 0}" if schema.several_images else ""
            compared.scenes.append(_scene(f"task {task['id']}{several}", drawn, predicted, schema))
    if model_version is not None and model_version not in held:
        raise SettingsError(
            f"model version {model_version!r}",
            f"no task has a prediction of it (there are: {', '.join(sorted(held)) or 'none'})",
            "Name one that is there, or leave --model-version out for each task's newest.",
        )
    return compared


def _predictions(task: Json) -> Sequence[Json]:
    predictions: Sequence[Json] = task.get("predictions") or ()
    if any(not isinstance(prediction, Mapping) for prediction in predictions):
        raise InvalidRequest(
            f"task {task.get('id')}",
            "this export names its predictions without holding them",
            "Give --project instead, or export a snapshot that holds predictions in full.",
        )
    return predictions


def _newest(predictions: Sequence[Json], model_version: str | None) -> Json | None:
    fitting = [
        prediction
        for prediction in predictions
        if model_version in (None, str(prediction.get("model_version")))
    ]
    return max(fitting, key=_made_at, default=None)


def _made_at(prediction: Json) -> tuple[datetime, int]:
    return moment(prediction.get("created_at")), prediction.get("id") or 0


def _scene(name: str, drawn: Drawn, predicted: Drawn, schema: Schema) -> Scene:
    boxes = _boxes(drawn, schema)
    annotated = AnnotatedBoxes(
        boxes.boxes_xyxy.astype(np.float64), boxes.labels, np.zeros(len(boxes), bool)
    )
    people = _people(drawn, schema)
    return Scene(name, people, predicted.people, annotated, _boxes(predicted, schema))


def _boxes(drawn: Drawn, schema: Schema) -> Detections:
    """All boxes, those of people with keypoints among them, where the project draws such boxes."""
    boxes, people = drawn.boxes, drawn.people
    if not schema.person_labels:
        return boxes
    rows = (people.boxes_xyxy[:, 2:] > people.boxes_xyxy[:, :2]).all(1)
    count = int(rows.sum())
    labels = [PERSON if label in schema.person_labels else label for label in boxes.labels]
    return Detections(
        np.concatenate([boxes.boxes_xyxy, people.boxes_xyxy[rows]]),
        np.concatenate([boxes.scores, people.box_scores[rows]]),
        (*labels, *(PERSON,) * count),
        (*boxes.body_parts, *(None,) * count),
        boxes.source,
    )


def _people(drawn: Drawn, schema: Schema) -> AnnotatedPeople:
    """People with keypoints, and those of whom only the box is drawn."""
    poses = drawn.people
    lone = [row for row, label in enumerate(drawn.boxes.labels) if label in schema.person_labels]
    boxes = np.concatenate([poses.boxes_xyxy, drawn.boxes.boxes_xyxy[lone]]).astype(np.float64)
    more = ((0, len(lone)), (0, 0))
    return AnnotatedPeople(
        boxes_xyxy=boxes,
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(1),
        keypoints_xy=np.pad(poses.keypoints_xy, (*more, (0, 0))).astype(np.float64),
        annotated=np.pad(poses.keypoint_scores > 0, more),
        crowds=np.zeros(len(boxes), bool),
        area_given=np.zeros(len(boxes), bool),
    )
