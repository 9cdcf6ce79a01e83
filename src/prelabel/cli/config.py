"""`prelabel config`: ready label configs, to paste into a project or to give to `connect`."""

from typing import Annotated, Literal

import typer

config = typer.Typer(help="Print a label config.", no_args_is_help=True)


@config.command()
def pose(
    points: Annotated[
        Literal["133", "17", "hands"], typer.Option(help="Which keypoints each person has.")
    ] = "133",
) -> None:
    """A box per person with whole-body keypoints under it."""
    from prelabel.labelstudio.templates import pose_config

    print(pose_config(points), end="")


@config.command()
def boxes() -> None:
    """Boxes of body distortions with their body part and severity."""
    from prelabel.labelstudio.templates import boxes_config

    print(boxes_config(), end="")
