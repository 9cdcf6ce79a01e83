"""Annotations in COCO's and COCO-WholeBody's format, and what a predictor makes of their images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prelabel.errors import ImageUnreachable, InvalidRequest, PrelabelError, SettingsError
from prelabel.evaluation.scenes import AnnotatedBoxes, AnnotatedPeople, Scene
from prelabel.keypoints import GROUPS, NAMES
from prelabel.media.decode import decode
from prelabel.media.limits import Limits
from prelabel.predictors.base import Predictor
from prelabel.types import Ask, Detections, Image, Poses

PERSON = "person"
"""The label of a person's box, and the category whose annotations are read."""

Numbers = tuple[float, ...]
Side = Annotated[float, Field(ge=0)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Annotation(_Record):
    """Keypoints are x, y and visibility (0: not annotated) of each; a part may be left out."""

    image_id: int | str
    category_id: int
    bbox: tuple[float, float, Side, Side]  # x, y, width, height
    area: float | None = Field(default=None, ge=0)
    iscrowd: bool = False
    keypoints: Numbers = ()
    foot_kpts: Numbers = ()
    face_kpts: Numbers = ()
    lefthand_kpts: Numbers = ()
    righthand_kpts: Numbers = ()

    def part(self, name: str) -> Numbers:
        """The numbers of one of `keypoints.GROUPS`."""
        return {
            "body": self.keypoints,
            "feet": self.foot_kpts,
            "face": self.face_kpts,
            "left_hand": self.lefthand_kpts,
            "right_hand": self.righthand_kpts,
        }[name]


class _ImageRecord(_Record):
    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class _Category(_Record):
    id: int
    name: str


class _File(_Record):
    images: tuple[_ImageRecord, ...]
    annotations: tuple[_Annotation, ...]
    categories: tuple[_Category, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedImage:
    """An image file and the people annotated on it.

    Attributes:
        path: Of the file.
        size_wh: The width and height in pixels that the annotations are for; None where they do
            not say.
        people: The people.
    """

    path: Path
    size_wh: tuple[int, int] | None
    people: AnnotatedPeople


def read_coco(annotations: Path, folder: Path) -> tuple[list[AnnotatedImage], int]:
    """Read the people of an annotation file.

    Args:
        annotations: JSON in COCO's or COCO-WholeBody's format.
        folder: Where its images are.

    Returns:
        The images that the folder holds, in the file's order, and how many it does not hold.

    Raises:
        InvalidRequest: The file is not of this format, or has no category of persons.
        ImageUnreachable: The folder holds none of the images.
    """
    try:
        file = _File.model_validate_json(annotations.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise InvalidRequest(
            f"{annotations}, {place or 'file'}", first["msg"], "Give annotations as COCO has them."
        ) from error
    persons = {category.id for category in file.categories if category.name == PERSON}
    if not persons:
        others = ", ".join(category.name for category in file.categories) or "none"
        raise InvalidRequest(
            f"{annotations}, categories",
            f"none is named {PERSON!r} (there are: {others})",
            f"Name the category of the people {PERSON!r}.",
        )
    of_image: dict[int | str, list[_Annotation]] = {record.id: [] for record in file.images}
    for annotation in file.annotations:
        if annotation.category_id in persons and annotation.image_id in of_image:
            of_image[annotation.image_id].append(annotation)
    images = [
        AnnotatedImage(
            folder / record.file_name,
            (record.width, record.height) if record.width and record.height else None,
            _people(of_image[record.id]),
        )
        for record in file.images
        if (folder / record.file_name).is_file()
    ]
    if not images:
        raise ImageUnreachable(
            str(folder),
            f"it holds none of the {len(file.images)} images of {annotations}",
            "Give the folder of the images with --images.",
        )
    return images, len(file.images) - len(images)


def predict_people(
    images: Sequence[AnnotatedImage], predictor: Predictor, *, in_annotated_boxes: bool
) -> Iterator[Scene]:
    """Have a predictor look at the images.

    Every keypoint is asked for, however unsure, as COCO compares them all.

    Args:
        images: The images.
        predictor: Finds poses.
        in_annotated_boxes: Take the annotated boxes for the persons' instead of looking for them.

    Raises:
        InvalidRequest: An image is not of the size that the annotations are for.
        PrelabelError: The predictor failed on an image, or could not be loaded.
    """
    size = 1 if in_annotated_boxes else predictor.batch_size
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        pictures = [_open(image) for image in batch]
        if in_annotated_boxes:
            yield _scene_of_boxes(batch[0], pictures[0], predictor)
            continue
        answer = predictor.predict(pictures, Ask(min_score=0.0))
        for image, found in zip(batch, answer, strict=True):
            poses = _poses(found, predictor)
            boxes, detections = _annotated_boxes(image.people), _person_boxes(poses)
            yield Scene(image.path.name, image.people, poses, boxes, detections)


def _scene_of_boxes(image: AnnotatedImage, picture: Image, predictor: Predictor) -> Scene:
    """Poses in the boxes of the people who have keypoints and whose box has an area."""
    people = image.people
    corners = np.array([picture.width, picture.height] * 2, np.float64)
    shown = np.clip(people.boxes_xyxy, 0, corners)
    usable = (shown[:, 2:] > shown[:, :2]).all(1) & people.annotated.any(1) & ~people.crowds
    owners = np.flatnonzero(usable)
    poses = Poses.none(len(NAMES), predictor.name)
    if len(owners):
        boxes = tuple(tuple(float(edge) for edge in box) for box in people.boxes_xyxy[owners])
        (found,) = predictor.predict([picture], Ask(min_score=0.0, within_xyxy=boxes))
        poses = _poses(found, predictor)
    nothing = AnnotatedBoxes(np.zeros((0, 4)), (), np.zeros(0, bool))
    return Scene(image.path.name, people, poses, nothing, Detections.none(predictor.name), owners)


def _poses(found: Detections | Poses | PrelabelError, predictor: Predictor) -> Poses:
    if isinstance(found, PrelabelError):
        raise found
    if isinstance(found, Detections):
        raise SettingsError(
            f"predictor {predictor.name}",
            "it finds boxes, not poses",
            "Choose rtmlib or embedded-pose.",
        )
    return found


def _open(image: AnnotatedImage) -> Image:
    picture = decode(image.path.read_bytes(), image.path.name, Limits())
    size = (picture.width, picture.height)
    if image.size_wh not in (None, size):
        raise InvalidRequest(
            str(image.path),
            f"its size is {size}, its annotations are for {image.size_wh}",
            "Give the images that were annotated.",
        )
    return picture


def _annotated_boxes(people: AnnotatedPeople) -> AnnotatedBoxes:
    return AnnotatedBoxes(people.boxes_xyxy, (PERSON,) * len(people), people.crowds)


def _person_boxes(poses: Poses) -> Detections:
    """The boxes of people as findings; one without an area in the image is none."""
    kept = (poses.boxes_xyxy[:, 2:] > poses.boxes_xyxy[:, :2]).all(1)
    count = int(kept.sum())
    return Detections(
        poses.boxes_xyxy[kept],
        poses.box_scores[kept],
        (PERSON,) * count,
        (None,) * count,
        poses.source,
    )


def _people(annotations: Sequence[_Annotation]) -> AnnotatedPeople:
    triples = np.zeros((len(annotations), len(NAMES), 3))
    for row, annotation in enumerate(annotations):
        for name, points in GROUPS.items():
            numbers = annotation.part(name)
            if numbers and len(numbers) != 3 * len(points):
                raise InvalidRequest(
                    f"{name} of a person on image {annotation.image_id}",
                    f"{len(numbers)} numbers instead of {3 * len(points)}",
                    "Give annotations as COCO-WholeBody has them.",
                )
            if numbers:
                triples[row, points.start : points.stop] = np.reshape(numbers, (-1, 3))
    boxes = np.array([annotation.bbox for annotation in annotations], np.float64).reshape(-1, 4)
    given = [annotation.area for annotation in annotations]
    boxes_areas = boxes[:, 2] * boxes[:, 3]
    return AnnotatedPeople(
        boxes_xyxy=np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
        areas=np.array(
            [own if area is None else area for area, own in zip(given, boxes_areas, strict=True)],
            np.float64,
        ),
        keypoints_xy=triples[..., :2],
        annotated=triples[..., 2] > 0,
        crowds=np.array([annotation.iscrowd for annotation in annotations], bool),
        area_given=np.array([area is not None for area in given], bool),
    )
