"""The report's stages: what each could do, how busy it was, and which one set the pace."""

from prelabel.batch.report.charts import bar
from prelabel.batch.report.markup import head, number_cell, table, text
from prelabel.batch.summary import RunSummary, Stage
from prelabel.batch.words import duration, rate

_TITLES = {
    "list": "List tasks",
    "fetch": "Fetch images",
    "decode": "Decode images",
    "predict": "Predict",
    "push": "Push predictions",
}
_FASTER = {
    "list": "Label Studio lists large projects slowly; a view or --start-task-id asks for less.",
    "fetch": "Raise FETCH_THREADS, or run prelabel closer to where the images are.",
    "decode": "More processor cores or smaller images make it faster.",
    "predict": "A GPU makes it faster, here (DEVICE, GROUNDING_DINO_DEVICE) or elsewhere "
    "(--backend), or a smaller model (MODE, GROUNDING_DINO_SHORT_EDGE).",
    "push": "Lower REQUEST_DELAY_SECONDS, or give Label Studio PostgreSQL instead of SQLite.",
}


def stages_section(summary: RunSummary) -> str:
    """Where the time went; "" where nothing was done."""
    if not any(stage.items for stage in summary.stages):
        return ""
    heads = [
        head("Stage"),
        head("Items", number=True),
        head("Workers", number=True),
        head("Time spent", number=True),
        head("Could do", number=True),
        '<th scope="col" colspan="2">Busy, of the run</th>',
    ]
    rows = [_row(stage, slowest=stage.name == summary.bottleneck) for stage in summary.stages]
    return (
        '<h2 id="pace">Where the time went</h2>'
        + _bottleneck(summary.bottleneck)
        + table("All stages work at the same time; time spent adds up their workers", heads, rows)
    )


def _bottleneck(name: str) -> str:
    if not name:
        return ""
    title = _TITLES.get(name, name)
    return f"<p><strong>{text(title)}</strong> set the pace. {text(_FASTER.get(name, ''))}</p>"


def _row(stage: Stage, *, slowest: bool) -> str:
    style = ' class="slowest"' if slowest else ""
    could = f"{rate(stage.rate)}/s" if stage.items else "-"
    return (
        f'<tr{style}><th scope="row">{text(_TITLES.get(stage.name, stage.name))}</th>'
        + number_cell(f"{stage.items:,}")
        + number_cell(stage.workers)
        + number_cell(duration(stage.busy_s))
        + number_cell(could)
        + number_cell(f"{stage.occupancy:.0%}")
        + f'<td class="bar">{bar(stage.occupancy)}</td></tr>'
    )
