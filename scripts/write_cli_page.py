#!/usr/bin/env python3
"""Write the commands into docs/cli.md, from the commands themselves."""

import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.models import ArgumentInfo, OptionInfo

from prelabel.cli import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
BEGIN = "<!-- commands: written by scripts/write_cli_page.py -->\n"
END = "<!-- end of commands -->"


@dataclass(frozen=True, slots=True)
class Given:
    """What may be typed behind a command.

    Attributes:
        names: The option's names, `--long` first; of an argument what stands for it.
        values: What an option takes, for people; "" for a switch.
        default: What counts where it is left out, as Markdown.
        said: Its help.
    """

    names: tuple[str, ...]
    values: str
    default: str
    said: str

    def row(self) -> str:
        """Its row of the table."""
        takes = f" {self.values}" if self.values else ""
        shown = ", ".join(f"`{name}{takes}`" for name in self.names)
        return "| " + " | ".join((shown, self.default, self.said.replace("|", "\\|"))) + " |"


def commands(group: typer.Typer = app, typed: str = "prelabel") -> Iterator[tuple[str, Any]]:
    """What is typed for each command, and the function that does it, in the order of `--help`."""
    for command in group.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        yield f"{typed} {name}", command.callback
    for below in group.registered_groups:
        assert below.typer_instance is not None
        yield from commands(below.typer_instance, f"{typed} {below.name}")


def given_to(command: Callable[..., Any]) -> Iterator[Given]:
    """The arguments and options of a command, in their order."""
    hints = typing.get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        kind, *extras = typing.get_args(hints[name]) or (hints[name],)
        told = next((one for one in extras if isinstance(one, OptionInfo | ArgumentInfo)), None)
        if told is not None:
            yield _given(name, kind, told, parameter.default)


def sections() -> str:
    """A section for each command: what it does, its arguments and its options."""
    return "\n".join(_section(typed, command) for typed, command in commands())


def with_sections(page: str) -> str:
    """A page with the sections between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + sections() + END + after


def _section(typed: str, command: Callable[..., Any]) -> str:
    lines = [f"## {typed}", "", inspect.getdoc(command) or "", ""]
    rows = [one.row() for one in given_to(command)]
    if rows:
        lines += ["| option | default | what it does |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _given(name: str, kind: Any, told: OptionInfo | ArgumentInfo, default: object) -> Given:
    if isinstance(told, ArgumentInfo):
        names: tuple[str, ...] = (told.metavar or name.upper(),)
        values = ""
    else:
        # In an Annotated, typer keeps the first of the names given to Option as its default.
        written = (told.default, *(told.param_decls or ()))
        names = tuple(one for one in written if isinstance(one, str) and one.startswith("-"))
        words = name.replace("_", "-")
        names = names or ((f"--{words}", f"--no-{words}") if kind is bool else (f"--{words}",))
        values = _values(kind)
    return Given(names, values, _default(default, told.envvar), told.help or "")


def _values(kind: Any) -> str:
    """What is typed for a value of a type: the choices where it has some, else a word."""
    if kind is bool:
        return ""
    if typing.get_origin(kind) is typing.Literal:
        return "\\|".join(typing.get_args(kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "\\|".join(str(one.value) for one in kind)
    inside = [one for one in typing.get_args(kind) if one is not types.NoneType]
    if inside:
        return _values(inside[0])
    return {int: "N", float: "NUMBER", Path: "PATH"}.get(kind, "TEXT")


def _default(default: object, variable: str | list[str] | None) -> str:
    words = [f"`{variable}`"] if variable else []
    if default is inspect.Parameter.empty:
        words.append("must be given")
    elif default is not None and default is not False and default != "":
        words.append(f"`{getattr(default, 'value', default)}`")
    return ", else ".join(words)


if __name__ == "__main__":
    PAGE.write_text(with_sections(PAGE.read_text("utf-8")), "utf-8")
