"""What several server processes tell of themselves, put together."""

import json
import os
import subprocess
import sys
import time

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families

from prelabel.server.metrics import Metrics
from prelabel.server.processes import (
    Processes,
    Told,
    folder_of_children,
    folder_of_siblings,
    labelled,
)
from prelabel.server.status import _together, of_process

ME = str(os.getpid())


def series(tasks, seconds=()):
    registry = CollectorRegistry()
    Counter("tasks", "Tasks.", registry=registry).inc(tasks)
    took = Histogram("took_seconds", "Time.", ["route"], buckets=(1, 5), registry=registry)
    for one in seconds:
        took.labels("/predict").observe(one)
    return list(registry.collect())


def wait_for(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def process(folder):
    """This process, which tells; it has counted two tasks."""
    processes = Processes(folder)
    processes.begin(lambda: Told(series(2, [0.5]), {"up": True}))
    wait_for((folder / f"{ME}.json").exists)
    yield processes
    processes.close()


@pytest.fixture
def another(process, folder):
    """The number of another process that lives, and told the same."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        (folder / f"{child.pid}.json").write_bytes((folder / f"{ME}.json").read_bytes())
        yield str(child.pid)
        child.kill()


def test_a_process_alone_tells_nobody(folder):
    processes = Processes()
    processes.begin(lambda: pytest.fail("nobody asked"))
    assert processes.all() == {}


def test_this_process_comes_first_and_says_how_it_is_now(process, another):
    assert list(process.all()) == [ME, another]


def test_what_is_read_is_what_was_told(process, another):
    told = process.all()
    assert told[another].status == {"up": True}
    assert [
        (one.name, one.documentation, one.type, [tuple(s)[:3] for s in one.samples])
        for one in told[another].series
        if one.type != "unknown"
    ] == [
        (one.name, one.documentation, one.type, [tuple(s)[:3] for s in now.samples])
        for one, now in zip(told[ME].series, told[another].series, strict=True)
    ]


def test_a_process_that_died_is_no_longer_told_of(process, folder):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    left = folder / f"{child.pid}.json"
    left.write_bytes((folder / f"{ME}.json").read_bytes())
    assert list(process.all()) == [ME]
    assert not left.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_what_is_half_written_is_passed_over(process, another, folder, content):
    (folder / f"{another}.json").write_bytes(content)
    assert list(process.all()) == [ME]


def test_a_folder_that_went_away_costs_only_the_others(process, folder, monkeypatch):
    monkeypatch.setattr(process, "_folder", folder / "gone")
    assert list(process.all()) == [ME]


@pytest.fixture
def parent(tmp_path, monkeypatch):
    """This process is the parent of server processes, and one of them as well."""
    monkeypatch.setattr("prelabel.server.processes.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(os, "getppid", os.getpid)


def test_children_find_the_folder_of_their_parent_which_is_private_and_goes(parent):
    assert folder_of_siblings() is None
    with folder_of_children():
        folder = folder_of_siblings()
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "1.json").write_text("{}")
    assert not folder.exists()


def test_a_folder_that_somebody_else_put_there_is_not_read(parent, tmp_path, monkeypatch):
    theirs = tmp_path / f"prelabel-{os.getuid()}-{ME}"
    (tmp_path / "elsewhere").mkdir()
    theirs.symlink_to(tmp_path / "elsewhere")
    assert folder_of_siblings() is None
    theirs.unlink()
    theirs.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    theirs.rename(tmp_path / f"prelabel-{os.getuid()}-{ME}")
    assert folder_of_siblings() is None


def test_a_look_that_fails_is_followed_by_another(folder, monkeypatch):
    monkeypatch.setattr("prelabel.server.processes.EVERY_S", 0.01)
    looks = iter([ValueError("broken"), OSError("disk full"), Told(series(1), {})])

    def tell():
        look = next(looks, None)
        if isinstance(look, Exception):
            raise look
        return look or Told(series(1), {})

    processes = Processes(folder)
    processes.begin(tell)
    wait_for((folder / f"{ME}.json").exists)
    processes.close()


def test_each_sample_has_its_process_and_each_family_stands_once():
    text = Metrics().exposition({"7": series(2, [0.5]), "8": series(3)}).decode()
    assert text.count("# TYPE tasks_total counter") == 1
    tasks = {
        sample.labels["process"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "tasks_total"
    }
    assert tasks == {"7": 2, "8": 3}
    (took,) = [one for one in labelled({"7": series(2, [0.5])}) if one.name == "took_seconds"]
    assert {"route": "/predict", "process": "7", "le": "1.0"} in [s.labels for s in took.samples]


def status(**changed):
    predictor = {
        "name": "opencv", "loaded": False, "queue": {"person": 1, "bulk": 0},
        "oldest_s": 1.5, "batches_running": 1,
    }  # fmt: skip
    project = {
        "project": "1", "asked": 3, "predicted": 1, "empty": 0, "failed": 2, "not_reached": 0,
        "reasons": [{"kind": "ImageMissing", "tasks": 2, "example": "no image"}],
        "last_failures": [{"time": "2026-01-01T10:00", "task": "task 1"}],
    }  # fmt: skip
    return {
        "status": "ok", "model_loaded": False, "version": "1", "uptime_s": 5.0,
        "predictors": {"boxes": predictor}, "versions": ["a"], "projects": [project], **changed,
    }  # fmt: skip


def test_tasks_of_a_project_are_added_up():
    other = status()
    (project,) = other["projects"]
    project["reasons"] = [{"kind": "ModelError", "tasks": 5, "example": "broken"}]
    project["last_failures"] = [{"time": "2026-01-01T11:00", "task": "task 2"}]
    whole = _together([status(), other])
    (project,) = whole["projects"]
    assert (project["asked"], project["predicted"], project["failed"]) == (6, 2, 4)
    assert [(one["kind"], one["tasks"]) for one in project["reasons"]] == [
        ("ModelError", 5), ("ImageMissing", 2),
    ]  # fmt: skip
    assert [one["task"] for one in project["last_failures"]] == ["task 2", "task 1"]


def test_the_order_of_projects_is_the_same_whichever_process_tells():
    few, many = status(), status()
    few["projects"][0] |= {"project": "7", "asked": 1}
    for processes in ([few, many], [many, few]):
        assert [one["project"] for one in _together(processes)["projects"]] == ["1", "7"]


def test_what_waits_is_added_up_and_one_that_hangs_is_told():
    hung = status(status="degraded", reason="boxes do not come back", model_loaded=True)
    hung["predictors"]["boxes"] |= {"loaded": True, "oldest_s": 9.0, "reason": "no weights"}
    whole = _together([status(), hung])
    assert (whole["status"], whole["reason"]) == ("degraded", "boxes do not come back")
    assert whole["model_loaded"]
    boxes = whole["predictors"]["boxes"]
    assert boxes["queue"] == {"person": 2, "bulk": 0}
    assert (boxes["oldest_s"], boxes["batches_running"]) == (9.0, 2)
    assert (boxes["loaded"], boxes["reason"]) == (True, "no weights")


def test_what_a_service_tells_of_itself_is_json(serve):
    told = of_process(serve().app.state.service)
    assert json.loads(json.dumps(told)) == told
    assert _together([told, told])["versions"] == told["versions"]
