"""Kinds of values that a setting may have, each with what it must be like."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def _require_address(entry: str) -> str:
    if entry != "*":  # uvicorn would take what is no address, and trust nobody
        ip_network(entry)
    return entry


def _require_folder(value: Path) -> Path:
    if not value.is_dir():
        raise ValueError(f"there is no folder {value}; mount it, or leave the setting out")
    return value


def _require_rate(value: str) -> str:
    if value:
        from limits import parse  # noqa: PLC0415 - only where a limit is set

        parse(value)
    return value


def _require_one_step(value: SecretStr) -> SecretStr:
    written = value.get_secret_value()
    step = written.strip("/")
    if "/" in step or (written and not step):
        raise ValueError("must be one step of a path, without a slash inside")
    return value


def _require_header(value: SecretStr) -> SecretStr:
    token = value.get_secret_value()
    if not token.isascii() or not token.isprintable():
        raise ValueError("must be plain ASCII on one line; it may end with a line break")
    return value


Words: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A list written with commas."""

Addresses: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(_require_address)], ...], NoDecode, BeforeValidator(_split)
]
"""Addresses and networks, written with commas; `*` for all."""

Folder: TypeAlias = Annotated[Path, AfterValidator(_require_folder)]
"""A folder that is there."""

Rate: TypeAlias = Annotated[str, AfterValidator(_require_rate)]
"""How often, in the words of the `limits` library; empty for no limit."""

Step: TypeAlias = Annotated[SecretStr, AfterValidator(_require_one_step)]
"""One secret step of a path."""

Token: TypeAlias = Annotated[SecretStr, AfterValidator(_require_header)]
"""A secret that is sent in a header."""
