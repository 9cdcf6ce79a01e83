"""A backfill whose ranges several processes predict, which are killed at the worst moments."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from prelabel.jobs.backfill_range import KIND as RANGE
from prelabel.jobs.retrieves import KIND, Retrieves
from prelabel.store.database import open_database

from .backfilling import CONFIG, StudioWithBirthday, click
from .conftest import until

pytestmark = pytest.mark.restarts

REPOSITORY = Path(__file__).resolve().parents[2]
TASKS = 240
MODEL_S = 0.03
LEASE_S = 3.0
PATIENCE_S = 120.0


@pytest.fixture(params=["embedded-sqlite", "embedded-postgres", "dramatiq"])
def kind(request):
    return request.param


@pytest.fixture
def database_url(kind, request):
    return "" if kind == "embedded-sqlite" else request.getfixturevalue("postgres")


@pytest.fixture
def redis_url(kind, request):
    if kind != "dramatiq":
        return ""
    pytest.importorskip("dramatiq", reason="pip install 'prelabel[scale]'")
    return request.getfixturevalue("redis").url


@pytest.fixture
def engine(database_url, tmp_path):
    opened = open_database(database_url, tmp_path)
    yield opened
    opened.dispose()


@pytest.fixture
def fake():
    return StudioWithBirthday(label_config=CONFIG)


@contextmanager
def over_http(studio):
    """The address at which a Label Studio of tests answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self):
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = f"http://{self.headers['Host']}{self.path}"
            asked = httpx2.Request(self.command, url, content=content)
            answer = studio.handle_request(asked)
            body = answer.read()
            try:
                self.send_response(answer.status_code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # who asked was killed

        do_GET = do_POST = do_DELETE = do  # noqa: N815 - the names that the library calls

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.fixture
def studio_url(fake):
    with over_http(fake) as url:
        yield url


@pytest.fixture
def workers(database_url, redis_url, studio_url, tmp_path):
    """Starts workers, by the number of their process; killed in the end."""
    started = {}

    def start(number):
        for _ in range(number):
            own = tmp_path / f"worker-{len(started)}"
            own.mkdir()
            given = [database_url, redis_url, studio_url, tmp_path, own, MODEL_S, LEASE_S]
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.jobs.backfill_worker", *map(str, given)],
                cwd=REPOSITORY,
            )
            started[process.pid] = process
        return started

    yield start
    for process in started.values():
        process.kill()
        process.wait()


@pytest.fixture
def looked_at(tmp_path):
    """How many images each worker looked at, in the order in which they were started."""

    def count():
        files = sorted(tmp_path.glob("worker-*/looked-at"))
        return [len(file.read_text().splitlines()) for file in files]

    return count


@pytest.fixture
def press(engine, table, fake, studio_url):
    """Clicks on Retrieve Predictions, so that nothing is done in time; gives the tasks."""

    def press_it():
        ids = fake.add_tasks(TASKS)
        click(Retrieves(engine, table, studio_url, budget_s=0.0), ids)
        return ids

    return press_it


@pytest.fixture
def pressed(press):
    return press()


def process_of(job):
    return int(job.owner.split(":")[1])


def whole(table):
    (job,) = [job for job in table.recent() if job.kind == KIND]
    return job


def ended(table):
    return until(lambda: (job := whole(table)).finished and job, PATIENCE_S)


@pytest.mark.parametrize(
    ("kind", "number"),
    [("embedded-sqlite", 3), ("embedded-postgres", 3), ("dramatiq", 1), ("dramatiq", 3)],
    indirect=["kind"],
)
def test_all_workers_predict_the_ranges_of_one_project_and_one_pushes(
    number, workers, fake, table, looked_at, press, kind, record_testsuite_property
):
    workers(number)
    until(lambda: len(looked_at()) == number, PATIENCE_S)
    begin = time.monotonic()
    pressed = press()
    job = ended(table)
    rate = TASKS / (time.monotonic() - begin)
    said = f"{rate:.1f} tasks/s, by worker: {looked_at()}"
    record_testsuite_property(f"backfill by {number} workers, {kind}", said)
    assert (job.status, job.attempts) == ("done", 1), job.message
    assert fake.holding("finder") == dict.fromkeys(pressed, 1)
    assert sum(looked_at()) == TASKS
    assert table.parts(job) == []
    assert job.result["pushed"] == job.result["predicted"] == TASKS


def test_a_range_whose_worker_is_killed_is_ended_by_another(
    workers, pressed, fake, table, looked_at
):
    processes = workers(3)

    def a_range_under_way():
        job = whole(table)
        if job.status != "running":
            return None
        at_work = [part for part in table.parts(job) if part.status == "running"]
        others = [process_of(part) for part in at_work if process_of(part) != process_of(job)]
        return others and fake.holding("finder") and others[0]

    killed = until(a_range_under_way, PATIENCE_S)
    processes[killed].kill()
    job = ended(table)
    assert (job.status, job.attempts) == ("done", 1), job.message
    assert fake.holding("finder") == dict.fromkeys(pressed, 1)
    assert TASKS <= sum(looked_at()) < TASKS + 100
    assert len(fake.imports) == len({tuple(ids) for ids in fake.imports})


@pytest.mark.parametrize("kind", ["embedded-sqlite", "dramatiq"], indirect=True)
@pytest.mark.parametrize("moment", ["before a push arrives", "after a push was stored"])
def test_a_backfill_whose_worker_is_killed_while_it_pushes_is_gone_on_with_by_another(
    moment, workers, pressed, fake, table
):
    begun, killed, answer = threading.Event(), [], fake.imported

    def kill_the_sender(body):
        if begun.is_set() or not fake.imports:
            return answer(body)
        begun.set()
        stored = answer(body) if moment == "after a push was stored" else None
        killed.append(process_of(whole(table)))
        os.kill(killed[0], signal.SIGKILL)
        return stored or httpx2.Response(500, json={})

    fake.imported = kill_the_sender
    processes = workers(3)
    assert begun.wait(PATIENCE_S)
    job = ended(table)
    assert job.status == "done", job.message
    assert processes[killed[0]].wait(1) == -signal.SIGKILL
    assert fake.holding("finder") == dict.fromkeys(pressed, 1)
    assert table.parts(job) == []


@pytest.mark.parametrize("kind", ["dramatiq"], indirect=True)
def test_workers_may_be_killed_one_after_the_other_and_others_come(workers, pressed, fake, table):
    processes = workers(2)
    for share in (0.2, 0.4, 0.6):
        until(lambda share=share: len(fake.holding("finder")) >= share * TASKS, PATIENCE_S)
        at_work = [process_of(part) for part in table.parts(whole(table)) if part.owner]
        alive = [pid for pid, process in processes.items() if process.poll() is None]
        processes[next((pid for pid in at_work if pid in alive), alive[0])].kill()
        workers(1)
    job = ended(table)
    assert job.status == "done", job.message
    assert fake.holding("finder") == dict.fromkeys(pressed, 1)


@pytest.mark.parametrize("kind", ["dramatiq"], indirect=True)
def test_a_cancel_ends_the_ranges_of_all_workers(workers, pressed, fake, table, looked_at):
    workers(3)
    until(lambda: fake.holding("finder"), PATIENCE_S)
    job = whole(table)
    assert table.cancel(job.id)
    begin = time.monotonic()
    assert table.parts(job) == []

    def rests():
        before = looked_at()
        time.sleep(5 * MODEL_S)
        return looked_at() == before

    until(rests, PATIENCE_S)
    assert sum(looked_at()) < len(pressed)
    assert time.monotonic() - begin < LEASE_S + PATIENCE_S
    assert max(Counter(fake.holding("finder")).values()) == 1
    assert RANGE not in {one.kind for one in table.recent()}
