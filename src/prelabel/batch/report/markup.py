"""What the sections of the report are made of: escaped text, links to tasks, tables."""

import html
from collections.abc import Iterable

from prelabel.batch.summary import RunSummary


def text(value: object) -> str:
    """Text as it may stand anywhere in the page; all that comes from outside passes here."""
    return html.escape(str(value))


def task_url(summary: RunSummary, task_id: int) -> str:
    """Where Label Studio shows a task; escaped, as an attribute wants it."""
    return text(f"{project_url(summary)}?task={task_id}")


def project_url(summary: RunSummary) -> str:
    """Where Label Studio shows the project."""
    return f"{summary.url.rstrip('/')}/projects/{summary.project}/data"


def task_links(summary: RunSummary, task_ids: Iterable[int]) -> str:
    """Tasks by number, each leading to Label Studio."""
    return ", ".join(f'<a href="{task_url(summary, one)}">{one}</a>' for one in task_ids)


def table(caption: str, heads: Iterable[str], rows: Iterable[str]) -> str:
    """A table that scrolls by itself where the window is narrow.

    Args:
        caption: What it shows, in plain text.
        heads: The heads of its columns, as `<th>` elements.
        rows: Its rows, as `<tr>` elements.
    """
    # It takes the focus, or whoever uses a keyboard could not scroll it.
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{text(caption)}">'
        f"<table><caption>{text(caption)}</caption><thead><tr>{''.join(heads)}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def head(title: str, *, number: bool = False) -> str:
    """The head of a column, from markup."""
    style = ' class="number"' if number else ""
    return f'<th scope="col"{style}>{title}</th>'


def cell(value: object) -> str:
    """A cell of text."""
    return f"<td>{text(value)}</td>"


def number_cell(value: object) -> str:
    """A cell of digits."""
    return f'<td class="number">{text(value)}</td>'
