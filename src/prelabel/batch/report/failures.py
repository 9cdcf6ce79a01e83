"""The report's failures: by what went wrong, then task by task."""

from collections.abc import Sequence
from dataclasses import dataclass

from prelabel.batch.report.markup import cell, head, number_cell, table, task_links, text
from prelabel.batch.summary import RunSummary
from prelabel.batch.words import counted
from prelabel.store.journal import Failed

MOST_REASONS = 30
"""Reasons that get a row of their own."""
TASKS_PER_REASON = 5
"""Tasks that are named beside a reason."""
MOST_TASKS = 1000
"""Tasks in the list of all."""
_LONGEST_REASON = 600  # characters; an address within may be of any length


@dataclass(frozen=True, slots=True)
class Reason:
    """What several tasks failed of.

    Attributes:
        words: Why, and what to do.
        retry: Whether the same may succeed later without anyone acting.
        task_ids: The tasks, in the order of their failures.
    """

    words: str
    retry: bool
    task_ids: tuple[int, ...]


def reasons(failures: Sequence[Failed]) -> list[Reason]:
    """The failures by reason, the most frequent first.

    A reason begins with what it is about, which differs from task to task; tasks belong together
    where the rest is the same.
    """
    tasks: dict[tuple[str, bool], list[int]] = {}
    for failure in failures:
        _, colon, rest = failure.reason.partition(": ")
        words = rest[:1].upper() + rest[1:] if colon else failure.reason
        tasks.setdefault((_shortened(words), failure.retry), []).append(failure.task_id)
    found = [Reason(words, retry, tuple(ids)) for (words, retry), ids in tasks.items()]
    return sorted(found, key=lambda reason: -len(reason.task_ids))


def failures_section(summary: RunSummary) -> str:
    """What failed and why; "" where nothing did."""
    if not summary.counts.failed:
        return ""
    found = reasons(summary.failures)
    rows = [_row(summary, reason) for reason in found[:MOST_REASONS]]
    heads = [head("Tasks", number=True), head("Why, and what to do"), head("For example")]
    untold = len(found) - MOST_REASONS
    more = f"<p>And {counted(untold, 'further reason')}.</p>" if untold > 0 else ""
    return (
        '<h2 id="failures">Failures</h2>'
        f"<p>{counted(summary.counts.failed, 'task')} got no prediction. They did not stop the "
        "others, and nothing was stored for them.</p>"
        + table("By reason", heads, rows)
        + more
        + _each(summary)
    )


def _row(summary: RunSummary, reason: Reason) -> str:
    count, shown = len(reason.task_ids), reason.task_ids[:TASKS_PER_REASON]
    again = '<br><span class="faint">It may succeed later by itself.</span>' if reason.retry else ""
    more = f" and {count - len(shown):,} more" if count > len(shown) else ""
    return (
        f"<tr>{number_cell(f'{count:,}')}<td>{text(reason.words)}{again}</td>"
        f"<td>{task_links(summary, shown)}{more}</td></tr>"
    )


def _each(summary: RunSummary) -> str:
    """Every failure, folded away."""
    shown = summary.failures[:MOST_TASKS]
    rows = [
        f"<tr><td>{task_links(summary, [failure.task_id])}</td>{cell(failure.kind)}"
        f"{cell(_shortened(failure.reason))}</tr>"
        for failure in shown
    ]
    told = len(shown)
    title = (
        f"Each of {counted(told, 'task')}"
        if told >= summary.counts.failed
        else f"{told:,} of {counted(summary.counts.failed, 'task')}"
    )
    heads = [head("Task"), head("Kind"), head("Reason")]
    return (
        f"<details><summary>{title}</summary>{_kinds(summary)}"
        f"{table('By task', heads, rows)}</details>"
    )


def _kinds(summary: RunSummary) -> str:
    kinds = sorted(summary.failure_kinds.items(), key=lambda kind: -kind[1])
    words = ", ".join(f"{text(kind)} {count:,}" for kind, count in kinds)
    return f"<p>Of all: {words}.</p>" if words else ""


def _shortened(words: str) -> str:
    return words if len(words) <= _LONGEST_REASON else words[: _LONGEST_REASON - 1] + "…"
