"""Where settings come from: flag > environment > `.env` > `prelabel.toml` > default."""

import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, ValidationError

from prelabel.errors import SettingsError
from prelabel.settings.fields import Settings
from prelabel.settings.proxies import require_usable_proxies


def load(**flags: Any) -> Settings:
    """Read the settings; flags that are not None go before every other source.

    Raises:
        SettingsError: A value cannot be used; the message names the setting.
    """
    require_usable_proxies()
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        place = "the option" if name in given else "it in the environment, .env or prelabel.toml"
        cause = first["msg"].removeprefix("Value error, ")
        raise SettingsError(name.upper(), cause, f"Correct {place}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        step = "Correct it, and save it as UTF-8 without a byte order mark."
        raise SettingsError(_unreadable(), f"cannot be read ({error})", step) from error
    except PermissionError as error:
        step = "Let the user that prelabel runs as read it, or remove it."
        cause = f"cannot be read ({error.strerror})"
        raise SettingsError(error.filename, cause, step) from error


def _unreadable() -> str:
    """Which of the two files is no text in UTF-8, or else no TOML."""
    try:
        Path(".env").read_text("utf-8")
    except UnicodeDecodeError:
        return ".env"
    except OSError:
        pass
    return "prelabel.toml"


def known_names() -> frozenset[str]:
    """All names, in upper case, by which a setting may be given."""
    names = set(Settings.model_fields)
    for field in Settings.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            names |= {name for name in field.validation_alias.choices if isinstance(name, str)}
    return frozenset(name.upper() for name in names)


def given_names() -> frozenset[str]:
    """All names, in upper case, that the environment, `.env` and `prelabel.toml` give."""
    from dotenv import dotenv_values  # noqa: PLC0415 - as pydantic-settings does: few have a .env

    toml = Path("prelabel.toml")
    names = [*os.environ]
    # `load` is where it is an error that one cannot be read.
    with suppress(tomllib.TOMLDecodeError, UnicodeDecodeError, OSError):
        names += tomllib.loads(toml.read_text("utf-8")) if toml.is_file() else ()
    with suppress(UnicodeDecodeError, OSError):
        names += dotenv_values(".env")
    return frozenset(name.upper() for name in names)


def hand_down(settings: Mapping[str, Any]) -> None:
    """Write values into the environment, for worker processes that read it anew."""
    for name, value in settings.items():
        if value is not None:
            os.environ[name.upper()] = str(value)
