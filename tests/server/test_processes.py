"""The server as it is really started: by the command, with workers, and under gunicorn."""

import base64
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import httpx2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from prelabel.benchmarks import paced
from prelabel.launch.processes import Child, free_port

from .conftest import CONFIG, LABEL_STUDIO

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent


@contextmanager
def started(tmp_path, command, port, **environment):
    child = Child.start(
        "server",
        [str(part) for part in command],
        log_path=tmp_path / "server.log",
        environment={"BOXES_PREDICTOR": "opencv-fallback", **environment},
    )
    with child:
        child.wait_until_answers(f"http://127.0.0.1:{port}/health", timeout_s=60)
        yield child


def ask(port, tasks=1):
    _, png = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))
    uri = "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()
    asked = [{"id": number, "data": {"image": uri}} for number in range(tasks)]
    body = {"tasks": asked, "label_config": CONFIG}
    url = f"http://127.0.0.1:{port}/predict"
    return httpx2.post(url, json=body, headers=LABEL_STUDIO, timeout=60).json()


def test_the_command_serves_and_ends_on_sigterm(tmp_path):
    port = free_port()
    with started(tmp_path, [PROGRAMS / "prelabel", "serve", "--port", port], port) as child:
        assert ask(port)["results"][0]["model_version"].startswith("opencv-fallback")
        os.killpg(os.getpgid(child._process.pid), signal.SIGTERM)
        deadline = time.monotonic() + 10
        while child.running and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not child.running
    log = (tmp_path / "server.log").read_text()
    assert f"http://127.0.0.1:{port}" in log
    assert "Traceback" not in log


def test_several_workers_share_a_port(tmp_path):
    port = free_port()
    command = [PROGRAMS / "prelabel", "serve", "--port", port, "--workers", "2"]
    with started(tmp_path, command, port):
        for _ in range(4):
            assert len(ask(port)["results"]) == 1


def gunicorn(port):
    return [
        PROGRAMS / "gunicorn", "--chdir", REPOSITORY, "--bind", f"127.0.0.1:{port}",
        "--threads", "8", "--timeout", "0", "_wsgi:app",
    ]  # fmt: skip


def test_the_same_app_runs_under_gunicorn(tmp_path):
    port = free_port()
    with started(tmp_path, gunicorn(port), port, BASIC_AUTH_USER="ann", BASIC_AUTH_PASS="pw"):
        url = f"http://127.0.0.1:{port}"
        assert httpx2.get(f"{url}/health").status_code == 401
        assert httpx2.get(f"{url}/health", auth=("ann", "pw")).json()["status"] == "ok"
        deadline = time.monotonic() + 20
        while (ready := httpx2.get(f"{url}/ready")).status_code != 200:
            assert time.monotonic() < deadline, ready.text
            time.sleep(0.1)


def test_under_gunicorn_jobs_are_done_and_the_end_is_in_order(tmp_path):
    port = free_port()
    signed_in = {"LABEL_STUDIO_URL": "http://127.0.0.1:9", "LABEL_STUDIO_API_KEY": "a" * 40}
    url = f"http://127.0.0.1:{port}"
    with started(tmp_path, gunicorn(port), port, DATA_DIR=str(tmp_path), **signed_in):
        asked = {"project": "7.1", "label_config": CONFIG, "tasks": []}
        job = httpx2.post(f"{url}/train", json=asked, headers=LABEL_STUDIO).json()["job"]
        deadline = time.monotonic() + 20
        while httpx2.post(f"{url}/job_status", json={"job": job}).json()["job_status"] != "done":
            assert time.monotonic() < deadline, "nobody did the job"
            time.sleep(0.1)
    assert "Traceback" not in (tmp_path / "server.log").read_text()


def test_under_gunicorn_sigterm_has_a_long_retrieve_answered_with_what_is_done(tmp_path):
    port = free_port()
    slow = paced.offer(tmp_path, "paced", paced.MAKERS) | {"BOXES_PREDICTOR": paced.SLEEPING}
    with (
        started(tmp_path, gunicorn(port), port, PREDICTION_STORE_MB="0", **slow) as child,
        ThreadPoolExecutor() as threads,
    ):
        retrieve = threads.submit(ask, port, tasks=400)
        url = f"http://127.0.0.1:{port}/metrics"
        deadline = time.monotonic() + 20
        while "prelabel_batch_seconds_count{" not in httpx2.get(url).text:
            assert time.monotonic() < deadline, "no model began"
            time.sleep(0.1)
        os.killpg(os.getpgid(child._process.pid), signal.SIGTERM)
        results = retrieve.result()["results"]
    assert len(results) == 400
    assert 0 < sum(result != [] for result in results) < 400
    assert "Traceback" not in (tmp_path / "server.log").read_text()


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"PORT": "high"}, "PORT"),
        ({"BOXES_PREDICTOR": "nope"}, "opencv-fallback"),
        ({"LABEL_STUDIO_URL": "localhost"}, "LABEL_STUDIO_URL"),
    ],
)
def test_a_wrong_setting_ends_in_one_line_that_names_it(environment, says):
    ended = subprocess.run(
        [PROGRAMS / "prelabel", "serve", "--port", str(free_port())]
        if "PORT" not in environment
        else [PROGRAMS / "prelabel", "serve"],
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_several_workers_tell_as_one(tmp_path):
    """Which of them is asked is chance; what they tell is not."""
    port = free_port()
    command = [PROGRAMS / "prelabel", "serve", "--port", port, "--workers", "2"]
    with started(tmp_path, command, port):
        for _ in range(20):
            ask(port)

        def asked():
            """Tasks asked of each process, as one of them tells it."""
            text = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
            return {
                sample.labels["process"]: sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name == "prelabel_tasks_asked_total"
            }

        # Each tells the others every two seconds: whoever is asked must have heard of all.
        deadline, complete = time.monotonic() + 20, 0
        while complete < 10:
            told = asked()
            assert time.monotonic() < deadline, told
            complete = complete + 1 if len(told) == 2 and sum(told.values()) == 20 else 0
            time.sleep(0.1)
        for _ in range(10):
            assert asked() == told
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
                report = client.get("/status").json()
                assert [one["asked"] for one in report["projects"]] == [20]
                assert "prelabel_database_up 1.0" in client.get("/metrics").text
