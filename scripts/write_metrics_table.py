#!/usr/bin/env python3
"""Write the table of metrics into docs/metrics.md, from the metrics themselves."""

from pathlib import Path

from prelabel.media.cache import CacheCounts
from prelabel.media.room import ImageRoom
from prelabel.runtime.memory import MemoryCounts
from prelabel.server.admission import Admission
from prelabel.server.gauges import (
    OfAdmission,
    OfCache,
    OfMachine,
    OfMemory,
    OfPredictors,
    OfRecords,
    OfRoom,
    OfState,
)
from prelabel.server.metrics import Metrics
from prelabel.server.records import Recorded, Records

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
BEGIN = "<!-- metrics: written by scripts/write_metrics_table.py -->\n"
END = "<!-- end of metrics -->"


def table() -> str:
    """All series as a Markdown table, sorted by name."""
    metrics = Metrics()
    metrics.watch(OfCache(lambda: CacheCounts(0, 0, 0, 0)))
    metrics.watch(OfPredictors({}))
    metrics.watch(OfAdmission(Admission().occupancy))
    metrics.watch(OfMachine(Path()))
    metrics.watch(OfMemory(MemoryCounts))
    metrics.watch(OfRoom(ImageRoom(0)))
    metrics.watch(OfState(str))
    records = Records(Recorded)
    metrics.watch(OfRecords(records))
    rows = [
        f"| `{one.name}{'_total' if one.type == 'counter' else ''}` | {one.type} "
        f"| {one.documentation} |"
        for one in sorted(metrics.families(), key=lambda one: one.name)
    ]
    records.close()
    return "\n".join(["| series | kind | what it says |", "|---|---|---|", *rows]) + "\n"


def with_table(page: str) -> str:
    """A page with the table between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
