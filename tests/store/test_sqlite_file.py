"""A database file that is deleted or replaced under a running process is told, not written to."""

import shutil
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import text

from prelabel.errors import StoreUnavailable
from prelabel.store import sqlite_file
from prelabel.store.database import open_database
from prelabel.store.findings import Findings
from prelabel.store.jobs import Jobs


@pytest.fixture
def opened(tmp_path):
    engine = open_database("", tmp_path)
    yield engine
    engine.dispose()


def test_what_is_written_to_a_deleted_file_is_refused(opened, tmp_path):
    jobs = Jobs(opened)
    jobs.submit("training", "1")
    (tmp_path / "prelabel.db").unlink()
    with pytest.raises(StoreUnavailable, match="deleted or replaced") as told:
        jobs.submit("training", "2")
    assert "restart prelabel" in told.value.next_step
    assert not (tmp_path / "prelabel.db").exists()


def test_no_empty_file_is_made_in_place_of_one_that_is_gone(opened, tmp_path):
    jobs = Jobs(opened)
    jobs.submit("training", "1")
    opened.dispose()
    (tmp_path / "prelabel.db").unlink()
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        jobs.recent()
    assert not (tmp_path / "prelabel.db").exists()


def test_an_older_copy_in_its_place_is_left_alone_until_a_restart(opened, tmp_path):
    file, backup = tmp_path / "prelabel.db", tmp_path / "backup.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("VACUUM INTO ?", [str(backup)])
    jobs = Jobs(opened)
    jobs.submit("training", "1")
    backup.replace(file)
    before = file.read_bytes()
    for ask in (jobs.recent, lambda: jobs.submit("training", "2")):
        with pytest.raises(StoreUnavailable, match="replaced"):
            ask()
    assert file.read_bytes() == before
    for beside in tmp_path.glob("prelabel.db-*"):
        beside.unlink()
    again = open_database("", tmp_path)
    assert Jobs(again).recent() == []
    again.dispose()


def test_a_file_that_comes_back_is_gone_on_with(opened, tmp_path):
    jobs = Jobs(opened)
    job = jobs.submit("training", "1")
    file, away = tmp_path / "prelabel.db", tmp_path / "away.db"
    file.rename(away)
    with pytest.raises(StoreUnavailable):
        jobs.recent()
    away.rename(file)
    assert [found.id for found in jobs.recent()] == [job.id]


def test_the_prediction_store_does_without_a_file_that_was_replaced(opened, tmp_path):
    findings = Findings(opened, 1_000_000)
    assert not findings.read([b"key"]).findings
    file = tmp_path / "prelabel.db"
    shutil.copy(file, tmp_path / "copy.db")
    (tmp_path / "copy.db").replace(file)
    with pytest.raises(StoreUnavailable, match="replaced"):
        findings.read([b"key"])
    findings.close()


def test_a_database_in_memory_has_no_file_that_could_go(tmp_path):
    engine = open_database("sqlite:///:memory:", tmp_path)
    assert Jobs(engine).recent() == []
    engine.dispose()


def test_the_log_beside_the_file_does_not_keep_its_largest_size(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "_LOG_BYTES", 500_000)
    engine, log = open_database("", tmp_path), tmp_path / "prelabel.db-wal"

    def write(size):
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS big (content BLOB)"))
            connection.execute(text(f"INSERT INTO big VALUES (randomblob({size}))"))

    write(1)
    with closing(sqlite3.connect(tmp_path / "prelabel.db")) as reader:
        reader.execute("BEGIN").execute("SELECT count(*) FROM big").fetchall()
        for _ in range(4):  # none of it may be copied while somebody reads what was before it
            write(1_000_000)
        assert log.stat().st_size > 4_000_000
    for _ in range(3):
        write(1)
    assert log.stat().st_size <= 500_000
    engine.dispose()
