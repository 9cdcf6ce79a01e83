"""`prelabel worker`, as processes of their own."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from prelabel.assembly.jobs import runners_of_worker
from prelabel.errors import MissingPackage
from prelabel.jobs.training import TrainingRequest
from prelabel.launch.processes import Child
from prelabel.settings import Settings
from prelabel.store.database import open_database
from prelabel.store.jobs import Jobs

PROGRAM = str(Path(sys.executable).parent / "prelabel")
ANSWERS_AFTER_S = 60.0


def until(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
    return found


class SilentStudio(BaseHTTPRequestHandler):
    """A Label Studio that takes its time: a training that asks it does not come to its end."""

    may_answer = threading.Event()

    def do_GET(self):
        self.may_answer.wait(ANSWERS_AFTER_S)
        with suppress(BrokenPipeError):  # who asked is gone
            self.send_error(404)

    def log_message(self, *_): ...


@pytest.fixture
def studio():
    server = ThreadingHTTPServer(("127.0.0.1", 0), SilentStudio)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    SilentStudio.may_answer.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def environment(postgres, redis, studio):
    pytest.importorskip("dramatiq", reason="pip install 'prelabel[scale]'")
    shared = {"DATABASE_URL": postgres, "REDIS_URL": redis.url}
    return shared | {"LABEL_STUDIO_URL": studio, "LABEL_STUDIO_API_KEY": "0" * 40}


@pytest.fixture
def start(environment, tmp_path):
    """Starts the command with these words."""
    with ExitStack() as running:

        def begin(*words):
            path = tmp_path / "worker.log"
            command = [PROGRAM, "worker", *words]
            child = Child.start("worker", command, log_path=path, environment=environment)
            return running.enter_context(child)

        yield begin


@pytest.fixture
def jobs(postgres, tmp_path):
    opened = open_database(postgres, tmp_path)
    yield Jobs(opened)
    opened.dispose()


def log_of(child):
    return child.log_path.read_text()


def at_work(child):
    """The processes that said that they work."""
    return [int(number) for number in re.findall(r"working +process=(\d+)", log_of(child))]


def test_sigterm_in_mid_job_hands_it_back_and_ends_well(start, jobs, studio):
    worker = start()
    job = jobs.submit("training", f"{studio}#7", payload=TrainingRequest(7).write())
    until(lambda: jobs.get(job.id).status == "running")
    os.kill(worker._process.pid, signal.SIGTERM)
    until(lambda: not worker.running, ANSWERS_AFTER_S - 5)  # it does not wait for the training
    assert worker.exit_code == 0, log_of(worker)
    left = jobs.get(job.id)
    assert (left.status, left.attempts, left.owner) == ("queued", 0, None)
    assert "Traceback" not in log_of(worker)


def test_a_process_that_is_killed_is_replaced_and_all_end_together(start):
    worker = start("--processes", "2")
    first, second = until(lambda: len(found := at_work(worker)) == 2 and found)
    os.kill(first, signal.SIGKILL)
    third = until(lambda: len(found := at_work(worker)) == 3 and found[-1])
    os.kill(worker._process.pid, signal.SIGTERM)
    until(lambda: not worker.running)
    assert worker.exit_code == 0, log_of(worker)
    for process in (second, third):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_without_a_redis_it_says_what_to_set(tmp_path):
    ended = subprocess.run(
        [PROGRAM, "worker"], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("prelabel: REDIS_URL: is not set")


def test_without_the_packages_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "dramatiq", None)
    monkeypatch.delitem(sys.modules, "prelabel.jobs.distributed", raising=False)
    monkeypatch.delattr("prelabel.jobs.distributed", raising=False)
    settings = Settings(_env_file=None, data_dir=tmp_path, redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(MissingPackage, match=r"pip install 'prelabel\[scale\]'"):
        runners_of_worker(settings)
