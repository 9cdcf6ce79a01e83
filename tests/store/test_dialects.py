"""What SQLite and PostgreSQL share, and what is loaded for either."""

import subprocess
import sys

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, inspect
from sqlalchemy.exc import IntegrityError

from prelabel.store.dialects import insert_into, one_row_where

_OPENS_EVERY_TABLE = """
import sys
from pathlib import Path
import prelabel.assembly.server
from prelabel.store.database import open_database
open_database("", Path(sys.argv[1]))
print([name for name in sys.modules if name.startswith("sqlalchemy.dialects.postgresql")])
"""


def test_a_server_with_a_file_loads_nothing_of_postgresql(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", _OPENS_EVERY_TABLE, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stdout == "[]\n"


@pytest.fixture
def table(engine):
    """A table whose rows of one owner may be open once; gone with the test."""
    made = Table(
        "doors",
        MetaData(),
        Column("number", Integer, primary_key=True),
        Column("owner", String(20)),
        Column("state", String(20)),
    )
    one_row_where("state = 'open'", "doors_one_open", made, "owner")
    made.create(engine)
    yield made
    made.drop(engine)


def test_one_row_of_each_value_meets_the_condition_and_any_number_do_not(engine, table):
    rows = [
        {"number": 1, "owner": "a", "state": "open"},
        {"number": 2, "owner": "b", "state": "open"},
        {"number": 3, "owner": "a", "state": "shut"},
        {"number": 4, "owner": "a", "state": "shut"},
    ]
    with engine.begin() as connection:
        connection.execute(insert(table), rows)
    second = {"number": 5, "owner": "a", "state": "open"}
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(table), second)
    assert [index["name"] for index in inspect(engine).get_indexes("doors")] == ["doors_one_open"]


def test_a_row_that_is_there_already_is_left_or_replaced_as_is_asked(engine, table):
    first, other = {"number": 1, "state": "shut"}, {"number": 1, "state": "open"}
    new = insert_into(engine, table)
    with engine.begin() as connection:
        connection.execute(new, first)
        connection.execute(new.on_conflict_do_nothing(), other)
        assert connection.scalar(table.select().with_only_columns(table.c.state)) == "shut"
        replaced = new.on_conflict_do_update(
            index_elements=[table.c.number], set_={"state": new.excluded.state}
        )
        connection.execute(replaced, other)
        assert connection.scalar(table.select().with_only_columns(table.c.state)) == "open"
