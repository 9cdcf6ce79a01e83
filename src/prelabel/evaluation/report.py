"""All scores of a comparison, as a value, as JSON and as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prelabel.evaluation.average_precision import AveragePrecision
from prelabel.evaluation.boxes import score_boxes
from prelabel.evaluation.poses import PartScore, oks_of_people, pair, score_poses
from prelabel.evaluation.scenes import Scene


@dataclass(frozen=True, slots=True)
class ImageScore:
    """What was annotated and predicted on one image.

    Attributes:
        name: Of the image.
        people: How many people were annotated, crowds left out.
        people_predicted: How many were predicted.
        body_oks: OKS of each person whose body is annotated; 0 where no pose was like it.
        boxes: How many boxes were annotated, crowds left out.
        boxes_predicted: How many were predicted.
    """

    name: str
    people: int
    people_predicted: int
    body_oks: tuple[float, ...]
    boxes: int
    boxes_predicted: int


@dataclass(frozen=True, slots=True)
class Report:
    """What `evaluate` found.

    Attributes:
        subject: What was compared with what: predictor, files, counts of what was left out.
        people: How many people were annotated, crowds left out.
        people_with_area: For how many of them OKS takes the annotated area (in COCO the segment's);
            for the others it takes the area of the box.
        poses: Scores of each part that is annotated on anybody.
        boxes: Scores of each label.
        images: Every image.
    """

    subject: dict[str, Any]
    people: int
    people_with_area: int
    poses: dict[str, PartScore]
    boxes: dict[str, AveragePrecision]
    images: tuple[ImageScore, ...]

    def as_json(self) -> dict[str, Any]:
        """The report as an object of plain values."""
        return asdict(self)


def evaluate(scenes: Sequence[Scene], subject: dict[str, Any]) -> Report:
    """Compare what was predicted with what was annotated.

    Args:
        scenes: The images.
        subject: What the report is to say about where they are from.
    """
    return Report(
        subject=subject,
        people=sum(int((~scene.people.crowds).sum()) for scene in scenes),
        people_with_area=sum(
            int((~scene.people.crowds & scene.people.area_given).sum()) for scene in scenes
        ),
        poses=score_poses(scenes),
        boxes=score_boxes(scenes),
        images=tuple(_image_score(scene) for scene in scenes),
    )


def show(report: Report, console: Console, *, each_image: bool) -> None:
    """Print a report as tables.

    Args:
        report: What to print.
        console: Where to.
        each_image: Whether to print a line for each image too.
    """
    predicted = sum(image.people_predicted for image in report.images)
    of_box = report.people - report.people_with_area
    lines = [f"{name.replace('_', ' ')}: {_in_words(of)}" for name, of in report.subject.items()]
    lines.append(f"images: {len(report.images)}")
    lines.append(f"people: {report.people} annotated, {predicted} predicted")
    lines.append(f"area for OKS: annotated for {report.people_with_area}, the box's for {of_box}")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    if report.poses:
        console.print(_poses_table(report.poses))
    if report.boxes:
        console.print(_boxes_table(report.boxes))
    if each_image:
        console.print(_images_table(report.images))


def _in_words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{count} {name}" for name, count in value.items()) or "none"
    return str(value)


def _poses_table(poses: Mapping[str, PartScore]) -> Table:
    table = _table("Poses", "part", "people", *_PRECISION, "OKS", "PCK")
    for part, score in poses.items():
        oks, pck = _number(score.mean_oks), _number(score.pck)
        table.add_row(part.replace("_", " "), *_precision(score.precision), oks, pck)
    return table


def _boxes_table(boxes: Mapping[str, AveragePrecision]) -> Table:
    table = _table("Boxes", "label", "boxes", *_PRECISION)
    for label, score in boxes.items():
        table.add_row(Text(label), *_precision(score))
    return table


def _images_table(images: Sequence[ImageScore]) -> Table:
    table = _table("Images", "image", "people", "predicted", "boxes", "predicted")
    table.add_column("body OKS")
    for image in images:
        table.add_row(
            Text(image.name),
            str(image.people),
            str(image.people_predicted),
            str(image.boxes),
            str(image.boxes_predicted),
            " ".join(_number(oks) for oks in image.body_oks),
        )
    return table


_PRECISION = ("predicted", "found", "AP", "AP50", "AP75", "AR")


def _precision(score: AveragePrecision) -> list[str]:
    counts = (score.annotated, score.predicted, score.found)
    figures = (score.ap, score.ap50, score.ap75, score.ar)
    return [*(str(count) for count in counts), *(_number(figure) for figure in figures)]


def _number(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.3f}"


def _table(title: str, first: str, *columns: str) -> Table:
    """An empty table; where it is too wide, names are folded and figures stay whole."""
    table = Table(title=f"\n{title}", title_justify="left", box=None, pad_edge=False)
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _image_score(scene: Scene) -> ImageScore:
    return ImageScore(
        name=scene.name,
        people=int((~scene.people.crowds).sum()),
        people_predicted=len(scene.poses),
        body_oks=tuple(oks_of_people(scene, pair(scene), "body")),
        boxes=int((~scene.boxes.crowds).sum()),
        boxes_predicted=len(scene.detections),
    )
