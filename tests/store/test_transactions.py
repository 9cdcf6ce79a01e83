import os

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.schema import Column, MetaData, Table
from sqlalchemy.types import Integer

from prelabel.errors import StoreUnavailable
from prelabel.store.database import open_database
from prelabel.store.jobs import Jobs
from prelabel.store.transactions import transaction

metadata = MetaData()
numbers = Table("numbers", metadata, Column("number", Integer, primary_key=True))


class Away:
    """An engine whose server does not answer."""

    url = make_url("postgresql+psycopg://prelabel:secret@db.example/prelabel")

    def begin(self):
        raise OperationalError("SELECT 1", {}, Exception("connection refused\nIs it running?"))


def test_what_was_written_before_a_failure_is_undone(engine):
    metadata.create_all(engine)

    def write_twice():
        with transaction(engine) as connection:
            connection.execute(insert(numbers).values(number=1))
            connection.execute(insert(numbers).values(number=1))

    with pytest.raises(IntegrityError):
        write_twice()
    with transaction(engine) as connection:
        assert connection.execute(select(numbers)).all() == []


def test_a_database_that_is_away_is_named_without_its_password():
    with pytest.raises(StoreUnavailable) as told, transaction(Away()):
        pass
    assert str(told.value) == (
        "the database postgresql+psycopg://prelabel:***@db.example/prelabel: does not answer "
        "(connection refused). Check that its server runs and its disk has room, then try again."
    )


def test_a_file_that_is_damaged_while_it_is_used_counts_as_away(tmp_path):
    engine = open_database("", tmp_path)
    Jobs(engine).recent()
    engine.dispose()
    file = tmp_path / "prelabel.db"
    for beside in tmp_path.glob("prelabel.db-*"):
        beside.unlink()
    file.write_bytes(os.urandom(file.stat().st_size))
    with pytest.raises(StoreUnavailable):
        Jobs(engine).recent()


def test_a_postgresql_that_may_only_be_read_counts_as_away(postgres, tmp_path):
    engine = open_database(postgres, tmp_path)

    def write():
        with transaction(engine) as connection:
            connection.execute(text("SET TRANSACTION READ ONLY"))
            connection.execute(text("INSERT INTO layout VALUES (99)"))

    with pytest.raises(StoreUnavailable, match="read-only"):
        write()
    engine.dispose()
