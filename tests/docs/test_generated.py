"""The pages that are written from the code say what the code says now."""

import inspect

import pytest

from prelabel import errors
from prelabel.errors import CONSEQUENCES, PrelabelError
from prelabel.settings import Settings

from .pages import REPOSITORY
from .scripts import script


def page(name):
    return (REPOSITORY / name).read_text("utf-8")


@pytest.mark.parametrize(("name", "settings"), script("write_settings_table").PAGES.items())
def test_the_tables_of_settings_are_up_to_date(name, settings):
    written = script("write_settings_table").with_table(page(name), settings)
    assert written == page(name), "run scripts/write_settings_table.py"


def test_the_page_of_commands_is_up_to_date():
    written = script("write_cli_page").with_sections(page("docs/cli.md"))
    assert written == page("docs/cli.md"), "run scripts/write_cli_page.py"


def test_the_page_of_errors_is_up_to_date():
    written = script("write_errors_page").with_tables(page("docs/errors.md"))
    assert written == page("docs/errors.md"), "run scripts/write_errors_page.py"


def test_every_setting_is_described_and_on_the_page():
    assert all(field.description for field in Settings.model_fields.values())
    assert set(script("write_settings_table").PAGES["docs/settings.md"]) == {*Settings.model_fields}


def test_every_error_is_on_the_page_once():
    named = [
        kind.__name__
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, PrelabelError) and kind is not PrelabelError
    ]
    text = page("docs/errors.md")
    assert {name: text.count(f"| `{name}` |") for name in named} == dict.fromkeys(named, 1)
    assert {kind.__name__ for kind in CONSEQUENCES} == set(named)


def test_what_help_says_of_options_is_on_the_page_of_commands():
    """As typer itself reads them, which is another way than the page's."""
    from typer.testing import CliRunner  # noqa: PLC0415

    from prelabel.cli import app  # noqa: PLC0415

    sections = page("docs/cli.md").split("\n## ")[1:]
    for typed, _ in script("write_cli_page").commands():
        (section,) = [one for one in sections if one.partition("\n")[0] == typed]
        words = [*typed.split()[1:], "--help"]
        said = CliRunner().invoke(app, words, env={"COLUMNS": "200"}).output
        options = {word.strip(",") for word in said.split() if word.startswith("--")}
        written = {word.strip("`,[]|") for word in section.split()}
        assert {one for one in options if one.startswith("--")} - {"--help"} <= written, typed
