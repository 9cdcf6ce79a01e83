"""`prelabel run`: a whole project is pre-annotated through the API."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prelabel.cli.options import AsJson, LabelStudioUrl, ProjectId, Token

if TYPE_CHECKING:
    from prelabel.batch.selection import Mode, Selection
    from prelabel.batch.summary import RunSummary
    from prelabel.settings import Settings

_SAMPLE = 20
"""Tasks of a dry run where no limit is given."""


def run(
    *,
    project: ProjectId = None,
    url: LabelStudioUrl = None,
    token: Token = None,
    limit: Annotated[
        str | None, typer.Option(help="Most tasks to predict, or `all`. (default: TASK_LIMIT)")
    ] = None,
    start_task_id: Annotated[
        int | None, typer.Option(help="First task id to look at. (default: START_TASK_ID)")
    ] = None,
    ids: Annotated[
        str | None, typer.Option(help="Only these tasks, for example 1,5,20-40.")
    ] = None,
    view: Annotated[
        int | None, typer.Option(help="Only what this tab of the data manager shows, by its id.")
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            help="Only tasks such as data.camera=left or total_annotations=0; or Label Studio's "
            "JSON. May be given several times.",
        ),
    ] = None,
    only_unannotated: Annotated[
        bool, typer.Option("--only-unannotated", help="Only tasks that nobody annotated.")
    ] = False,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Only tasks that hold neither predictions nor annotations."),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of predictions of other versions.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Predict tasks that hold this model version anew."),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try tasks again that failed for good.")
    ] = False,
    max_failures: Annotated[
        int | None, typer.Option(min=0, help="End when more tasks than this have failed.")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="A prelabel server that predicts, for example on a machine with a GPU."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Predict a sample, write the report, push nothing.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="File of the HTML report. (default: in DATA_DIR)")
    ] = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")] = False,
    default_limit: Annotated[str, typer.Option(hidden=True)] = "all",
) -> None:
    """Predict the tasks of a project and push the predictions, where they have none yet.

    Tasks that hold a prediction of the same model version are skipped. Ended at any moment, the
    same command goes on where it ended. Exit codes: 0 done, 1 error, 2 usage, 3 done with
    failures, 4 connection or login, 5 refused by a check before the start, 130 interrupted.
    """
    from prelabel.settings import load

    settings = load(
        label_studio_url=url,
        label_studio_api_key=token,
        project_id=project,
        start_task_id=start_task_id,
        task_limit=limit,
    )
    chosen = _selection(
        settings,
        limit=_limit(settings, str(_SAMPLE) if dry_run else default_limit),
        ids=ids,
        view=view,
        filters=tuple(filters or ()),
        mode=_mode(only_unannotated=only_unannotated, keep=keep, replace=replace),
        force=force,
        retry_failed=retry_failed,
    )
    summary, written = _run(
        settings,
        chosen,
        backend=backend,
        max_failures=max_failures,
        dry_run=dry_run,
        report=report,
        quiet=quiet or as_json,
    )
    _print(summary, written, as_json=as_json, quiet=quiet)
    raise typer.Exit(summary.exit_code)


def _run(
    settings: "Settings",
    selection: "Selection",
    *,
    backend: str | None,
    max_failures: int | None,
    dry_run: bool,
    report: Path | None,
    quiet: bool,
) -> "tuple[RunSummary, Path | None]":
    from prelabel.assembly.run import batch_run
    from prelabel.batch.interrupt import interruptible
    from prelabel.batch.progress import ProgressLine
    from prelabel.batch.run import Options
    from prelabel.batch.run import run as go
    from prelabel.errors import SettingsError
    from prelabel.logs import configure

    configure("ERROR" if quiet else settings.log_level, settings.log_format)
    with (
        interruptible() as interrupt,
        batch_run(settings, backend=backend, anew=selection.anew, dry_run=dry_run) as ready,
    ):
        options = Options(selection, ready.manners, max_failures, dry_run)
        if quiet:
            summary = go(ready.parts, options, interrupt)
        else:
            with ProgressLine() as line:
                summary = go(ready.parts, options, interrupt, line)
        try:
            return summary, ready.write_report(summary, report)
        except SettingsError as error:  # the predictions are pushed all the same
            print(f"prelabel: {error}", file=sys.stderr)
            return summary, None


def _mode(*, only_unannotated: bool, keep: bool, replace: bool) -> "Mode":
    from prelabel.batch.selection import Mode
    from prelabel.errors import SettingsError

    if only_unannotated + keep + replace > 1:
        raise SettingsError(
            "--only-unannotated, --keep and --replace", "exclude each other", "Give one of them."
        )
    if replace:
        return Mode.REPLACE
    if keep:
        return Mode.KEEP
    return Mode.UNANNOTATED if only_unannotated else Mode.MISSING


def _limit(settings: "Settings", default: str) -> int | None:
    from prelabel.errors import SettingsError

    given = str(settings.task_limit if settings.task_limit is not None else default)
    if given == "all":
        return None
    if int(given) < 1:
        raise SettingsError(
            f"the limit {given}", "is no number of tasks", "Give 1 or more, or all."
        )
    return int(given)


def _selection(
    settings: "Settings",
    *,
    limit: int | None,
    ids: str | None,
    view: int | None,
    filters: tuple[str, ...],
    mode: "Mode",
    force: bool,
    retry_failed: bool,
) -> "Selection":
    from prelabel.batch.selection import Selection
    from prelabel.labelstudio_api.listing import Which, parse_filter, parse_ids

    for text in filters:
        parse_filter(text)  # before anything else is begun
    which = Which(
        after_id=max((settings.start_task_id or 0) - 1, 0),
        ids=() if ids is None else parse_ids(ids),
        view=view,
        filters=filters,
    )
    return Selection(which, limit, mode, anew=force, retry_failed=retry_failed)


def _print(summary: "RunSummary", report: Path | None, *, as_json: bool, quiet: bool) -> None:
    import json

    if as_json:
        told = {**summary.as_json(), "report": str(report) if report else None}
        for of_the_report in ("scores", "surest", "least_sure", "empty"):
            del told[of_the_report]
        print(json.dumps(told))
    elif not quiet:
        print("\n".join(_account(summary, report)))
    for warning in summary.warnings if as_json and not quiet else ():
        print(f"prelabel: {warning}", file=sys.stderr)


def _account(summary: "RunSummary", report: Path | None) -> list[str]:
    """What became of a run, for people: one line for each thing."""
    counts = summary.counts
    found = f"{counts.predicted} with findings, {counts.empty} without, {counts.failed} failed"
    skipped = [f"skipped    {number}: {why}" for why, number in summary.skipped.items()]
    reasons = {failure.kind: failure.reason for failure in reversed(summary.failures)}
    kinds = [
        f"failed     {number}: {kind}, such as {reasons.get(kind, 'in the report')}"
        for kind, number in summary.failure_kinds.items()
    ]
    pushed = "nothing (dry run)" if summary.dry_run else f"{counts.pushed} predictions"
    if counts.already_there:
        pushed += f", {counts.already_there} were there already"
    return [
        f"project    {summary.title} (id {summary.project}) at {summary.url}",
        f"version    {summary.model_version}",
        f"predicted  {found}, in {summary.seconds:.1f} s",
        f"pushed     {pushed}",
        *skipped,
        *kinds,
        *(f"note       {warning}" for warning in summary.warnings),
        *([f"left       {counts.left}"] if counts.left else []),
        *([f"next       {summary.go_on}"] if summary.go_on else []),
        *([f"report     {report}"] if report else []),
    ]
