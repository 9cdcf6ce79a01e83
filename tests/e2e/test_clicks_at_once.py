"""Two clicks at one moment, on a server without a token, with a real Label Studio."""

import os
import subprocess
import sysconfig
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prelabel.labelstudio.templates import boxes_config
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.launch.processes import answers, free_port

from .test_backfill import picture

pytestmark = pytest.mark.e2e

TASKS = 30


@pytest.fixture
def backend(sleepy, tmp_path):
    """The address of a server that needs 50 ms for an image; stopped in the end."""
    url = f"http://127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        **sleepy(0.05),
        "LABEL_STUDIO_API_KEY": "",
        "DATA_DIR": str(tmp_path / "data"),
    }
    command = [str(Path(sysconfig.get_path("scripts")) / "prelabel"), "serve"]
    with (tmp_path / "server.log").open("wb") as output:
        server = subprocess.Popen(
            [*command, "--port", url.rpartition(":")[2]],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + 60
    while not answers(f"{url}/health"):
        assert time.monotonic() < deadline, "it did not start"
        time.sleep(0.2)
    yield url
    server.terminate()
    server.wait(30)


def test_two_clicks_at_one_moment_give_each_task_one_prediction(servers, backend):
    studio = servers.client
    project = studio.create_project("clicks at once", boxes_config())["id"]
    studio.add_ml_backend(project, backend)
    ids = studio.import_tasks(project, [{"data": {"image": picture(one)}} for one in range(TASKS)])

    def click(_number):
        with LabelStudio(servers.label_studio_url, token=servers.token) as mine:
            mine.retrieve_predictions(project)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(click, range(2)))
    held = {row["id"]: row["predictions"] for row in studio.tasks(project, annotations=True)}
    assert Counter(len(held[task]) for task in ids) == {1: TASKS}
