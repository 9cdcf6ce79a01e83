"""The file of a SQLite database, which may be busy, or deleted or replaced while it is open.

A process may go on with a file that has lost its name, and all that it writes is then gone with
it. So whoever asks for a connection is told.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from prelabel.errors import StoreUnavailable

_PRIMARY_CODE = 0xFF
"""The part of SQLite's error codes that says of what kind an error is."""

_LOG_BYTES = 64 * 1024 * 1024
"""The log beside the file is cut to this once it is copied; else it keeps its largest size."""


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process holds what was asked for."""
    code = getattr(error, "sqlite_errorcode", 0)
    return bool(code & _PRIMARY_CODE == sqlite3.SQLITE_BUSY)


def watch_over(engine: Engine) -> None:
    """Refuse connections of an engine once its file is no longer the one that was opened first.

    They raise `StoreUnavailable` then. A file that comes back, as after a disk was mounted again,
    is gone on with. An engine in memory has no file, and nothing is watched.

    Args:
        engine: Of SQLite, without connections yet.
    """
    name = engine.url.database
    if not name or name == ":memory:" or name.startswith("file:"):
        return
    watched = _Watched(engine, Path(name).absolute())
    event.listen(engine, "do_connect", watched.before)
    event.listen(engine, "connect", watched.opened)
    event.listen(engine, "engine_connect", watched.asked)


class _Watched:
    """One file, as it was when it was opened first."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._named = engine.url.render_as_string(hide_password=True)
        self._path = path
        self._first: os.stat_result | None = None

    def before(self, *_: object) -> None:
        """A connection is to be opened: SQLite would make a file that is missing."""
        self._check()

    def opened(self, connection: Any, _record: object) -> None:
        """A connection was opened."""
        connection.execute(f"PRAGMA journal_size_limit={_LOG_BYTES}").close()
        if self._first is None:
            self._first = self._path.stat()

    def asked(self, connection: Connection) -> None:
        """A connection that is open already is to be used."""
        try:
            self._check()
        except StoreUnavailable:
            # Back to the others, not shut: SQLite's last one deletes the log by its name, and
            # that may be the log of the file that is there now.
            connection.close()
            raise

    def _check(self) -> None:
        if self._first is None:
            return
        try:
            is_same = os.path.samestat(self._path.stat(), self._first)
        except OSError:
            is_same = False
        if not is_same:
            raise StoreUnavailable(
                f"the database {self._named}",
                "was deleted or replaced while it was open",
                "Put its file back, or restart prelabel to go on with what is there now.",
            )
