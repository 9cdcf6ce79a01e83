"""What SQLite and PostgreSQL have in common beyond SQLAlchemy's words for all databases.

Only what SQLite needs is imported with it: the words of PostgreSQL are 2 MB.
"""

from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, Table, event, text
from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


def insert_into(engine: Engine, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that can say what becomes of a row that is there already."""
    if engine.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - its engine has loaded it

        return postgresql.insert(table)
    return sqlite.insert(table)


def one_row_where(condition: str, name: str, table: Table, *columns: str) -> None:
    """Have the database keep a table to one row of each value where a condition holds.

    An `Index` would take the condition for each kind of database, and load them all for that.

    Args:
        condition: In SQL that both databases read.
        name: Of the index that is made with the table.
        table: The table.
        columns: Whose values, taken together, may be there once.
    """
    index = f"CREATE UNIQUE INDEX {name} ON {table.name} ({', '.join(columns)}) WHERE {condition}"

    def make(_: Table, connection: Connection, **_how: object) -> None:
        connection.execute(text(index))

    event.listen(table, "after_create", make)
