"""One click for far more tasks than can be done in time, with a real Label Studio."""

import base64
import os
import re
import signal
import subprocess
import sysconfig
import time
from collections import Counter
from pathlib import Path

import cv2
import httpx2
import numpy as np
import pytest

from prelabel.labelstudio.templates import boxes_config
from prelabel.launch.processes import answers, free_port

pytestmark = pytest.mark.e2e

TASKS = 300


def picture(number):
    """One like no other: what is known of an image need not be predicted again."""
    pixels = np.full((16, 16, 3), (number % 256, number // 256, 0), np.uint8)
    drawn = cv2.imencode(".png", pixels)[1]
    return f"data:image/png;base64,{base64.b64encode(drawn).decode()}"


@pytest.fixture
def start(servers, sleepy, tmp_path):
    """Starts a server that needs 50 ms for an image and answers within 2 s; stopped in the end."""
    url, started = f"http://127.0.0.1:{free_port()}", []
    environment = {
        **os.environ,
        **sleepy(0.05),
        "LABEL_STUDIO_URL": servers.label_studio_url,
        "LABEL_STUDIO_API_KEY": servers.token,
        "DATA_DIR": str(tmp_path / "data"),
        "PREDICT_DEADLINE_SECONDS": "2",
        "REQUEST_DELAY_SECONDS": "0",
    }
    program = str(Path(sysconfig.get_path("scripts")) / "prelabel")

    def start_it():
        command = [program, "serve", "--port", url.rpartition(":")[2]]
        with (tmp_path / "server.log").open("ab") as output:
            server = subprocess.Popen(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        started.append(server)
        until(lambda: answers(f"{url}/health"))
        return url, server

    yield start_it
    for server in started:
        server.terminate()
        server.wait(30)


def until(condition, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.2)


def backfills(url):
    jobs = httpx2.get(f"{url}/status", timeout=30).raise_for_status().json()["jobs"]
    return [job for job in jobs if job["kind"] == "backfill"]


def predicted(url):
    """How many tasks the job says are predicted."""
    said = [re.match(r"(\d+) of \d+ tasks predicted", job["message"]) for job in backfills(url)]
    return max((int(found[1]) for found in said if found), default=0)


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM])
def test_one_click_gives_each_task_one_prediction_though_the_server_ends(servers, start, ended_by):
    url, server = start()
    studio = servers.client
    project = studio.create_project("one click", boxes_config())["id"]
    studio.add_ml_backend(project, url)
    ids = studio.import_tasks(project, [{"data": {"image": picture(one)}} for one in range(TASKS)])

    def stored():
        return sum(studio.model_versions(project).values())

    studio.retrieve_predictions(project)  # the only click
    assert stored() < TASKS
    until(lambda: predicted(url) > TASKS // 5)
    server.send_signal(ended_by)
    server.wait(25)
    assert stored() < TASKS
    url, _ = start()
    until(lambda: stored() >= TASKS)
    until(lambda: all(job["status"] == "done" for job in backfills(url)))
    held = {row["id"]: row["predictions"] for row in studio.tasks(project, annotations=True)}
    assert Counter(len(held[task]) for task in ids) == {1: TASKS}
