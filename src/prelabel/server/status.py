"""The status page: what Label Studio's own screen does not tell."""

import html
from typing import Any

from prelabel.server.projects import KINDS
from prelabel.server.service import Service

_TITLES = {
    "asked": "Tasks asked",
    "predicted": "Predicted",
    "empty": "Looked, found nothing",
    "failed": "Failed",
    "not_reached": "Not reached in time",
}

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere }
td.number, th.number { text-align: right }
.warn { border-left: 4px solid #d97706; padding: .3rem .8rem }
"""


def report(service: Service) -> dict[str, Any]:
    """All that the page shows."""
    return {
        **service.health(),
        "versions": service.versions(),
        "projects": service.projects.report(),
    }


def page(status: dict[str, Any]) -> str:
    """The page for people."""
    predictors = "".join(_predictor(what, one) for what, one in status["predictors"].items())
    projects = "".join(_project_row(project) for project in status["projects"])
    failures = "".join(
        _failure_row(project["project"], failure)
        for project in status["projects"]
        for failure in project["last_failures"]
    )
    columns = "".join(f'<th class="number">{title}</th>' for title in _TITLES.values())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>prelabel</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>
<h1>prelabel {_text(status["version"])}</h1>
{predictors}
<p>Model versions: {_text(", ".join(status["versions"]))}</p>
<h2>Projects since the start</h2>
<table><tr><th>Project</th>{columns}</tr>
{projects or '<tr><td colspan="6">Label Studio has asked for nothing yet.</td></tr>'}</table>
<h2>Last failures</h2>
<table><tr><th>Time</th><th>Project</th><th>Task</th><th>Reason</th><th>Request</th></tr>
{failures or '<tr><td colspan="5">None.</td></tr>'}</table>
</body></html>"""


def _predictor(what: str, health: dict[str, Any]) -> str:
    loaded = "loaded" if health.get("loaded") else "loads with the first prediction"
    device = _text(health.get("device", "cpu"))
    line = f"<p>{what.capitalize()}: <b>{_text(health['name'])}</b> on {device}, {loaded}.</p>"
    reason = health.get("reason")
    return line + (f'<p class="warn">{_text(reason)}</p>' if reason else "")


def _project_row(project: dict[str, Any]) -> str:
    counts = "".join(f'<td class="number">{project[kind]}</td>' for kind in ("asked", *KINDS))
    return f"<tr><td>{_text(project['project'])}</td>{counts}</tr>"


def _failure_row(project: str, failure: dict[str, str]) -> str:
    cells = (failure["time"], project, failure["task"], failure["reason"], failure["request_id"])
    return "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"


def _text(value: object) -> str:
    return html.escape(str(value))
