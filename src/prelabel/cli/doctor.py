"""`prelabel doctor`: what keeps prelabel from working here, and the command that mends it."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from prelabel.cli.options import ProjectId

if TYPE_CHECKING:
    from prelabel.doctor.diagnosis import Diagnosis

FAILED = 5
"""The exit code where a check failed."""
_COLOURS = {
    "ok": typer.colors.GREEN,
    "warning": typer.colors.YELLOW,
    "failure": typer.colors.RED,
    "skipped": typer.colors.BRIGHT_BLACK,
}
_WORST_LAST = ("warning", "failure")


def doctor(
    project: ProjectId = None,
    backend_url: Annotated[
        str, typer.Option(help="Where the backend is [http://BIND_ADDRESS:PORT].")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """Check this machine, its settings, models, backend and Label Studio.

    Exit code 0 where all is well or there are warnings only, 5 where a check failed.
    """
    from prelabel.doctor.checks import CHECKS
    from prelabel.doctor.examination import examine
    from prelabel.doctor.machine import this_machine
    from prelabel.logs import configure
    from prelabel.settings import load

    configure("ERROR", "console")  # repeated attempts would stand between the lines
    made = examine(
        this_machine(), CHECKS, lambda: load(project_id=project), backend_url=backend_url
    )
    if as_json:
        diagnoses = list(made)
        typer.echo(json.dumps([asdict(one) for one in diagnoses], indent=1, ensure_ascii=False))
    else:
        diagnoses = _print_as_they_come(made, {check.name: check.group for check in CHECKS})
        _print_what_to_do(diagnoses)
    if any(one.status == "failure" for one in diagnoses):
        raise typer.Exit(FAILED)


def _print_as_they_come(made: "Iterable[Diagnosis]", groups: dict[str, str]) -> "list[Diagnosis]":
    """A line for each check, under the headings of their groups."""
    width = max(len(name) for name in groups)
    heading = next(iter(groups.values()))  # the settings, which come before all checks, are there
    typer.secho(heading, bold=True)
    diagnoses = []
    for one in made:
        diagnoses.append(one)
        if groups.get(one.name, heading) != heading:
            heading = groups[one.name]
            typer.secho(f"\n{heading}", bold=True)
        typer.echo(f"  {_status(one)} {one.name:{width}}  {one.finding}")
    return diagnoses


def _print_what_to_do(diagnoses: "Sequence[Diagnosis]") -> None:
    """Why what is not well matters and what mends it, the failures nearest to the prompt."""
    for status in _WORST_LAST:
        for one in diagnoses:
            if one.status == status:
                typer.echo(f"\n{_status(one)} {typer.style(one.name, bold=True)}\n  {one.why}")
                for line in one.mend.splitlines():
                    typer.echo(f"  → {line}")
    counts = Counter[str](one.status for one in diagnoses)
    typer.echo("\n" + ", ".join(f"{counts[status]} {status}" for status in _COLOURS))


def _status(one: "Diagnosis") -> str:
    return typer.style(f"{one.status:7}", _COLOURS[one.status])
