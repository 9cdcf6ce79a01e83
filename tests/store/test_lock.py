"""What is wrong with a lock's file is said, and not taken for another process that holds it."""

import os

import pytest

from prelabel.errors import SettingsError
from prelabel.store.lock import held


def test_a_folder_in_its_place_is_no_other_process(tmp_path):
    with pytest.raises(SettingsError, match="unable to open"), held(tmp_path, "project 7"):
        pass


def test_a_file_in_the_place_of_its_folder_is_no_other_process(tmp_path):
    (tmp_path / "locks").write_text("")
    with pytest.raises(SettingsError), held(tmp_path / "locks" / "one", "project 7"):
        pass


def test_a_file_that_is_no_lock_is_no_other_process(tmp_path):
    (tmp_path / "one").write_text("no database at all" * 100)
    with pytest.raises(SettingsError, match="not a database"), held(tmp_path / "one", "project 7"):
        pass


def test_a_file_that_may_not_be_written_is_held_by_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SettingsError, match="not writable"), held(tmp_path / "one", "project 7"):
        pass
