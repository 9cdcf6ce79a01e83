"""What waits for the store: it is known at once, bounded, written together, and lost by nobody."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from structlog.testing import capture_logs

from prelabel.errors import StoreUnavailable
from prelabel.runtime import memory as module
from prelabel.runtime.memory import Memory
from prelabel.store.database import open_database
from prelabel.store.finding_bytes import Break
from prelabel.store.findings import Findings, Found
from prelabel.types import Detections, Poses

FOUND = Detections.none("model")


def key(number):
    return number.to_bytes(32, "big")


class Shelf:
    """A store in a dictionary; can be held, and be away."""

    size = 42

    def __init__(self):
        self.rows = {}
        self.writes = []
        self.reads = 0
        self.used = []
        self.broken = set()
        self.is_readable = self.is_writable = True
        self.may_write = threading.Event()
        self.may_write.set()
        self.is_asked_to_write = threading.Event()
        self.is_closed = False

    def read(self, keys):
        self.reads += 1
        if not self.is_readable:
            raise StoreUnavailable("the shelf", "is away", "Look for it.")
        stale = [key for key in keys if key in self.rows]
        found = {key: self.rows[key] for key in keys if key in self.rows}
        return Found(found, stale, [key for key in keys if key in self.broken])

    def write(self, findings):
        self.is_asked_to_write.set()
        assert self.may_write.wait(10)
        if not self.is_writable:
            raise StoreUnavailable("the shelf", "is full", "Throw something away.")
        if any(isinstance(finding, Break) for finding in findings.values()):
            raise TypeError("a defect")
        if findings:
            self.writes.append(list(findings))
        self.rows.update(findings)

    def mark_used(self, keys):
        self.used += keys

    def forget(self, keys):
        if keys and not self.is_writable:
            raise StoreUnavailable("the shelf", "is away", "Look for it.")
        self.broken -= set(keys)
        self.rows = {key: found for key, found in self.rows.items() if key not in keys}

    def close(self):
        self.is_closed = True


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def memory(shelf):
    memory = Memory(shelf)
    yield memory
    shelf.may_write.set()
    memory.close()


def test_what_was_found_is_known_at_once_and_written_soon(memory, shelf):
    shelf.may_write.clear()
    memory.keep({key(1): FOUND})
    assert memory.recall([key(1), key(2)]) == {key(1): FOUND}
    assert shelf.is_asked_to_write.wait(5)
    assert memory.recall([key(1)]) == {key(1): FOUND}  # in the middle of being written, too
    shelf.may_write.set()
    assert memory.flush()
    assert shelf.rows == {key(1): FOUND}


def test_nothing_to_keep_starts_nothing(memory):
    memory.keep({})
    assert memory._writer is None


def test_what_is_known_without_the_store_is_not_asked_of_it(memory, shelf):
    shelf.may_write.clear()
    memory.keep({key(1): FOUND})
    memory.recall([key(1)])
    memory.recall([])
    assert shelf.reads == 0


def test_what_comes_while_something_is_written_is_written_together(memory, shelf):
    shelf.may_write.clear()
    memory.keep({key(0): FOUND})
    assert shelf.is_asked_to_write.wait(5)
    for number in range(1, 50):
        memory.keep({key(number): FOUND})
    shelf.may_write.set()
    assert memory.flush()
    assert len(shelf.rows) == 50
    assert len(shelf.writes) <= 3


def test_the_newest_of_two_findings_is_the_one_that_stays(memory, shelf):
    other = Detections.none("other")
    shelf.may_write.clear()
    memory.keep({key(1): FOUND})
    assert shelf.is_asked_to_write.wait(5)
    memory.keep({key(1): other})
    assert memory.recall([key(1)]) == {key(1): other}
    shelf.is_writable = False  # what could not be written must not come back over it
    shelf.may_write.set()
    memory.flush(0.5)
    assert memory.recall([key(1)]) == {key(1): other}


def test_where_the_store_does_not_keep_up_the_oldest_go_and_are_counted(shelf):
    memory = Memory(shelf, most_waiting_bytes=10 * 1024)
    shelf.may_write.clear()
    memory.keep({key(0): FOUND})
    assert shelf.is_asked_to_write.wait(5)
    memory.keep({key(number): FOUND for number in range(1, 31)})
    assert memory.counts().dropped == 20
    assert set(memory.recall([key(number) for number in range(1, 31)])) == {
        key(number) for number in range(21, 31)
    }
    shelf.may_write.set()
    memory.close()
    assert set(shelf.rows) == {key(0), *(key(number) for number in range(21, 31))}


def test_large_findings_take_more_of_the_room(shelf):
    memory = Memory(shelf, most_waiting_bytes=10 * 1024)
    shelf.may_write.clear()
    memory.keep({key(0): FOUND})
    assert shelf.is_asked_to_write.wait(5)
    crowd = Poses(
        np.zeros((9, 4), np.float32),
        np.zeros(9, np.float32),
        np.zeros((9, 133, 2), np.float32),
        np.zeros((9, 133), np.float32),
        "model",
    )
    memory.keep({key(1): FOUND, key(2): crowd})
    assert memory.counts().dropped == 2
    shelf.may_write.set()
    memory.close()


def test_a_store_that_is_away_is_asked_once_and_said_so_once(memory, shelf):
    shelf.is_readable = False
    with capture_logs() as logs:
        for _ in range(5):
            assert memory.recall([key(1)]) == {}
    assert shelf.reads == 1
    assert [log["event"] for log in logs] == ["prediction store away"]
    assert "is away" in logs[0]["reason"]


def test_a_store_that_is_back_is_used_again_and_said_so(memory, shelf, monkeypatch):
    monkeypatch.setattr(module, "_AWAY_S", 0.0)
    shelf.rows[key(1)] = FOUND
    shelf.is_readable = False
    memory.recall([key(1)])
    shelf.is_readable = True
    with capture_logs() as logs:
        assert memory.recall([key(1)]) == {key(1): FOUND}
        memory.recall([key(1)])
    assert [log["event"] for log in logs] == ["prediction store back"]


def test_what_cannot_be_written_waits_and_is_written_later(memory, shelf, monkeypatch):
    monkeypatch.setattr(module, "_AWAY_S", 0.05)
    shelf.is_writable = False
    with capture_logs() as logs:
        memory.keep({key(1): FOUND})
        assert not memory.flush(1.0)
        shelf.is_writable = True
        assert memory.flush()
    assert shelf.rows == {key(1): FOUND}
    assert [log["event"] for log in logs] == ["prediction store away", "prediction store back"]


def test_what_cannot_be_taken_out_is_taken_out_later(memory, shelf, monkeypatch):
    monkeypatch.setattr(module, "_AWAY_S", 0.05)
    shelf.rows[key(1)] = FOUND
    shelf.is_writable = False
    memory.forget([key(1)])
    assert not memory.flush(0.5)
    shelf.is_writable = True
    assert memory.flush()
    assert shelf.rows == {}


def test_what_is_forgotten_while_it_is_written_in_vain_stays_forgotten(memory, shelf, monkeypatch):
    monkeypatch.setattr(module, "_AWAY_S", 0.05)
    shelf.may_write.clear()
    memory.keep({key(1): FOUND})
    assert shelf.is_asked_to_write.wait(5)
    memory.forget([key(1)])
    shelf.is_writable = False
    shelf.may_write.set()
    assert not memory.flush(0.5)
    shelf.is_writable = True
    assert memory.flush()
    assert shelf.rows == {}


def test_a_defect_in_writing_costs_that_portion_and_no_later_one(memory, shelf):
    with capture_logs() as logs:
        memory.keep({key(1): Break(1, "it is odd", 0.0)})
        assert memory.flush()
    memory.keep({key(2): FOUND})
    assert memory.flush()
    assert shelf.rows == {key(2): FOUND}
    assert [log["event"] for log in logs] == ["defect"]


def test_rows_that_cannot_be_read_are_forgotten_and_uses_written_down(memory, shelf):
    shelf.rows[key(1)] = FOUND
    shelf.broken = {key(2)}
    memory.recall([key(1), key(2)])
    assert memory.flush()
    assert shelf.used == [key(1)]
    assert shelf.broken == set()


def test_closing_writes_what_is_left(shelf):
    memory = Memory(shelf)
    memory.keep({key(number): FOUND for number in range(2000)})
    memory.close()
    assert len(shelf.rows) == 2000
    assert shelf.is_closed


def test_what_comes_after_the_end_is_written_by_whoever_brings_it(shelf):
    memory = Memory(shelf)
    memory.close()
    memory.keep({key(1): FOUND})
    assert shelf.rows == {key(1): FOUND}


def test_a_process_that_ends_without_closing_it_has_written_all(tmp_path):
    script = f"""
from pathlib import Path
from prelabel.runtime.memory import Memory
from prelabel.store.database import open_database
from prelabel.store.findings import Findings
from prelabel.types import Detections
memory = Memory(Findings(open_database("", Path({str(tmp_path)!r})), 2**20))
memory.keep({{bytes(32): Detections.none("model")}})
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    engine = open_database("", tmp_path)
    findings = Findings(engine, 2**20)
    assert findings.read([bytes(32)]).findings[bytes(32)].source == "model"
    findings.close()
    engine.dispose()


def test_it_tells_how_it_is_used(memory):
    memory.count(hits=3)
    memory.count(hits=1, misses=2, refused=1)
    counts = memory.counts()
    assert (counts.hits, counts.misses, counts.refused, counts.bytes) == (4, 2, 1, 42)


def test_many_threads_keep_and_recall_at_once(memory, shelf):
    failures = []

    def work(place):
        for number in range(200):
            one = key(1000 * place + number)
            memory.keep({one: FOUND})
            if memory.recall([one]) != {one: FOUND}:
                failures.append(one)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert memory.flush()
    assert len(shelf.rows) == 1200
