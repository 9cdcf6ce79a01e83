"""Opening the database: what is wrong with one that cannot be."""

import errno
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

import pytest
from sqlalchemy import make_url, text

from prelabel.errors import SettingsError
from prelabel.store import database
from prelabel.store.database import LAYOUT, open_database


def test_a_file_that_is_no_database_is_named_with_what_to_do(tmp_path):
    (tmp_path / "prelabel.db").write_bytes(b"this is a letter, not a database" * 100)
    with pytest.raises(SettingsError) as refused:
        open_database("", tmp_path)
    assert str(tmp_path / "prelabel.db") in refused.value.next_step
    assert "backup" in refused.value.next_step


def test_a_folder_that_cannot_be_made_is_named_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="writable folder"):
        open_database("", tmp_path / "file" / "data")


def test_a_disk_that_is_full_is_to_be_made_room_on(tmp_path, monkeypatch):
    def full(_engine):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(database, "_make_tables", full)
    with pytest.raises(SettingsError, match="No space left on device") as refused:
        open_database("", tmp_path)
    assert refused.value.next_step.startswith("Make room on that disk")


@pytest.mark.parametrize("url", ["nonsense", "nosuchkind://host/name"])
def test_an_address_that_is_none_is_a_matter_of_settings(tmp_path, url):
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        open_database(url, tmp_path)


def test_a_database_of_a_newer_prelabel_is_left_alone(tmp_path):
    opened = open_database("", tmp_path)
    with opened.begin() as connection:
        connection.execute(text(f"INSERT INTO layout VALUES ({LAYOUT + 1})"))
    opened.dispose()
    with pytest.raises(SettingsError, match="newer prelabel") as refused:
        open_database("", tmp_path)
    assert "Install that version again" in refused.value.next_step


def test_a_database_says_once_how_it_is_laid_out(tmp_path):
    for _ in range(2):
        opened = open_database("", tmp_path)
        with opened.begin() as connection:
            assert list(connection.scalars(text("SELECT number FROM layout"))) == [LAYOUT]
        opened.dispose()


def test_all_who_open_a_new_database_at_one_moment_find_it_whole(tmp_path):
    at_once = Barrier(8)

    def open_it(folder):
        at_once.wait(20)
        opened = open_database("", folder)
        with opened.begin() as connection:
            connection.execute(text("SELECT number FROM layout"))
        opened.dispose()

    with ThreadPoolExecutor(8) as pool:
        for number in range(10):
            list(pool.map(open_it, [tmp_path / str(number)] * 8))


def test_a_database_that_another_program_holds_is_to_be_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_BUSY_S", 0.1)
    with closing(sqlite3.connect(tmp_path / "prelabel.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SettingsError, match="locked") as refused:
            open_database("", tmp_path)
    assert "End the program that holds it" in refused.value.next_step


def test_a_database_that_knows_no_encoding_is_read_and_written(postgres, tmp_path):
    psycopg = pytest.importorskip("psycopg", reason="pip install 'prelabel[scale]'")
    address = make_url(postgres).set(query={}, drivername="postgresql")
    with psycopg.connect(address.render_as_string(), autocommit=True) as connection:
        connection.execute(
            "CREATE DATABASE plain ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"
        )
        plain = address.set(drivername="postgresql+psycopg", database="plain")
        opened = open_database(plain.render_as_string(), tmp_path)
        with opened.connect() as reader:
            assert reader.execute(text("SELECT 'Käse'")).scalar() == "Käse"
        opened.dispose()
        connection.execute("DROP DATABASE plain")
