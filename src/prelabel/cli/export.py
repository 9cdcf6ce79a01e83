"""`prelabel export`: a project's annotations as a dataset for training."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prelabel.cli.options import (
    ConfigFile,
    LabelStudioUrl,
    ProjectId,
    Token,
    label_config_of,
    ready,
)
from prelabel.export.formats import Format

if TYPE_CHECKING:
    from prelabel.export.images import Images
    from prelabel.export.pictures import Skipped
    from prelabel.labelstudio_api.client import LabelStudio
    from prelabel.settings import Settings

_TASKS_NAMED = 5


def export(
    *,
    form: Annotated[Format, typer.Option("--format", help="What is written.")],
    out: Annotated[Path, typer.Option(help="Folder of the dataset.", file_okay=False)],
    project: ProjectId = None,
    exported: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="JSON export of Label Studio, instead of a project.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    label_config: ConfigFile = None,
    url: LabelStudioUrl = None,
    token: Token = None,
    copy_images: Annotated[
        bool, typer.Option("--copy-images", help="Fetch the images into the dataset, too.")
    ] = False,
) -> None:
    """Write a project's annotations as a dataset; persons are kept apart.

    Of each task the newest annotation counts, a ground truth before all others; what annotators
    skipped does not. Without --copy-images, images belong into the folder `images` under the
    names that the dataset gives them.
    """
    from prelabel.assembly.parts import label_studio
    from prelabel.errors import SettingsError
    from prelabel.export.dataset import export as write
    from prelabel.export.source import tasks_of_file, tasks_of_project
    from prelabel.labelstudio.config import parse

    if (project is None) == (exported is None) or (exported is None) != (label_config is None):
        raise SettingsError(
            "prelabel export",
            "it needs one source",
            "Give --project ID, or --input FILE with --label-config FILE.",
        )
    settings = ready(label_studio_url=url, label_studio_api_key=token)
    with ExitStack() as stack:
        # An export file needs Label Studio for its images only, and not for all kinds of them.
        asked = project is not None or (copy_images and settings.label_studio_url)
        studio = stack.enter_context(label_studio(settings)) if asked else None
        if exported is not None and label_config is not None:
            xml, tasks = label_config_of(label_config), tasks_of_file(exported)
        else:
            assert studio is not None
            assert project is not None
            xml = studio.project(project)["label_config"]
            tasks = tasks_of_project(studio, project)
        images = _images(settings, studio) if copy_images else None
        done = write(tasks, parse(xml), form, out, images)
    print(f"images   {done.images}")
    if form is Format.COCO_BOXES:
        print(f"boxes    {done.boxes}")
    else:
        print(f"persons  {done.persons}, with {done.points} points")
    print("\n".join(_account_of(done.skipped)))


def _images(settings: "Settings", studio: "LabelStudio | None") -> "Images":
    from prelabel.assembly.parts import fetcher, limits
    from prelabel.export.images import Images
    from prelabel.media.references import Origin

    aliases = settings.label_studio_aliases
    origin = Origin(studio.url, studio.auth, aliases) if studio else None
    return Images(fetcher(settings).fetch, limits(settings), origin)


def _account_of(skipped: "Sequence[Skipped]") -> list[str]:
    """One line for each reason, with the first tasks that it was the reason for."""
    tasks: dict[str, list[int]] = {}
    for one in skipped:
        tasks.setdefault(one.reason, []).append(one.task_id)
    lines = []
    for reason, ids in tasks.items():
        first = [str(number) for number in ids[:_TASKS_NAMED]]
        shown = ", ".join(first if len(first) == len(ids) else [*first, "…"])
        lines.append(f"skipped  {len(ids)}: {reason} (tasks {shown})")
    return lines or ["skipped  0"]
