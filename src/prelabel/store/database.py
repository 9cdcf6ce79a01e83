"""The database: a SQLite file by default, PostgreSQL where an address is given.

Each table stands in the module of the class that uses it; `metadata` knows them all. A database
says by which layout its tables were made, so that no version of prelabel writes into tables that
it does not know.
"""

import sqlite3
import time
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from prelabel.errors import MissingPackage, SettingsError
from prelabel.store.sqlite_file import is_busy, watch_over
from prelabel.store.text import said

Database: TypeAlias = Engine
metadata = MetaData()

LAYOUT = 1
"""The layout of the tables. Whoever changes a table that is in use raises it, and has
`open_database` bring a database of the layout before to the new one."""

_layout = Table("layout", metadata, Column("number", Integer, primary_key=True))

_BUSY_S = 10.0
"""How long SQLite waits for another process that writes."""

_AGAIN_S = 0.02

_MAKES_TABLES = 7_735_235
"""The number of the lock in PostgreSQL that whoever makes tables holds."""


def open_database(url: str, folder: Path) -> Engine:
    """Open the database and make the tables it lacks.

    Args:
        url: Where it is, as SQLAlchemy writes addresses; "" for `folder`/prelabel.db.
        folder: Where the SQLite file lies; made where it is missing.

    Raises:
        SettingsError: The address cannot be used, the folder or the server cannot be reached, or
            a newer prelabel has laid the tables out anew.
        MissingPackage: The driver for this kind of database is not installed.
    """
    address = url or f"sqlite:///{folder / 'prelabel.db'}"
    try:
        if not url:
            folder.mkdir(parents=True, exist_ok=True)
        engine = create_engine(address, **_options(address))
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            watch_over(engine)
        try:
            _make_tables(engine)
        except BaseException:
            engine.dispose()
            raise
    except ModuleNotFoundError as error:
        raise MissingPackage(
            str(error.name), "the driver of this database is not installed", _install(address)
        ) from error
    except (ArgumentError, DBAPIError, OSError) as error:
        reason = said(error)
        raise SettingsError(
            "DATABASE_URL" if url else str(folder),
            f"the database cannot be opened ({reason})",
            _mend(address, reason, is_file=not url),
        ) from error
    return engine


def _mend(address: str, reason: str, *, is_file: bool) -> str:
    if not is_file:
        return "Check the address and the server."
    if "not a database" in reason or "malformed" in reason:
        file = make_url(address).database
        return f"Put a backup in the place of {file}, or move it away to begin with an empty one."
    if "locked" in reason:
        return "End the program that holds it, such as a shell of sqlite3, and start again."
    if any(sign in reason for sign in ("full", "No space", "disk I/O")):
        return "Make room on that disk, or set DATA_DIR to a folder on another."
    return "Set DATA_DIR to a writable folder."


def _make_tables(engine: Engine) -> None:
    """Make the tables that are missing, all or none; others who would do the same wait."""
    with engine.begin() as connection:
        if not set(metadata.tables) <= set(inspect(connection).get_table_names()):
            if engine.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_MAKES_TABLES)))
            else:  # on its own, Python's driver begins no transaction before such statements
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            metadata.create_all(connection)
        _check_layout(connection)


def _check_layout(connection: Connection) -> None:
    """Refuse a database that is laid out for a newer prelabel; mark one that is new."""
    number = connection.scalar(select(func.max(_layout.c.number)))
    if number is None:
        connection.execute(
            insert(_layout).prefix_with("OR IGNORE", dialect="sqlite"), {"number": LAYOUT}
        )
    elif number > LAYOUT:
        raise SettingsError(
            f"the database {connection.engine.url.render_as_string(hide_password=True)}",
            f"was laid out by a newer prelabel ({number}; this one knows {LAYOUT})",
            "Install that version again, or use another DATA_DIR or DATABASE_URL.",
        )


def _options(address: str) -> dict[str, Any]:
    if make_url(address).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": _BUSY_S}}
    given: dict[str, Any] = {"connect_timeout": 5}
    if make_url(address).get_driver_name() == "psycopg":
        given["client_encoding"] = "utf8"  # of a SQL_ASCII database it gives bytes otherwise
    return {"pool_pre_ping": True, "connect_args": given}


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Readers do not wait for a writer, and what is committed survives a power cut."""
    cursor = connection.cursor()
    deadline = time.monotonic() + _BUSY_S
    while not _has_log(cursor):
        if time.monotonic() > deadline:
            raise sqlite3.OperationalError("other processes keep the database locked")
        time.sleep(_AGAIN_S)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _has_log(cursor: sqlite3.Cursor) -> bool:
    """Have changes written ahead; False where another does the same with a file that is new.

    For this one statement SQLite does not wait, whatever the timeout.
    """
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if not is_busy(error):
            raise
        return False
    return True


def _install(address: str) -> str:
    kind = make_url(address).get_backend_name()
    package = {"postgresql": "psycopg[binary]"}.get(kind, kind)
    return f"Install it: pip install '{package}'."
