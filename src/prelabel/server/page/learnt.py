"""The section on what was learnt: how well each version finds hidden frames, by project."""

from collections.abc import Sequence
from typing import Any

from prelabel.batch.report.markup import cell, head, number_cell, table, text

WAYS = {"learner": "learner", "linear": "linear interpolation", "nearest": "nearest frame copied"}
"""What finds hidden frames again, in the order of the legend."""

MOST_VERSIONS = 20
"""Versions that a plot shows, the latest."""

_LEFT, _RIGHT, _TOP, _BELOW = 42, 12, 10, 20  # room around the curves, px
_WIDTH, _HEIGHT = 430, 130  # of the curves' own room, px
_GRID = (0.0, 0.25, 0.5, 0.75, 1.0)


def learnt_section(status: dict[str, Any]) -> str:
    """A plot and its numbers for each project that has a learner."""
    if not status["learnt"]:
        body = "<p>Nothing yet. What people annotate is carried to the frames between.</p>"
    else:
        body = (
            "<p>Annotated frames are hidden in turn and found again by the others. Mean IoU of "
            "the learner, and for comparison of two plain ways; 1 is exact.</p>"
            f'<div class="plots">{"".join(map(_project, status["learnt"]))}</div>'
        )
    return (
        '<section id="learnt" aria-labelledby="learnt-title">'
        f'<h2 id="learnt-title">Learnt from annotations</h2>{body}</section>'
    )


def _project(one: dict[str, Any]) -> str:
    name = text(one["project"])
    versions = one["versions"]
    active = next((v["version"] for v in versions if v["active"]), None)
    says = f"version {active} answers" if active is not None else "no version answers"
    shown = versions[:MOST_VERSIONS][::-1]
    heads = [head("Version"), head("Learnt"), head("Annotated tasks", number=True)]
    heads += [head(way.capitalize(), number=True) for way in WAYS.values()]
    return (
        f'<figure id="learnt-{name}"><figcaption>Project {name}: {says}</figcaption>'
        f"{_plot(shown, name)}{_legend()}"
        f'<details id="versions-{name}"><summary>All figures</summary>'
        f"{table('Mean IoU by version', heads, map(_row, versions))}"
        "</details></figure>"
    )


def _row(version: dict[str, Any]) -> str:
    about = "answers" if version["active"] else version["status"]
    moment = version["created"][:16].replace("T", " ")
    return (
        f'<tr><th scope="row">{version["version"]} <span class="faint">{text(about)}</span></th>'
        f"{cell(f'{moment} UTC')}{number_cell(version['annotated_tasks'])}"
        + "".join(number_cell(_number(version["mean_iou"][way])) for way in WAYS)
        + "</tr>"
    )


def _plot(versions: Sequence[dict[str, Any]], project: str) -> str:
    """Curves over versions, oldest first; a version without figures leaves a gap."""
    places = [_x(index, len(versions)) for index in range(len(versions))]
    curves = "".join(
        _curve(way, [(x, v["mean_iou"][way]) for x, v in zip(places, versions, strict=True)])
        for way in reversed(WAYS)  # the learner lies on top
    )
    every = -(-len(versions) // 10)
    ticks = "".join(
        f'<text x="{x:.1f}" y="{_TOP + _HEIGHT + 15}" text-anchor="middle">{v["version"]}</text>'
        for index, (x, v) in enumerate(zip(places, versions, strict=True))
        if index % every == 0
    )
    latest = versions[-1]
    said = ", ".join(f"{name} {_number(latest['mean_iou'][way])}" for way, name in WAYS.items())
    words = f"Mean IoU by version of project {project}; version {latest['version']}: {said}"
    return (
        f'<svg class="plot" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {_TOP + _HEIGHT + _BELOW}" '
        f'role="img" aria-label="{words}">{_grid()}{ticks}{curves}</svg>'
    )


def _grid() -> str:
    lines = (
        f'<path class="axis" d="M{_LEFT} {_y(iou):.1f}h{_WIDTH}"/>'
        f'<text x="{_LEFT - 6}" y="{_y(iou) + 4:.1f}" text-anchor="end">{iou:g}</text>'
        for iou in _GRID
    )
    return "".join(lines)


def _curve(way: str, points: Sequence[tuple[float, float | None]]) -> str:
    """One way's figures, with a dot for each that is known."""
    path, pen = "", "M"
    dots = ""
    for x, iou in points:
        if iou is None:
            pen = "M"
            continue
        path += f"{pen}{x:.1f} {_y(iou):.1f}"
        dots += f'<circle cx="{x:.1f}" cy="{_y(iou):.1f}" r="3"><title>{iou:.3f}</title></circle>'
        pen = "L"
    return f'<g class="{way}"><path d="{path}"/>{dots}</g>'


def _legend() -> str:
    keys = (
        f'<span><svg class="key" viewBox="0 0 24 8" aria-hidden="true"><g class="{way}">'
        f'<path d="M1 4H23"/><circle cx="12" cy="4" r="3"/></g></svg>{name}</span>'
        for way, name in WAYS.items()
    )
    return f'<p class="legend">{"".join(keys)}</p>'


def _x(index: int, count: int) -> float:
    inset = 14.0
    if count == 1:
        return _LEFT + _WIDTH / 2
    return _LEFT + inset + index * (_WIDTH - 2 * inset) / (count - 1)


def _y(iou: float) -> float:
    return _TOP + _HEIGHT * (1 - min(max(iou, 0.0), 1.0))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
