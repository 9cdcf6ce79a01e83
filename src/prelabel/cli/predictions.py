"""`prelabel predictions`: which model versions a project holds, and how to be rid of one."""

from typing import TYPE_CHECKING, Annotated

import typer

from prelabel.cli.options import AsJson, LabelStudioUrl, ProjectId, Token, ready

if TYPE_CHECKING:
    from prelabel.labelstudio_api.client import LabelStudio
    from prelabel.settings import Settings

predictions = typer.Typer(help="List and delete a project's predictions.", no_args_is_help=True)


@predictions.command("list")
def list_versions(
    *,
    project: ProjectId = None,
    url: LabelStudioUrl = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Say how many predictions each model version has."""
    import json

    from prelabel.assembly.parts import label_studio

    settings = ready(label_studio_url=url, label_studio_api_key=token, project_id=project)
    with label_studio(settings) as studio:
        versions = _held(studio, _project(settings))
    if as_json:
        print(json.dumps(versions))
        return
    for version, number in sorted(versions.items()):
        print(f"{number:8}  {version}")
    if not versions:
        print("no predictions")


@predictions.command()
def delete(
    *,
    model_version: Annotated[str, typer.Option(help="The version whose predictions go.")],
    project: ProjectId = None,
    url: LabelStudioUrl = None,
    token: Token = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete all predictions of one model version; annotations stay."""
    from prelabel.assembly.parts import label_studio
    from prelabel.errors import SettingsError
    from prelabel.labelstudio_api.predictions import delete_version

    settings = ready(label_studio_url=url, label_studio_api_key=token, project_id=project)
    number = _project(settings)
    with label_studio(settings) as studio:
        versions = _held(studio, number)
        if model_version not in versions:
            held = ", ".join(sorted(versions)) or "none"
            raise SettingsError(
                f"model version {model_version!r}",
                f"project {number} has no predictions of it (it has: {held})",
                "Name one that it has.",
            )
        found = f"{versions[model_version]} predictions of {model_version} in project {number}"
        if dry_run:
            print(f"would delete {found}")
            return
        if not yes:
            typer.confirm(f"Delete {found}?", abort=True)
        delete_version(studio, number, model_version)
        left = studio.model_versions(number).get(model_version, 0)
    print(f"deleted {versions[model_version] - left} predictions of {model_version}")


def _held(studio: "LabelStudio", project: int) -> dict[str, int]:
    """How many predictions each version has; the title of a backend, listed with 0, is none."""
    return {version: count for version, count in studio.model_versions(project).items() if count}


def _project(settings: "Settings") -> int:
    from prelabel.errors import SettingsError

    if settings.project_id is None:
        raise SettingsError("the project", "none is given", "Give --project or set PROJECT_ID.")
    return settings.project_id
