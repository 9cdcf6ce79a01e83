"""The status page as a whole: what stands around its sections, and what a browser may do with it.

It works without JavaScript; with it, the page fetches itself every two seconds and takes over what
changed, so that there is one description of it and not one more in the browser.
"""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import Any

from prelabel.batch import report as run_report
from prelabel.batch.report.markup import text
from prelabel.server.page.learnt import learnt_section
from prelabel.server.page.sections import (
    failures_section,
    jobs_section,
    predictors_section,
    projects_section,
)


def document(status: dict[str, Any], api: str) -> str:
    """The page of a status.

    Args:
        status: As `status.report` gives it.
        api: The path at which the endpoints are described.
    """
    sections = (
        _notice("database", status["database_trouble"], "Predictions go on."),
        _notice("sign-in", status["label_studio_trouble"], "Nothing can be fetched from there."),
        _numbers(status),
        predictors_section(status),
        jobs_section(status),
        projects_section(status),
        learnt_section(status),
        failures_section(status),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>prelabel</title><style>{_style()}</style></head><body>"
        f'{_header(status)}<main id="page">{"".join(sections)}</main>{_footer(api)}'
        f"<script>{_script()}</script></body></html>\n"
    )


def headers() -> dict[str, str]:
    """What a browser may do with the page: run its own script, and ask nobody else for anything.

    No text of a task could run even where escaping were forgotten; the address, which may hold
    the secret path, is told to no link's target.
    """
    policy = (
        "default-src 'none'; base-uri 'none'; connect-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; "
        f"style-src '{_digest(_style())}'; script-src '{_digest(_script())}'"
    )
    return {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def _style() -> str:
    """The look of the run report, and what only this page has."""
    return _packaged(run_report.__name__, "page.css") + _packaged(__package__, "page.css")


def _script() -> str:
    return _packaged(__package__, "page.js")


def _packaged(room: str, name: str) -> str:
    return files(room).joinpath(name).read_text(encoding="utf-8")


def _digest(source: str) -> str:
    return f"sha256-{b64encode(sha256(source.encode()).digest()).decode()}"


def _header(status: dict[str, Any]) -> str:
    tone, verdict = _verdict(status)
    versions = ", ".join(f"<strong>{text(one)}</strong>" for one in status["versions"])
    return (
        f'<header id="top"><h1>prelabel <span class="faint">{text(status["version"])}</span></h1>'
        f'<p class="about">Answers as {versions or "nothing yet"}, '
        f"up for {_span(status['uptime_s'])}.</p>"
        f'<p class="verdict {tone}">{verdict}</p> '
        '<p class="verdict bad" id="away" role="status" hidden>No answer from the server; '
        "these are the last numbers</p></header>"
    )


def _verdict(status: dict[str, Any]) -> tuple[str, str]:
    """How things stand in a few words: a tone of the style, and the words."""
    predictors = status["predictors"].values()
    if status["status"] == "degraded":
        return "bad", "A model hangs"
    if status["database_trouble"]:
        return "bad", "The database does not answer"
    if status["label_studio_trouble"]:
        return "bad", "Not signed in to Label Studio"
    if any(one.get("reason") for one in predictors):
        return "warn", "A second choice answers"
    if any(one.get("loaded") for one in predictors):
        return "good", "Ready"
    return "good", "Ready; models load with the first prediction"


def _notice(name: str, trouble: str, consequence: str) -> str:
    shown = f"{text(trouble)} {consequence}" if trouble else ""
    return f'<p class="notice bad" id="{name}"{"" if trouble else " hidden"}>{shown}</p>'


def _numbers(status: dict[str, Any]) -> str:
    projects = status["projects"]
    waiting = [sum(one.get("queue", {}).values()) for one in status["predictors"].values()]
    numbers = {
        "Tasks asked": sum(one["asked"] for one in projects),
        "Predicted": sum(one["predicted"] for one in projects),
        "Looked, found nothing": sum(one["empty"] for one in projects),
        "Failed": sum(one["failed"] for one in projects),
        "Not reached in time": sum(one["not_reached"] for one in projects),
        "Images waiting": sum(waiting),
    }
    tiles = "".join(f"<div><dt>{name}</dt><dd>{n:,}</dd></div>" for name, n in numbers.items())
    return f'<dl class="numbers" id="numbers">{tiles}</dl>'


def _footer(api: str) -> str:
    return (
        '<footer>Counts are since the start of this process. <a href="status">As JSON</a>, '
        f'<a href="metrics">for Prometheus</a>, <a href="{api.lstrip("/")}">the API</a>. '
        '<span id="fresh">Reload for new numbers.</span></footer>'
    )


def _span(seconds: float) -> str:
    """A span of time in its two largest units."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"
