"""`prelabel evaluate`: how well predictions agree with what people annotated."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prelabel.cli.options import (
    AsJson,
    ConfigFile,
    LabelStudioUrl,
    ProjectId,
    Token,
    label_config_of,
    ready,
)

if TYPE_CHECKING:
    from prelabel.evaluation.projects import Compared
    from prelabel.evaluation.report import Report

evaluate = typer.Typer(
    help="Score predictions against annotations, as COCO does: AP of poses (by OKS) and of boxes, "
    "and PCK, the share of keypoints that lie within 5 % of the longer side of the person's box; "
    "for faces 5 %, for hands 20 % of their own.",
    no_args_is_help=True,
)

EachImage = Annotated[bool, typer.Option("--each", help="Print a line for each image too.")]


class Boxes(StrEnum):
    """Where the boxes of people come from."""

    ANNOTATED = "annotated"
    DETECTED = "detected"


@evaluate.command()
def coco(
    annotations: Annotated[
        Path, typer.Argument(help="COCO or COCO-WholeBody JSON.", exists=True, dir_okay=False)
    ],
    images: Annotated[
        Path, typer.Option(help="Folder of the images.", exists=True, file_okay=False)
    ],
    boxes: Annotated[
        Boxes, typer.Option(help="Pose in the annotated boxes, or end to end.")
    ] = Boxes.DETECTED,
    predictor: Annotated[
        str | None, typer.Option(help="Predictor of poses; without it, POSES_PREDICTOR.")
    ] = None,
    each_image: EachImage = False,
    as_json: AsJson = False,
) -> None:
    """Look at annotated images, and score what was found.

    The predictor itself is scored: where its weights are missing, nothing stands in for it.
    """
    import sys

    from rich.console import Console
    from rich.progress import track

    from prelabel.errors import WeightsUnavailable
    from prelabel.evaluation.coco import predict_people, read_coco
    from prelabel.evaluation.report import evaluate as score
    from prelabel.predictors.registry import create

    settings = ready(poses_predictor=predictor)
    annotated, absent = read_coco(annotations, images)
    pose = create(settings.poses_predictor, settings.options())
    try:
        pose.load()
    except WeightsUnavailable as error:
        other = "To score the model inside the package, add --predictor embedded-pose."
        raise WeightsUnavailable(error.thing, error.cause, f"{error.next_step} {other}") from error
    scenes = track(
        predict_people(annotated, pose, in_annotated_boxes=boxes is Boxes.ANNOTATED),
        total=len(annotated),
        description="images",
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    subject = {
        "annotations": str(annotations),
        "predictor": pose.name,
        "boxes": str(boxes),
        "images_absent": absent,
    }
    _print(score(list(scenes), subject), each_image=each_image, as_json=as_json)


@evaluate.command()
def project(
    *,
    number: ProjectId = None,
    exported: Annotated[
        Path | None,
        typer.Option(
            "--export",
            help="JSON export that holds predictions in full, instead of a project.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    label_config: ConfigFile = None,
    model_version: Annotated[
        str | None,
        typer.Option(help="Score predictions of this version; without it, each task's newest."),
    ] = None,
    url: LabelStudioUrl = None,
    token: Token = None,
    each_image: EachImage = False,
    as_json: AsJson = False,
) -> None:
    """Score the predictions that tasks hold against their annotations.

    Of each task the newest annotation counts, a ground truth before others, a skipped one never.
    """
    from prelabel.assembly.parts import label_studio
    from prelabel.errors import SettingsError
    from prelabel.evaluation.projects import compare
    from prelabel.evaluation.report import evaluate as score
    from prelabel.export.pictures import Schema
    from prelabel.export.source import tasks_of_file, tasks_of_project
    from prelabel.labelstudio.config import parse

    settings = ready(label_studio_url=url, label_studio_api_key=token)
    if exported is not None and number is None and label_config is not None:
        schema = Schema(parse(label_config_of(label_config)))
        source = str(exported)
        compared = compare(tasks_of_file(exported), schema, model_version)
    elif number is not None and exported is None and label_config is None:
        with label_studio(settings) as studio:
            schema = Schema(parse(studio.project(number)["label_config"]))
            source = f"project {number} of {studio.url}"
            compared = compare(tasks_of_project(studio, number), schema, model_version)
    else:
        raise SettingsError(
            "prelabel evaluate project",
            "it needs one source",
            "Give --project ID, or --export FILE with --label-config FILE.",
        )
    report = score(compared.scenes, _subject(source, compared))
    _print(report, each_image=each_image, as_json=as_json)


def _subject(source: str, compared: "Compared") -> dict[str, object]:
    return {
        "tasks": source,
        "model_versions": dict(compared.model_versions),
        "left_out": dict(compared.left_out),
    }


def _print(report: "Report", *, each_image: bool, as_json: bool) -> None:
    import json

    from rich.console import Console

    from prelabel.evaluation.report import show

    if as_json:
        print(json.dumps(report.as_json()))
    else:
        show(report, Console(), each_image=each_image)
