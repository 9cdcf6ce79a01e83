"""A server that gets SIGTERM under load, as a process of its own."""

import base64
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import httpx2
import numpy as np
import pytest

from prelabel.launch.processes import Child, free_port
from prelabel.store.database import open_database
from prelabel.store.jobs import Jobs

from .conftest import CONFIG, until

PROGRAM = str(Path(sys.executable).parent / "prelabel")
GONE_AFTER_S = 25.0


def body(tasks):
    _, png = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))
    picture = "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()
    listed = [{"id": number, "data": {"image": picture}} for number in range(tasks)]
    return {"tasks": listed, "label_config": CONFIG, "project": "1.1700000000"}


class SilentStudio(BaseHTTPRequestHandler):
    """A Label Studio that takes its time: a training that asks it does not come to its end."""

    asked = threading.Event()
    may_answer = threading.Event()

    def do_GET(self):
        self.asked.set()
        self.may_answer.wait(60)
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
def start(tmp_path, studio, sleepy):
    """Starts a server; gives its process and its address."""
    settings = sleepy(0.5) | {"DATA_DIR": str(tmp_path / "data")}
    settings |= {"LABEL_STUDIO_URL": studio, "LABEL_STUDIO_API_KEY": "0" * 40}
    children = []

    def begin():
        port = free_port()
        command = [PROGRAM, "serve", "--port", str(port)]
        log_path = tmp_path / f"server-{len(children)}.log"
        child = Child.start("server", command, log_path=log_path, environment=settings)
        children.append(child)
        child.wait_until_answers(f"http://127.0.0.1:{port}/ready", timeout_s=60)
        return child, f"http://127.0.0.1:{port}"

    yield begin
    for child in children:
        child.stop()


def test_sigterm_under_load_answers_what_is_under_way_and_loses_no_job(
    start, tmp_path, record_testsuite_property
):
    child, url = start()
    event = {"action": "START_TRAINING", "project": {"id": 7}}
    job = httpx2.post(f"{url}/webhook", json=event).json()["job"]
    assert SilentStudio.asked.wait(10)
    with ThreadPoolExecutor(8) as clients:
        bulk = [
            clients.submit(httpx2.post, f"{url}/predict", json=body(500), timeout=60)
            for _ in range(4)
        ]
        time.sleep(2)
        single = clients.submit(httpx2.post, f"{url}/predict", json=body(1), timeout=60)
        time.sleep(0.2)
        began = time.monotonic()
        os.kill(child._process.pid, signal.SIGTERM)
        until(lambda: httpx2.get(f"{url}/ready").status_code == 503, 1)
        assert httpx2.get(f"{url}/ready").json() == {"status": "stopping"}
        refused = httpx2.post(f"{url}/predict", json=body(1))
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        answers = [one.result() for one in bulk]
        assert single.result().json()["results"][0]["model_version"].startswith("sleepy")
    until(lambda: not child.running, GONE_AFTER_S - (time.monotonic() - began))
    seconds = time.monotonic() - began
    record_testsuite_property("seconds from SIGTERM to the end of a server", round(seconds, 2))
    results = [answer.json()["results"] for answer in answers]
    assert [len(one) for one in results] == [500] * 4
    done = sum(1 for one in results for entry in one if entry)
    assert 0 < done < 2000  # what was done is answered, the rest is asked for again
    assert "Traceback" not in child.log_path.read_text()

    engine = open_database("", tmp_path / "data")
    left = Jobs(engine).get(job)
    engine.dispose()
    assert (left.status, left.attempts, left.owner) == ("queued", 0, None)
    SilentStudio.may_answer.set()
    _, url = start()

    def status():
        return httpx2.post(f"{url}/job_status", json={"job": job}).json()["job_status"]

    until(lambda: status() == "failed", 20)  # begun anew: this Label Studio knows no project


def test_a_server_is_not_ready_before_it_knows_who_answers(serve, predictor, monkeypatch):
    may_go_on = threading.Event()
    monkeypatch.setattr("prelabel.server.app.SETTLING_S", 0.05)
    monkeypatch.setattr(predictor, "check", lambda: may_go_on.wait(10), raising=False)
    client = serve()
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()) == (503, {"status": "starting"})
    may_go_on.set()
    until(lambda: client.get("/ready").status_code == 200, 5)
