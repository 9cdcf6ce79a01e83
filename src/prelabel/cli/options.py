"""Options that several commands have, each written once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from prelabel.errors import SettingsError
    from prelabel.settings import Settings

LabelStudioUrl = Annotated[
    str | None,
    typer.Option("--url", help="Label Studio (default: LABEL_STUDIO_URL, else localhost:8080)."),
]
ServedUrl = Annotated[
    str | None,
    typer.Option(
        "--url", help="Label Studio, as the server is told it (default: LABEL_STUDIO_URL)."
    ),
]
Token = Annotated[
    str | None,
    typer.Option("--token", help="A token of any kind (default: LABEL_STUDIO_API_KEY)."),
]
ProjectId = Annotated[
    int | None, typer.Option("--project", help="Id of a project in Label Studio.")
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--label-config", help="The label config of that file.", exists=True, dir_okay=False
    ),
]

Executable = Annotated[
    Path | None,
    typer.Option(help="The label-studio program.", envvar="LABEL_STUDIO_EXECUTABLE"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def ready(**flags: Any) -> "Settings":
    """The settings, with what was typed; the log is as they have it from now on.

    Args:
        flags: Settings by their names; None where nothing was typed.

    Raises:
        SettingsError: They cannot be read.
    """
    from prelabel.logs import configure
    from prelabel.settings import load

    settings = load(**flags)
    configure(settings.log_level, settings.log_format)
    return settings


def text_of(file: Path) -> str:
    """The text of a file that an option names, such as a label config.

    Raises:
        SettingsError: It cannot be read, or is no text.
    """
    from prelabel.errors import SettingsError

    try:
        return file.read_text(encoding="utf-8-sig")  # Windows' editors put a mark in front
    except UnicodeDecodeError as error:
        raise SettingsError(str(file), "is no text in UTF-8", "Save it as UTF-8.") from error
    except OSError as error:
        raise _unreadable(file, error) from error


def label_config_of(file: Path) -> str:
    """The label config in a file that an option names.

    Raises:
        SettingsError: It cannot be read, or is none.
    """
    from prelabel.errors import InvalidRequest, SettingsError
    from prelabel.labelstudio.config import parse

    xml = text_of(file)
    try:
        parse(xml)
    except InvalidRequest as error:
        raise SettingsError(str(file), error.cause, "Correct it, or name another file.") from error
    return xml


def bytes_of(file: Path) -> bytes:
    """The bytes of a file that an option names, such as a picture.

    Raises:
        SettingsError: It cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> "SettingsError":
    from prelabel.errors import SettingsError

    cause = f"cannot be read ({error.strerror or error})"
    return SettingsError(str(file), cause, "Name a file that you may read.")
