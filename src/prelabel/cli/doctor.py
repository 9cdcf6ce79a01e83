"""`prelabel doctor`: what keeps prelabel from working here, and the command that mends it."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

FAILED = 5
"""The exit code where a check failed."""
_COLOURS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "failed": typer.colors.RED}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check this machine, its packages, models and settings; exit code 5 if a check failed."""
    from prelabel.doctor.examination import examine
    from prelabel.doctor.machine import this_machine
    from prelabel.logs import configure

    configure("ERROR", "console")  # repeated attempts would stand between the lines
    findings = []
    for finding in examine(this_machine()):
        findings.append(finding)
        if not as_json:
            state = typer.style(f"{finding.state:8}", _COLOURS[finding.state])
            typer.echo(f"{state} {finding.name:16} {finding.found}")
            if finding.state != "ok":
                typer.echo(f"         why   {finding.why}")
                for line in finding.mend.splitlines():
                    typer.echo(f"         mend  {line}")
    passed = all(finding.state != "failed" for finding in findings)
    if as_json:
        typer.echo(json.dumps({"ok": passed, "findings": [asdict(f) for f in findings]}, indent=1))
    if not passed:
        raise typer.Exit(FAILED)
