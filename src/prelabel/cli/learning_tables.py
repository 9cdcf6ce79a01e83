"""Trainings and learnt versions as people read them."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from prelabel.store.learned import LearnedVersion

_HIDDEN = {
    "leave_one_out": "Each annotated frame hidden in turn",
    "leave_a_gap_out": "Several annotated frames in a row hidden",
}
_WAYS = {"learner": "learner", "nearest": "nearest frame copied", "linear": "linear interpolation"}


def show_outcome(outcome: Mapping[str, Any], console: Console) -> None:
    """Print how a training went, or what is stored of it.

    Args:
        outcome: As `Training.train` gives it.
        console: Where to.
    """
    samples, required = outcome["sample_count"], outcome["required_samples"]
    lines = [
        f"{outcome['status']}: {outcome['message']}",
        f"annotated tasks: {outcome['annotated_tasks']}",
        f"samples of one label in one sequence: {samples} (needed: {required})",
        *(f"warning: {warning}" for warning in outcome["warnings"]),
    ]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    for hidden, title in _HIDDEN.items():
        if hidden in outcome["figures"]:
            console.print(_ways(title, outcome["figures"][hidden]))
    if outcome["figures"].get("reliability"):
        console.print(_reliability(outcome["figures"]["reliability"]))


def show_history(versions: Sequence[LearnedVersion], console: Console) -> None:
    """Print all versions of a project, newest first."""
    table = Table("version", "learnt", "answers", "annotated", "mean IoU", "outcome", box=None)
    for one in versions:
        table.add_row(
            str(one.version),
            f"{one.created:%Y-%m-%d %H:%M:%S} UTC",
            "yes" if one.active else "" if one.kept else "not kept",
            str(one.report.get("annotated_tasks", "")),
            _number(_iou_of(one.report)),
            str(one.report.get("status", "")),
        )
    console.print(table)


def as_json(version: LearnedVersion) -> dict[str, Any]:
    """One version for machines."""
    return {
        **version.report,
        "version": version.version,
        "created": version.created.isoformat(timespec="seconds"),
        "digest": version.digest,
        "active": version.active,
        "kept": version.kept,
    }


def _iou_of(report: Mapping[str, Any]) -> float | None:
    found: float | None = report["figures"]["leave_one_out"]["learner"]["mean_iou"]
    return found


def _ways(title: str, figures: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table(title, "", "found", "extra", "mean IoU", "centre off", "of diagonal")
    for way, name in _WAYS.items():
        one = figures[way]
        table.add_row(
            name,
            f"{one['found']} of {one['marks']}",
            str(one["extra"]),
            _number(one["mean_iou"]),
            _number(one["centre_error_px"], " px", 1),
            _number(one["centre_error_pct"], " %", 2),
        )
    return table


def _reliability(ranges: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("What its confidence is worth", "confidence", "answers", "mean", "mean IoU")
    for one in ranges:
        table.add_row(
            f"{one['from']:.1f} to {one['to']:.1f}",
            str(one["count"]),
            _number(one["mean_confidence"]),
            _number(one["mean_iou"]),
        )
    return table


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None)
    table.add_column(first, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _number(value: float | None, unit: str = "", digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}{unit}"
