"""A database of its own for each test, and a clock that stands still."""

from dataclasses import dataclass

import pytest
from sqlalchemy import event

from prelabel.store import jobs, learned  # noqa: F401 - so that `metadata` knows their tables
from prelabel.store.database import open_database


@dataclass
class Clock:
    """Gives the time that a test has set."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request):
    """Where the database is: "" for a SQLite file in the test's folder."""
    return "" if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.fixture
def open_again(database_url, tmp_path):
    """Opens the database of the test, as another process would."""
    opened = []

    def open_it():
        opened.append(open_database(database_url, tmp_path))
        return opened[-1]

    yield open_it
    for engine in opened:
        engine.dispose()


@pytest.fixture
def engine(open_again):
    return open_again()


@pytest.fixture
def take_away(engine, tmp_path):
    """Makes the database one that does not answer."""

    def refuse(dialect, record, arguments, parameters):
        parameters["port"] = 1  # where nobody listens

    def begin():
        engine.dispose()
        if engine.dialect.name == "postgresql":
            event.listen(engine, "do_connect", refuse)
            return
        for beside in tmp_path.glob("prelabel.db-*"):
            beside.unlink()
        (tmp_path / "prelabel.db").write_bytes(b"no database" * 1000)

    return begin
