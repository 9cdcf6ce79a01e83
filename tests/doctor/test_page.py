"""The page on the doctor and the checks say the same."""

from pathlib import Path

from prelabel.doctor.checks import CHECKS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "doctor.md"


def row(check):
    """A row of the table, from a check and the first sentence of its docstring."""
    sentence = check.look.__doc__.partition("\n")[0].rstrip(".")
    return f"| {check.group} | {check.name} | {sentence[0].lower()}{sentence[1:]} |"


def test_the_table_names_each_check_with_what_it_looks_at():
    section = PAGE.read_text("utf-8").partition("\n## The checks\n")[2].partition("\n## ")[0]
    _head, _line, _settings, *rows = (line for line in section.splitlines() if line)
    assert rows == [row(check) for check in CHECKS]
