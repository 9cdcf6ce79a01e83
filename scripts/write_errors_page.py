#!/usr/bin/env python3
"""Write the table of errors into docs/errors.md, from the errors themselves."""

import inspect
from pathlib import Path

from prelabel import errors
from prelabel.errors import CONSEQUENCES, PrelabelError

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
BEGIN = "<!-- errors: written by scripts/write_errors_page.py -->\n"
END = "<!-- end of errors -->"

WHO_ACTS: dict[type[PrelabelError], str] = {
    errors.OperatorError: "Whoever runs prelabel",
    errors.CallerError: "Whoever sent the request or typed the command",
    errors.TaskError: "Whoever looks after the project's images",
    errors.ModelError: "Nobody at first: it is the model, on this input",
    errors.LabelStudioError: "Whoever runs Label Studio, or set its address and token",
}
"""The five kinds, by who must act, in the order of the page."""


def tables() -> str:
    """A section with a table for each kind, its own errors below it."""
    return "\n".join(_section(kind, who) for kind, who in WHO_ACTS.items())


def with_tables(page: str) -> str:
    """A page with the tables between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + tables() + END + after


def _section(kind: type[PrelabelError], who: str) -> str:
    lines = [
        f"## {who}",
        "",
        "| error | when | HTTP status | exit code | tried again |",
        "|---|---|---|---|---|",
    ]
    for one, row in CONSEQUENCES.items():
        if issubclass(one, kind):
            when = " ".join((inspect.getdoc(one) or "").split())
            again = "yes" if row.retry else "no"
            lines.append(
                f"| `{one.__name__}` | {when} | {row.http_status} | {row.exit_code} | {again} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text("utf-8")), "utf-8")
