"""One transaction on the database, and what it means when there is none to be had."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from prelabel.errors import StoreUnavailable
from prelabel.store.text import said


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A connection whose work is committed at the end, or undone by an exception.

    Raises:
        StoreUnavailable: The database is locked, full or away.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except (DatabaseError, InterfaceError, NoFreeConnection) as error:
        if isinstance(error, DatabaseError) and not _is_of_the_database(error):
            raise
        raise StoreUnavailable(
            f"the database {engine.url.render_as_string(hide_password=True)}",
            f"does not answer ({said(error)})",
            "Check that its server runs and its disk has room, then try again.",
        ) from error


def _is_of_the_database(error: DatabaseError) -> bool:
    """Whether no other statement would do better: it is away, read-only or damaged."""
    # SQLite says of a damaged file no more than that it is an error.
    return isinstance(error, OperationalError | InternalError) or type(error) is DatabaseError
