"""What is read when Prometheus asks: how full the server is, how the jobs stand, the machine."""

import time
from datetime import UTC, datetime, timedelta
from threading import Thread

import numpy as np
import pytest

from prelabel.media.room import ImageRoom, Line
from prelabel.server.admission import Admission
from prelabel.server.gauges import OfAdmission, OfMachine, OfRecords, OfRoom, memory_limit_bytes
from prelabel.server.records import Recorded, Records
from prelabel.store.jobs import Job
from prelabel.types import Image

from .test_metrics import predict, series

MEGABYTE = 1024 * 1024


def told(collector):
    return {
        f"{sample.name}{{{','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()))}}}": (
            sample.value
        )
        for family in collector.collect()
        for sample in family.samples
    }


def job(status, *, due=0, kind="training", attempts=0, **more):
    """A job; all times are in seconds before now."""
    now = datetime.now(UTC)
    times = dict.fromkeys(("started", "finished", "lease_until"))
    times |= {name: now - timedelta(seconds=before) for name, before in more.items()}
    return Job(
        id="0" * 32,
        kind=kind,
        project="7",
        status=status,
        progress=0.0,
        message="",
        result=None,
        attempts=attempts,
        created=now - timedelta(seconds=due),
        due=now - timedelta(seconds=due),
        owner=None,
        **times,
    )


def of_jobs(*jobs):
    records = Records(lambda: Recorded(jobs=jobs))
    found = told(OfRecords(records))
    records.close()
    return found


def test_images_that_are_alive_stand_beside_the_most_that_may_be():
    room = ImageRoom(300)
    collector = OfRoom(room)
    empty = {
        "prelabel_image_room_bytes{}": 0,
        "prelabel_image_room_bytes_limit{}": 300,
        "prelabel_image_room_waiting_tasks{}": 0,
    }
    assert told(collector) == empty
    held = [room.keep(Image(np.zeros((10, 10, 3), np.uint8)))]
    assert told(collector) == empty | {"prelabel_image_room_bytes{}": 300}
    held.clear()
    assert told(collector) == empty


def test_tasks_that_wait_for_room_are_counted_until_they_have_it():
    room, line = ImageRoom(0), Line()
    collector = OfRoom(room)
    waiting = Thread(target=room.wait, args=(line, 60))
    waiting.start()
    soon = time.monotonic() + 30
    while told(collector)["prelabel_image_room_waiting_tasks{}"] != 1:
        assert time.monotonic() < soon, "nobody waits"
    room.hurry(line)
    waiting.join()
    assert told(collector)["prelabel_image_room_waiting_tasks{}"] == 0


def test_how_full_the_server_is_stands_beside_the_most_it_takes():
    admission = Admission(10, most_bytes=100)
    collector = OfAdmission(admission.occupancy)
    with admission.enter(60, asks_again=False) as stay:
        stay.take(4)
        stay.done()
        assert told(collector) == {
            "prelabel_admitted_tasks{}": 3,
            "prelabel_admitted_tasks_limit{}": 10,
            "prelabel_admitted_bytes{}": 60,
            "prelabel_admitted_bytes_limit{}": 100,
        }
    assert told(collector)["prelabel_admitted_tasks{}"] == 0
    assert told(collector)["prelabel_admitted_bytes{}"] == 0


def test_a_server_tells_its_own_limits_and_is_empty_when_all_is_answered(serve):
    client = serve(most_tasks=50)
    predict(client, "a", "b")
    found = series(client.get("/metrics").text)
    assert found["prelabel_admitted_tasks_limit"] == 50
    assert found["prelabel_admitted_bytes_limit"] == 512 * MEGABYTE
    assert found["prelabel_admitted_tasks"] == found["prelabel_admitted_bytes"] == 0


def test_a_server_says_whether_requests_may_be_sent_to_it(serve):
    client = serve()
    assert client.get("/ready").status_code == 200
    assert series(client.get("/metrics").text)["prelabel_ready"] == 1
    client.app.state.service.stop_intake()
    assert client.get("/ready").status_code == 503
    assert series(client.get("/metrics").text)["prelabel_ready"] == 0


def test_a_disk_that_went_away_takes_no_other_series_away(tmp_path, monkeypatch):
    def gone(_):
        raise OSError("stale file handle")

    monkeypatch.setattr("shutil.disk_usage", gone)
    assert list(told(OfMachine(tmp_path))) == ["prelabel_memory_limit_bytes{}"]


def test_the_machine_tells_its_memory_and_the_disk_of_a_folder_that_is_not_made_yet(tmp_path):
    found = told(OfMachine(tmp_path / "not" / "made"))
    assert found["prelabel_memory_limit_bytes{}"] == memory_limit_bytes()
    assert found["prelabel_memory_limit_bytes{}"] > 100 * MEGABYTE
    free, size = (found[f"prelabel_data_disk_{what}_bytes{{}}"] for what in ("free", "size"))
    assert 0 <= free < size


@pytest.mark.parametrize(
    ("limit", "is_said"), [("max\n", False), ("104857600\n", True), ("9223372036854771712", False)]
)
def test_the_limit_of_a_container_counts_where_it_is_less_than_the_machine_has(
    tmp_path, monkeypatch, limit, is_said
):
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr("prelabel.server.gauges._MEMORY_LIMITS", (tmp_path / "memory.max",))
    assert (memory_limit_bytes() == 100 * MEGABYTE) is is_said


def test_without_jobs_there_is_nothing_to_tell_of_them():
    assert [name for name in of_jobs() if "job" in name] == []


def test_the_last_end_of_each_status_is_told():
    found = of_jobs(
        job("failed", finished=10, started=12),
        job("done", finished=100, started=103),
        job("failed", finished=400, started=401),
    )
    failed, done = (
        found[f"prelabel_job_last_ended_timestamp_seconds{{kind=training,status={status}}}"]
        for status in ("failed", "done")
    )
    assert failed - done == pytest.approx(90, abs=1)
    assert found["prelabel_job_last_seconds{kind=training}"] == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(
    ("jobs", "seconds"),
    [
        ([{"status": "queued", "due": 90}], 90),
        ([{"status": "queued", "due": -60}], 0),  # it waits for further annotations
        ([{"status": "queued", "due": 90}, {"status": "running", "lease_until": -15}], 0),
        ([{"status": "queued", "due": 90}, {"status": "done", "finished": 30}], 30),
        ([{"status": "running", "due": 90, "lease_until": 40}], 40),  # its worker was killed
        ([{"status": "done", "due": 90, "finished": 80}], 0),
    ],
)
def test_a_job_that_nobody_takes_is_told_and_one_that_waits_its_turn_is_not(jobs, seconds):
    found = of_jobs(*(job(**one) for one in jobs))
    assert found["prelabel_job_untaken_seconds{kind=training}"] == pytest.approx(seconds, abs=5)


def test_jobs_whose_worker_did_not_come_back_are_told_until_they_end():
    found = of_jobs(
        job("running", attempts=2, lease_until=-15),
        job("running", attempts=1, kind="backfill", lease_until=-15),
        job("failed", attempts=3, finished=5),
    )
    assert found["prelabel_jobs_begun_again{kind=training}"] == 1
    assert found["prelabel_jobs_begun_again{kind=backfill}"] == 0
