"""The report of a run as one HTML file: readable offline, years later, by whoever gets it.

It loads nothing. A content security policy allows its own style and script by their digests and
nothing else, so that no text of a task could run even where escaping were forgotten.
"""

import os
import shlex
from base64 import b64encode
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from prelabel import __version__
from prelabel.batch.report.contact_sheet import ContactSheet, Tile
from prelabel.batch.report.failures import failures_section
from prelabel.batch.report.labels import labels_section
from prelabel.batch.report.markup import project_url, task_url, text
from prelabel.batch.report.stages import stages_section
from prelabel.batch.summary import DONE_WITH_FAILURES, RunSummary
from prelabel.batch.words import counted, duration, rate
from prelabel.errors import SettingsError


def write_report(path: Path, summary: RunSummary, sheet: ContactSheet) -> None:
    """Write the page; whoever looks meanwhile finds the old file or the new one, whole.

    Raises:
        SettingsError: It cannot be written there.
    """
    # JSON may hold half a surrogate pair, which no file can.
    written = page(summary, sheet).encode(errors="replace")
    try:
        _write_whole(path, written)
    except OSError as error:
        raise SettingsError(
            f"the report {path}", f"cannot be written ({error})", "Name another file for it."
        ) from error


def _write_whole(path: Path, written: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(written)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def page(summary: RunSummary, sheet: ContactSheet) -> str:
    """The whole page.

    Args:
        summary: The run.
        sheet: Pictures of some of its tasks.
    """
    style, script = _packaged("page.css"), _packaged("page.js")
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )
    labels = labels_section(summary)
    sections = (
        _numbers(summary),
        _next_steps(summary),
        failures_section(summary),
        _contact_sheet(summary, sheet),
        labels,
        stages_section(summary),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{text(summary.title)}: pre-annotation</title><style>{style}</style></head><body>"
        f"{_header(summary)}<main>{''.join(sections)}</main>{_footer(summary)}"
        f"{f'<script>{script}</script>' if labels else ''}</body></html>\n"
    )


def _packaged(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(source: str) -> str:
    return f"sha256-{b64encode(sha256(source.encode()).digest()).decode()}"


def _header(summary: RunSummary) -> str:
    started = datetime.fromisoformat(summary.started_at)
    tone, verdict = _verdict(summary)
    return (
        f'<header><h1>{text(summary.title)}</h1><p class="about">'
        f'Project {summary.project} of <a href="{text(project_url(summary))}">'
        f"{text(summary.url)}</a>, pre-annotated by <strong>{text(summary.model_version)}</strong> "
        f'on <time datetime="{text(summary.started_at)}">{started.day} {started:%B %Y at %H:%M %Z}'
        f"</time> in {duration(summary.seconds)}.</p>"
        f'<p class="verdict {tone}">{text(verdict)}</p></header>'
    )


def _verdict(summary: RunSummary) -> tuple[str, str]:
    """How the run ended: a tone of the page's style, and words."""
    counts = summary.counts
    if summary.interrupted:
        return "warn", f"Interrupted, with {counted(counts.left, 'task')} left"
    if summary.exit_code not in (0, DONE_WITH_FAILURES):
        return "bad", f"Ended early, with {counted(counts.left, 'task')} left"
    if summary.dry_run:
        return "warn", "Dry run: nothing was pushed to Label Studio"
    if counts.failed:
        return "warn", f"Done, but {counted(counts.failed, 'task')} failed"
    if counts.left:
        return "good", f"Done as far as it was told to, with {counted(counts.left, 'task')} left"
    return "good", "Done"


def _numbers(summary: RunSummary) -> str:
    counts = summary.counts
    looked_at = counts.predicted + counts.empty + counts.failed
    pace = rate(looked_at / summary.seconds) if summary.seconds > 0 else "-"
    numbers = {
        "Tasks with findings": f"{counts.predicted:,}",
        "Looked, found nothing": f"{counts.empty:,}",
        "Failed": f"{counts.failed:,}",
        "Pushed to Label Studio": f"{counts.pushed:,}",
        "Tasks per second": pace,
    }
    where_any = {
        "Skipped": counts.skipped,
        "Predicted by an earlier run": counts.resumed,
        "Were there already": counts.already_there,
        "Left to do": counts.left,
    }
    numbers |= {name: f"{count:,}" for name, count in where_any.items() if count}
    tiles = "".join(f"<div><dt>{name}</dt><dd>{one}</dd></div>" for name, one in numbers.items())
    return f'<dl class="numbers">{tiles}</dl>{_skipped(summary)}{_warnings(summary)}'


def _skipped(summary: RunSummary) -> str:
    if not summary.skipped:
        return ""
    reasons = "".join(
        f"<li>{counted(count, 'task')}, as {'it' if count == 1 else 'each'} {text(reason)}</li>"
        for reason, count in summary.skipped.items()
    )
    return f"<h3>Skipped</h3><ul>{reasons}</ul>"


def _warnings(summary: RunSummary) -> str:
    if not summary.warnings:
        return ""
    lines = "".join(f"<li>{text(warning)}</li>" for warning in summary.warnings)
    return f'<h3 class="warn">Worth knowing</h3><ul>{lines}</ul>'


def _next_steps(summary: RunSummary) -> str:
    project = f'<a href="{text(project_url(summary))}">Open the project in Label Studio</a>.'
    steps = [f"<p>{project}</p>"]
    if summary.go_on:
        steps.append(f"<h3>Go on</h3><p>{text(summary.go_on)}</p>")
    if summary.counts.pushed:
        version = shlex.quote(summary.model_version)
        command = (
            f"prelabel predictions delete --project {summary.project} --model-version {version}"
        )
        steps.append(
            "<h3>Undo</h3><p>This deletes all predictions of this model version in the project, "
            "those of earlier runs too; annotations stay. With <code>--dry-run</code> it says "
            f"what it would delete.</p><pre><code>{text(command)}</code></pre>"
        )
    return "<h2>What next</h2>" + "".join(steps)


def _contact_sheet(summary: RunSummary, sheet: ContactSheet) -> str:
    groups = (
        ("The surest", sheet.surest),
        ("The least sure", sheet.least_sure),
        ("Nothing found", sheet.empty),
    )
    shown = "".join(
        f'<h3>{title}</h3><ul class="sheet">{"".join(_tiles(summary, tiles))}</ul>'
        for title, tiles in groups
        if tiles
    )
    if not shown:
        return ""
    return (
        '<h2 id="pictures">What it looks like</h2>'
        f"<p>Each picture leads to its task in Label Studio.</p>{shown}"
    )


def _tiles(summary: RunSummary, tiles: tuple[Tile, ...]) -> Iterator[str]:
    for tile in tiles:
        picture = '<span class="faint">The image could not be loaded again.</span>'
        if tile.jpeg:
            source = f"data:image/jpeg;base64,{b64encode(tile.jpeg).decode()}"
            picture = f'<img src="{source}" alt="{text(tile.found)}" decoding="async">'
        yield (
            f'<li><a href="{task_url(summary, tile.task_id)}">'
            f'<span class="picture">{picture}</span>'
            f'<span class="words"><span class="task">Task {tile.task_id}</span> '
            f'<span class="faint">score {tile.score:.2f}</span><br>{text(tile.found)}</span>'
            "</a></li>"
        )


def _footer(summary: RunSummary) -> str:
    return (
        f"<footer>Written by prelabel {text(__version__)}. Exit code {summary.exit_code}. "
        "This file needs no network and nothing beside it.</footer>"
    )
