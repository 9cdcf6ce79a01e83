"""`prelabel preview`: what prelabel finds in image files, drawn over them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from prelabel.cli.options import label_config_of, ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prelabel.labelstudio.regions.read import Drawn
    from prelabel.preview.files import Preview


def preview(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...", help="Image files; frames of one video help each other."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the overlays and the result JSON.")],
    find: Annotated[
        Literal["boxes", "poses", "both"], typer.Option(help="What to look for.")
    ] = "both",
    label_config: Annotated[
        Path | None,
        typer.Option(
            help="Look for what this label config names. [default: the shipped ones]",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Predict image files without a Label Studio and draw what was found; exit code 3 if one fails.

    Into the folder go NAME.jpg, the picture with boxes and skeletons, and NAME.json, the
    prediction as Label Studio would get it.
    """
    from prelabel.assembly.parts import limits, predictors
    from prelabel.errors import PrelabelError
    from prelabel.preview.files import preview_files, preview_plan

    settings = ready()
    config = label_config_of(label_config) if label_config else None
    plan = preview_plan(find, config, predictors(settings))
    for warning in plan.warnings:
        print(f"{label_config}: {warning}", file=sys.stderr)
    failed = 0
    for seen in _as_far_as_written(preview_files(images, out, plan, limits(settings)), out):
        if isinstance(seen.drawn, PrelabelError):
            failed += 1
            print(f"failed: {seen.drawn}", file=sys.stderr)
        else:
            print(f"{seen.image}: {_words(seen.drawn)}, {seen.seconds:.2f} s, {seen.overlay}")
    if failed:
        raise typer.Exit(3)


def _as_far_as_written(seen: "Iterator[Preview]", out: Path) -> "Iterator[Preview]":
    """The same; a disk that is full has a name."""
    from prelabel.errors import OperatorError

    try:
        yield from seen
    except OSError as error:
        raise OperatorError(
            f"--out {out}",
            f"cannot be written to ({error.strerror or error})",
            "Make room there, or name another folder.",
        ) from error


def _words(drawn: "Drawn") -> str:
    """What was found, in short: `2 boxes (hand 0.43, face 0.31), 1 person (121 keypoints)`."""
    boxes, people = drawn.boxes, drawn.people
    found = []
    if len(boxes):
        each = ", ".join(
            f"{part or label} {score:.2f}"
            for part, label, score in zip(boxes.body_parts, boxes.labels, boxes.scores, strict=True)
        )
        found.append(f"{len(boxes)} {'box' if len(boxes) == 1 else 'boxes'} ({each})")
    if len(people):
        points = ", ".join(str(count) for count in (people.keypoint_scores > 0).sum(axis=1))
        found.append(
            f"{len(people)} {'person' if len(people) == 1 else 'people'} ({points} keypoints)"
        )
    return ", ".join(found) or "nothing found"
