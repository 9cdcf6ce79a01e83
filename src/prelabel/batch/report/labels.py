"""The report's labels: how many regions each has, how sure, and what a threshold would leave."""

from collections.abc import Callable, Iterable, Sequence

from prelabel.batch.report.charts import histogram
from prelabel.batch.report.markup import head, number_cell, table, text
from prelabel.batch.report.scores import Scored, by_label
from prelabel.batch.summary import RunSummary
from prelabel.batch.words import counted

FIRST_LABELS = 8
"""Labels that are shown at once, beside the groups of keypoints; the others are folded away."""
MOST_LABELS = 300
"""Labels that are folded away; of more, only the number is told."""
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

_ALL = "All labels"
_PERCENT = [percent / 100 for percent in range(101)]


def labels_section(summary: RunSummary) -> str:
    """Counts, histograms and thresholds; "" where nothing was found."""
    if not summary.labels:
        return ""
    found = by_label(summary)
    shown = [*found.alone[:FIRST_LABELS], *found.groups]
    others = [*found.alone[FIRST_LABELS:], *found.points]
    folded, untold = others[:MOST_LABELS], len(others) - MOST_LABELS
    more = f"<p>And {counted(untold, 'further label')}.</p>" if untold > 0 else ""
    return (
        '<h2 id="labels">Labels and scores</h2>'
        f"<p>{counted(sum(summary.labels.values()), 'region')} of "
        f"{counted(len(summary.labels), 'label')}. A histogram goes from score 0 to 1; its "
        "highest bar fills the height.</p>"
        + _slider()
        + _folding(_labels(shown), folded, _labels)
        + more
        + _thresholds([*found.alone, *found.groups], shown, folded)
    )


def _slider() -> str:
    """Moves the threshold; shown by the script alone, without which it would do nothing."""
    return (
        '<div class="slider" data-live hidden><label for="threshold">Try a threshold</label>'
        '<input type="range" id="threshold" min="0" max="100" step="1" value="50">'
        '<output for="threshold" id="chosen"></output></div>'
    )


def _labels(labels: Iterable[Scored]) -> str:
    heads = [
        head("Label"),
        head("Regions", number=True),
        '<th scope="col" class="number" data-live hidden>Kept</th>',
        head("Median score", number=True),
        head("Scores"),
    ]
    return table("Regions by label", heads, map(_label_row, labels))


def _label_row(label: Scored) -> str:
    median = "-" if label.median is None else f"{label.median:.2f}"
    chart = "no scores" if label.median is None else histogram(label)
    kept = ",".join(map(str, label.kept(_PERCENT)))
    return (
        f'<tr><th scope="row">{text(label.name)}</th>{number_cell(f"{label.count:,}")}'
        f'<td class="number" data-live data-kept="{kept}" hidden></td>'
        f'{number_cell(median)}<td class="wide">{chart}</td></tr>'
    )


def _thresholds(found: Sequence[Scored], shown: Sequence[Scored], folded: Sequence[Scored]) -> str:
    total = [sum(kept) for kept in zip(*(one.kept(THRESHOLDS) for one in found), strict=True)]
    all_row = _kept_row(_ALL, sum(label.count for label in found), total)

    def of(labels: Iterable[Scored], *first: str) -> str:
        heads = [
            head("Label"),
            head("All", number=True),
            *(head(f"≥ {threshold:g}", number=True) for threshold in THRESHOLDS),
        ]
        rows = [_kept_row(one.name, one.count, one.kept(THRESHOLDS)) for one in labels]
        return table("Regions that would be left", heads, [*first, *rows])

    return (
        "<h3>What higher thresholds would keep</h3>"
        "<p>To use one, write <code>model_score_threshold</code> (for keypoints "
        "<code>model_point_threshold</code>) into the label config and run again. What scored "
        "below the thresholds of this run was never proposed: lower ones need a new run.</p>"
        + _folding(of(shown, *([all_row] if len(found) > 1 else [])), folded, of)
    )


def _kept_row(name: str, count: int, kept: Iterable[int]) -> str:
    cells = "".join(number_cell(f"{number:,}") for number in (count, *kept))
    return f'<tr><th scope="row">{text(name)}</th>{cells}</tr>'


def _folding(shown: str, folded: Sequence[Scored], of: Callable[[Iterable[Scored]], str]) -> str:
    """A table, and the rest of it under a line to click."""
    if not folded:
        return shown
    title = counted(len(folded), "further label")
    return f"{shown}<details><summary>{title}</summary>{of(folded)}</details>"
