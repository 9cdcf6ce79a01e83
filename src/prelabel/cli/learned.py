"""`prelabel learned`: what was learnt of a project, and going back to an earlier version."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from prelabel.cli.options import ServedUrl, ready

if TYPE_CHECKING:
    from prelabel.store.learned import LearnedVersion, LearnedVersions, Scope

learned = typer.Typer(
    help="What was learnt from a project's annotations, version by version.", no_args_is_help=True
)

Project = Annotated[int, typer.Option("--project", help="Id of a project in Label Studio.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@learned.command("list")
def list_versions(project: Project, url: ServedUrl = None, as_json: AsJson = False) -> None:
    """The latest versions, newest first, and which of them answers."""
    with _store(project, url) as (versions, scope):
        _print(versions.history(scope), as_json=as_json)


@learned.command()
def show(
    project: Project,
    version: Annotated[
        int | None, typer.Option(help="Which; without it, the one that answers.")
    ] = None,
    url: ServedUrl = None,
    as_json: AsJson = False,
) -> None:
    """One version: what it was learnt from and how well it did."""
    from rich.console import Console

    from prelabel.cli import learning_tables

    with _store(project, url) as (versions, scope):
        history = versions.history(scope)
        found = next((one for one in history if one.active), history[0])
        if version is not None:
            found = versions.show(scope, version)
    if as_json:
        print(json.dumps(learning_tables.as_json(found)))
    else:
        learning_tables.show_history([found], Console())
        learning_tables.show_outcome(found.report, Console())


@learned.command()
def rollback(
    project: Project,
    to: Annotated[
        int | None, typer.Option(help="Which; without it, the one before that which answers.")
    ] = None,
    url: ServedUrl = None,
    as_json: AsJson = False,
) -> None:
    """Let an earlier version answer again, on all servers with the same database."""
    with _store(project, url) as (versions, scope):
        versions.activate(scope, _version_before(versions.history(scope)) if to is None else to)
        _print(versions.history(scope), as_json=as_json)


def _print(history: "list[LearnedVersion]", *, as_json: bool) -> None:
    from rich.console import Console

    from prelabel.cli import learning_tables

    if as_json:
        print(json.dumps([learning_tables.as_json(one) for one in history]))
    else:
        learning_tables.show_history(history, Console())


@contextmanager
def _store(project: int, url: str | None) -> "Iterator[tuple[LearnedVersions, Scope]]":
    from prelabel.assembly.parts import database
    from prelabel.store.learned import LearnedVersions

    settings = ready(label_studio_url=url)
    opened = database(settings)
    try:
        versions = LearnedVersions(opened)
        yield versions, versions.scope(settings.label_studio_url, project)
    finally:
        opened.dispose()


def _version_before(history: "list[LearnedVersion]") -> int:
    """The newest version that once answered, before the one that does now."""
    from prelabel.errors import NoSuchVersion

    answers = next((one.version for one in history if one.active), 0)
    earlier = (
        one.version
        for one in history
        if one.version < answers and one.kept and one.report.get("status") == "trained"
    )
    found = next(earlier, None)
    if found is None:
        raise NoSuchVersion(
            f"version {answers}",
            "there is none before it to go back to",
            "Name one with --to, such as `prelabel learned list` shows.",
        )
    return found
