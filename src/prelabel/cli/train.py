"""`prelabel train`: learns from a project's annotations, here and now."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from prelabel.cli.options import AsJson, ProjectId, ServedUrl, Token, ready

if TYPE_CHECKING:
    from prelabel.jobs.work import Report

NOT_BETTER = 3
"""The exit code where the project goes on as before: too few annotations, or a worse learner."""

_PAUSE_S = 1.0


def train(
    *,
    project: ProjectId = None,
    force: Annotated[
        bool, typer.Option("--force", help="Let it answer even if it is worse than the old one.")
    ] = False,
    url: ServedUrl = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Do what Start Training does, but wait for it; servers with the same database follow.

    Exit code 0 where the project has what was learnt, 3 where too little is annotated or the
    earlier version is better and goes on.
    """
    from rich.console import Console

    from prelabel.assembly.jobs import training
    from prelabel.assembly.parts import database
    from prelabel.cli.learning_tables import show_outcome
    from prelabel.errors import SettingsError
    from prelabel.jobs.training import TrainingRequest
    from prelabel.store.learned import LearnedVersions

    settings = ready(label_studio_url=url, label_studio_api_key=token, project_id=project)
    if settings.project_id is None:
        raise SettingsError(
            "prelabel train", "it is not told of which project", "Give --project N, as in its URL."
        )
    opened = database(settings)
    try:
        work = training(settings, LearnedVersions(opened))
        outcome = work.train(TrainingRequest(settings.project_id), _progress_lines(), force=force)
    finally:
        opened.dispose()
    if as_json:
        print(json.dumps(outcome))
    else:
        show_outcome(outcome, Console())
    if outcome["status"] in ("insufficient-data", "kept-old"):
        raise typer.Exit(NOT_BETTER)


def _progress_lines() -> "Report":
    """Prints what a training is at: each step, and in long ones a line a second."""
    step, printed = "", -_PAUSE_S

    def report(progress: float, message: str) -> None:
        nonlocal step, printed
        now, verb = time.monotonic(), message.partition(" ")[0]
        if verb != step or now - printed >= _PAUSE_S:
            print(f"{progress:4.0%}  {message}", file=sys.stderr)
            step, printed = verb, now

    return report
