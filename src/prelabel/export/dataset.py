"""Writing a dataset, and what was written, in figures."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prelabel import keypoints
from prelabel.errors import SettingsError
from prelabel.export import coco, yolo
from prelabel.export.formats import Format
from prelabel.export.images import Images
from prelabel.export.pictures import Picture, Schema, Skipped, everyone, pictures_of, unmeasured
from prelabel.labelstudio.config import LabelConfig


@dataclass(frozen=True, slots=True)
class Exported:
    """What a dataset holds.

    Attributes:
        images: Annotated images, those with nothing on them among them.
        persons: People in a dataset of poses, those with no keypoint drawn among them.
        points: Their keypoints that are drawn, of those that the format has.
        boxes: Boxes in a dataset of boxes.
        skipped: What is not in it, or is there without its image.
    """

    images: int
    persons: int
    points: int
    boxes: int
    skipped: tuple[Skipped, ...]


def export(
    tasks: Iterable[Mapping[str, Any]],
    config: LabelConfig,
    form: Format,
    folder: Path,
    images: Images | None = None,
) -> Exported:
    """Write the annotations of tasks as a dataset.

    COCO formats become `annotations.json`; yolo-pose becomes `data.yaml` and a label file for each
    image where ultralytics looks for it: below `labels`, or beside a folder `images` of the
    image's own. The images themselves belong below `images`, under the `file_name` that the
    dataset gives them.

    Args:
        tasks: As Label Studio exports them.
        config: The project's label config.
        form: The format.
        folder: Where to write; made where it is not there.
        images: Copies the images, too, and measures those on which nothing is drawn.

    Raises:
        SettingsError: The project has nothing that the format holds, or the folder cannot be
            written to or holds labels already.
    """
    schema = Schema(config)
    _check(schema, form, folder)
    pictures, skipped = pictures_of(tasks, schema, images.size if images else unmeasured)
    try:
        if form is Format.YOLO_POSE:
            pictures = [replace(one, file_name=yolo.image_name(one)) for one in pictures]
            _write_yolo(pictures, schema, folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            # ASCII: pycocotools reads it in the encoding of the system.
            written = json.dumps(_COCO[form](pictures, schema))
            (folder / "annotations.json").write_text(written, encoding="utf-8")
        if images:
            skipped += images.copy(pictures, folder / "images")
    except OSError as error:
        raise SettingsError(
            str(folder), f"cannot be written to ({error})", "Name another folder with --out."
        ) from error
    return _figures(pictures, schema, form, skipped)


_COCO: dict[Format, Callable[[Sequence[Picture], Schema], coco.Json]] = {
    Format.COCO_WHOLEBODY: coco.coco_wholebody,
    Format.COCO_KEYPOINTS: coco.coco_keypoints,
    Format.COCO_BOXES: coco.coco_boxes,
}


def _check(schema: Schema, form: Format, folder: Path) -> None:
    if not schema.box_labels and not schema.keypoints:
        raise SettingsError(
            "label config",
            "it has neither RectangleLabels nor KeyPointLabels that name whole-body keypoints",
            'Say by predicted_values="nose" what a label means, or let Label Studio itself export.',
        )
    if form is Format.COCO_BOXES and not schema.box_labels:
        raise SettingsError(
            "label config",
            "it has no RectangleLabels, so there are no boxes",
            f"Choose a format of poses, such as --format {Format.COCO_WHOLEBODY}.",
        )
    if form is not Format.COCO_BOXES and not schema.keypoints:
        raise SettingsError(
            "label config",
            "it has no KeyPointLabels that name whole-body keypoints",
            f"Choose --format {Format.COCO_BOXES} for its boxes.",
        )
    if form is Format.COCO_KEYPOINTS and not set(schema.keypoints) & set(keypoints.BODY):
        raise SettingsError(
            "label config",
            "none of its keypoints is one of the 17 of the body",
            f"Choose --format {Format.COCO_WHOLEBODY}, which has hands, feet and faces.",
        )
    earlier = next(yolo.label_files(folder), None) if form is Format.YOLO_POSE else None
    if earlier is not None:
        raise SettingsError(
            str(earlier.parent),
            "it holds labels already, which would mix with the new ones",
            "Remove it, or name another folder with --out.",
        )


def _write_yolo(pictures: Sequence[Picture], schema: Schema, folder: Path) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "data.yaml").write_text(yolo.data_yaml(schema), encoding="utf-8")
    for picture in pictures:
        path = folder / yolo.label_path(picture)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yolo.label_text(picture, schema), encoding="utf-8")


def _figures(
    pictures: Sequence[Picture], schema: Schema, form: Format, skipped: Sequence[Skipped]
) -> Exported:
    if form is Format.COCO_BOXES:
        boxes = sum(len(picture.boxes) for picture in pictures)
        people = sum(len(picture.people) for picture in pictures if schema.person_labels)
        return Exported(len(pictures), 0, 0, boxes + people, tuple(skipped))
    points = {
        Format.COCO_WHOLEBODY: range(len(keypoints.NAMES)),
        Format.COCO_KEYPOINTS: keypoints.BODY,
        Format.YOLO_POSE: yolo.keypoints_of(schema),
    }[form]
    everybody = [everyone(picture, schema) for picture in pictures]
    return Exported(
        images=len(pictures),
        persons=sum(len(poses) for poses in everybody),
        points=sum(int((poses.keypoint_scores[:, points] > 0).sum()) for poses in everybody),
        boxes=0,
        skipped=tuple(skipped),
    )
