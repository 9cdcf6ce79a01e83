import pytest
from sqlalchemy import insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.schema import Column, MetaData, Table
from sqlalchemy.types import Integer

from prelabel.errors import StoreUnavailable
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
