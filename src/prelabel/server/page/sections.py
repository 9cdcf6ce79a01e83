"""Sections of the status page: predictors, jobs, projects, failures."""

from typing import Any

from prelabel.batch.report.markup import head, number_cell, table, text
from prelabel.server.projects import NONE_GIVEN

_COUNTS = {
    "asked": "Asked",
    "predicted": "Predicted",
    "empty": "Found nothing",
    "failed": "Failed",
    "not_reached": "Not reached",
}
MOST_JOBS = 15
"""Jobs that the page shows; what is under way is always among them, unless it is more."""

MOST_PROJECTS = 50
"""Projects that the page shows: those asked for last. `/status` has all."""

_PRIORITIES = {"person": "people", "bulk": "bulk requests", "background": "background jobs"}
_TONES = {"done": "good", "failed": "bad", "running": "busy", "queued": "", "cancelled": ""}


def predictors_section(status: dict[str, Any]) -> str:
    """Which model answers on which device, and what waits for it."""
    rows = [_predictor(finds, one) for finds, one in status["predictors"].items()]
    heads = (head("Finds"), head("Model"), head("Device"), head("State"), head("Waiting"))
    reasons = "".join(
        f'<p class="notice warn">{text(one["reason"])}</p>'
        for one in status["predictors"].values()
        if one.get("reason")
    )
    if status["status"] == "degraded":
        reasons = f'<p class="notice bad">{text(status["reason"])}</p>' + reasons
    return _section("predictors", "Models", reasons + table("What answers", heads, rows))


def _predictor(finds: str, one: dict[str, Any]) -> str:
    state = "loaded" if one.get("loaded") else "loads with the first prediction"
    if one.get("reason"):
        state += ", as a second choice"
    cells = {
        "Finds": finds.capitalize(),
        "Model": one["name"],
        "Device": one.get("device", "cpu"),
        "State": state,
        "Waiting": _waiting(one),
    }
    shown = "".join(_cell(name, text(value)) for name, value in cells.items())
    return _row(f"predictor-{finds}", shown)


def _waiting(one: dict[str, Any]) -> str:
    if "queue" not in one:
        return "no queue"
    waits = [f"{n:,} for {_PRIORITIES.get(who, who)}" for who, n in one["queue"].items() if n]
    if not waits:
        return "at work" if one["batches_running"] else "nothing"
    return f"{', '.join(waits)}; the first for {one['oldest_s']:.1f} s"


def jobs_section(status: dict[str, Any]) -> str:
    """What runs in the background, with a button to stop it."""
    if not status["jobs"]:
        return _section(
            "jobs", "Jobs", "<p>None yet: annotate frames of a sequence, then Start Training.</p>"
        )
    heads = [head(title) for title in ("Asked", "What", "Project", "Status", "How it goes")]
    hidden = '<th scope="col"><span class="unseen">Cancel</span></th>'
    first = sorted(status["jobs"], key=lambda job: not job["can_cancel"])[:MOST_JOBS]
    rows = [_job(job, status["label_studio"]) for job in first]
    caption = "What is under way, then the latest"
    return _section("jobs", "Jobs", table(caption, (*heads, hidden), rows))


def _job(job: dict[str, Any], label_studio: str) -> str:
    tone = _TONES.get(job["status"], "")
    share = round(100 * job["progress"])
    bar = ""
    if job["status"] == "running":
        name = text(f"{job['kind']} of project {job['project']}")
        bar = f'<progress max="100" value="{share}" aria-label="{name}"></progress> {share} % '
    button = ""
    if job["can_cancel"]:
        button = (
            f'<form method="post" action="?cancel={text(job["job"])}" '
            f'data-job="{text(job["job"])}"><button>Cancel</button></form>'
        )
    said = text(job["message"])
    if job["reasons"]:
        said += f"<br>Such as {text(job['reasons'][0])} The next Retrieve Predictions tries again."
    return _row(
        f"job-{job['job']}",
        _cell("Asked", _time(job["created"]))
        + _cell("What", text(job["kind"]))
        + _cell("Project", _project_link(job["project"], label_studio))
        + _cell("Status", f'<span class="tag {tone}">{text(job["status"])}</span>')
        + f'<td class="wide" data-head="How it goes"><span>{bar}{said}</span></td>'
        + f"<td>{button}</td>",
    )


def projects_section(status: dict[str, Any]) -> str:
    """What Label Studio asked for, and what became of it."""
    # Where a request named none, or could not be read, there may be failures and nothing else.
    known = [one for one in status["projects"] if one["asked"] or one["project"] != NONE_GIVEN]
    if not known:
        return _section(
            "projects", "Projects", "<p>Label Studio has asked for nothing since the start.</p>"
        )
    heads = (head("Project"), *(head(title, number=True) for title in _COUNTS.values()))
    shown = known[:MOST_PROJECTS]
    rows = [_project(one, status["label_studio"]) for one in shown]
    reasons = "".join(_reasons(one) for one in shown if one["reasons"])
    caption = "Tasks since the start, by what was answered; jobs bring further predictions later"
    return _section("projects", "Projects", table(caption, heads, rows) + reasons)


def _project(one: dict[str, Any], label_studio: str) -> str:
    counts = "".join(number_cell(f"{one[kind]:,}") for kind in _COUNTS)
    name = f'<th scope="row">{_project_link(one["project"], label_studio)}</th>'
    return _row(f"project-{one['project']}", name + counts)


def _reasons(one: dict[str, Any]) -> str:
    rows = "".join(
        f'<li><span class="count">{reason["tasks"]:,} {text(reason["kind"])}</span>'
        f"<br>{text(reason['example'])}</li>"
        for reason in one["reasons"]
    )
    total = sum(reason["tasks"] for reason in one["reasons"])
    return (
        f'<details id="reasons-{text(one["project"])}"><summary>Why <span class="count">{total:,}'
        f"</span> tasks of project {text(one['project'])} were answered without a prediction"
        "</summary>"
        f"<ul>{rows}</ul></details>"
    )


def failures_section(status: dict[str, Any]) -> str:
    """The last tasks that got no prediction."""
    if not status["failures"]:
        return _section("failures", "Last errors", "<p>None.</p>")
    heads = [head(title) for title in ("Time", "Project", "Task", "Reason", "Request")]
    rows = [_failure(one, status["label_studio"]) for one in status["failures"]]
    return _section("failures", "Last errors", table("The latest first", heads, rows))


def _failure(one: dict[str, Any], label_studio: str) -> str:
    task = text(one["task"])
    if label_studio and one["task_id"] is not None and _is_number(one["project"]):
        place = f"{label_studio}/projects/{one['project']}/data?task={one['task_id']}"
        task = f'<a href="{text(place)}">{task}</a>'
    request = f"<code>{text(one['request_id'])}</code>"
    return (
        f"<tr>{_cell('Time', _time(one['time']))}"
        f"{_cell('Project', _project_link(one['project'], label_studio))}{_cell('Task', task)}"
        f'<td class="wide" data-head="Reason"><span>{text(one["reason"])}</span></td>'
        f"{_cell('Request', request)}</tr>"
    )


def _project_link(project: str, label_studio: str) -> str:
    if not label_studio or not _is_number(project):
        return text(project)
    place = f"{label_studio}/projects/{project}/data"
    return f'<a href="{text(place)}">{text(project)}</a>'


def _is_number(project: str) -> bool:
    """Whether it is a project of Label Studio's; others cannot be linked to."""
    return project.isascii() and project.isdigit()


def _cell(title: str, shown: str) -> str:
    """A cell of markup, with the head of its column for where columns have no room."""
    return f'<td data-head="{title}">{shown}</td>'


def _time(moment: str) -> str:
    """A moment as the server writes it; the script shows it in the reader's own time."""
    shown = moment[:19].replace("T", " ")
    return f'<time datetime="{text(moment)}">{text(shown)} UTC</time>'


def _row(name: str, cells: str) -> str:
    return f'<tr id="{text(name)}">{cells}</tr>'


def _section(name: str, title: str, body: str) -> str:
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">'
        f'<h2 id="{name}-title">{title}</h2>{body}</section>'
    )
