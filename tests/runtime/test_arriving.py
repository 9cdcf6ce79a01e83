"""Whether weights still come: the bytes in folders, counted where nobody waits for it."""

import time
from threading import Event

import pytest
from structlog.testing import capture_logs

from prelabel.runtime.arriving import Arriving


def settled(arriving, count):
    """Ask until it is counted."""
    end = time.monotonic() + 5
    while arriving() != count:
        assert time.monotonic() < end, arriving()
        time.sleep(0.001)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


def test_a_folder_that_is_missing_is_empty(folder):
    arriving = Arriving(lambda: [folder])
    assert arriving() == 0
    settled(arriving, 0)


def test_every_byte_counts_however_deep_and_each_once(folder, tmp_path):
    deep = folder / "models--a" / "blobs"
    deep.mkdir(parents=True)
    (deep / "x.incomplete").write_bytes(b"123")
    (folder / "y.part").write_bytes(b"4")
    arriving = Arriving(lambda: [folder, tmp_path / "none"])
    settled(arriving, 4)
    with (folder / "y.part").open("ab") as part:
        part.write(b"5")
    settled(arriving, 5)
    whole = folder / "snapshot"
    whole.symlink_to(deep / "x.incomplete")
    settled(arriving, 5 + whole.lstat().st_size)


def test_who_asks_does_not_wait_for_a_share_that_hangs(folder):
    begun, may_go_on = Event(), Event()

    def hangs():
        begun.set()
        may_go_on.wait()
        return [folder]

    arriving = Arriving(hangs)
    assert arriving() == 0
    assert begun.wait(5)
    assert [arriving() for _ in range(3)] == [0, 0, 0]
    folder.mkdir()
    (folder / "x").write_bytes(b"123")
    may_go_on.set()
    settled(arriving, 3)


def test_a_folder_that_cannot_be_named_is_said_and_no_reason_to_fail():
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    with capture_logs() as logs:
        arriving = Arriving(homeless)
        assert arriving() == 0
        end = time.monotonic() + 5
        while not logs:
            assert time.monotonic() < end
            time.sleep(0.001)
    assert logs[0]["event"] == "defect"
