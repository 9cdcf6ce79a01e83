"""The database: a SQLite file by default, PostgreSQL where an address is given.

Each table stands in the module of the class that uses it; `metadata` knows them all.
"""

from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Engine, MetaData, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from prelabel.errors import MissingPackage, SettingsError

Database: TypeAlias = Engine
metadata = MetaData()

_BUSY_S = 10.0
"""How long SQLite waits for another process that writes."""

_MAKES_TABLES = 7_735_235
"""The number of the lock in PostgreSQL that whoever makes tables holds."""


def open_database(url: str, folder: Path) -> Engine:
    """Open the database and make the tables it lacks.

    Args:
        url: Where it is, as SQLAlchemy writes addresses; "" for `folder`/prelabel.db.
        folder: Where the SQLite file lies; made where it is missing.

    Raises:
        SettingsError: The address cannot be used, or the folder or the server cannot be reached.
        MissingPackage: The driver for this kind of database is not installed.
    """
    address = url or f"sqlite:///{folder / 'prelabel.db'}"
    try:
        if not url:
            folder.mkdir(parents=True, exist_ok=True)
        engine = create_engine(address, **_options(address))
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
        _make_tables(engine)
    except ModuleNotFoundError as error:
        raise MissingPackage(
            str(error.name), "the driver of this database is not installed", _install(address)
        ) from error
    except (ArgumentError, DBAPIError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
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
    return "Set DATA_DIR to a writable folder."


def _make_tables(engine: Engine) -> None:
    """Make the tables that are missing; other processes may be doing the same."""
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_MAKES_TABLES)))
            metadata.create_all(connection)
        return
    try:
        metadata.create_all(engine)
    except DBAPIError:
        metadata.create_all(engine)


def _options(address: str) -> dict[str, Any]:
    if make_url(address).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": _BUSY_S}}
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 5}}


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Readers do not wait for a writer, and what is committed survives a power cut."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _install(address: str) -> str:
    kind = make_url(address).get_backend_name()
    package = {"postgresql": "psycopg[binary]"}.get(kind, kind)
    return f"Install it: pip install '{package}'."
