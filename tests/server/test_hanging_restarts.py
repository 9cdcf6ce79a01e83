"""Servers in processes of their own that hang on an image and are started anew.

In the end that image is left out, and all others have their prediction.
"""

import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from tests.batch.conftest import LEGACY, PROJECT
from tests.jobs.backfilling import CONFIG, CREATED, StudioWithBirthday, late
from tests.jobs.test_backfill_killed import over_http
from tests.services import stranger

from prelabel.jobs.retrieves import Retrieves, Scope
from prelabel.launch.processes import Child, free_port
from prelabel.runtime.ending import EXIT_CODE
from prelabel.store.database import open_database
from prelabel.store.jobs import Jobs

from .conftest import LABEL_STUDIO
from .test_prediction_store import picture

pytestmark = pytest.mark.restarts

PROGRAM = str(Path(sys.executable).parent / "prelabel")
TAR_PIT = 250
TASKS = 12
VERSION = "tar"
MODULE = f"""
import time
from pathlib import Path

import numpy as np

from prelabel.types import Detections


class Model:
    name, fingerprint, wants_neighbours, batch_size = "{VERSION}", "", False, 4
    is_loaded = False

    def check(self): ...

    def load(self):
        share = Path(__file__).with_name("share")
        if share.exists():
            share.read_bytes()
        self.is_loaded = True

    def health(self):
        return {{"loaded": self.is_loaded, "device": "none"}}

    def predict(self, images, ask):
        if any(image.pixels_rgb[0, 0, 0] == {TAR_PIT} for image in images):
            time.sleep(3600)
        label = ask.phrases[0].label
        box = np.array([[1, 1, 8, 9]], np.float32)
        found = Detections(box, np.array([0.5], np.float32), (label,), (None,), self.name)
        return [found for _ in images]


def build(options):
    return Model()
"""


@pytest.fixture
def fake():
    """A project in which one image is a tar pit."""
    studio = StudioWithBirthday(label_config=CONFIG)
    for task in studio.add_tasks(TASKS):
        studio.tasks[task]["data"]["image"] = picture(TAR_PIT if task == TASKS // 2 else task)
    return studio


@pytest.fixture
def settings(tmp_path):
    """What a server with that model is given."""
    return {
        **stranger.install(tmp_path / "package", "tar", MODULE),
        "DATA_DIR": str(tmp_path / "data"),
        "PREDICTION_STORE_MB": "16",
        "SEQUENCE_LEARNING_ENABLED": "false",
        "MODEL_HANG_SECONDS": "1",
        "MODEL_LOAD_HANG_SECONDS": "1",
        "PREDICT_DEADLINE_SECONDS": "20",
        "REQUEST_DELAY_SECONDS": "0",
    }


class Orchestrator:
    """Does as Kubernetes does: a server whose `/live` fails is ended and started anew."""

    def __init__(self, folder, settings, end, *words):
        self.url = ""
        self.ended = []
        self._log = folder / "server.log"
        self._settings = settings
        self._end = end
        self._port = free_port()
        self._words = words
        self._child = None

    @contextmanager
    def running(self):
        self._start()
        try:
            yield self
        finally:
            self._child.stop()

    def look(self):
        """Look at the probe once."""
        if httpx2.get(f"{self.url}/live", timeout=10).status_code == 503:
            self.end()
            self._start()

    def end(self):
        """End the server."""
        began = time.monotonic()
        self._end(self._child)
        self.ended.append((self._child.exit_code, time.monotonic() - began))

    def _start(self):
        command = [PROGRAM, "serve", "--port", str(self._port), *self._words]
        self.url = f"http://127.0.0.1:{self._port}"
        self._child = Child.start("server", command, log_path=self._log, environment=self._settings)
        self._child.wait_until_answers(f"{self.url}/ready", timeout_s=60)


def kill(child):
    os.killpg(child.pid, signal.SIGKILL)
    wait_for(lambda: not child.running, 10)


def terminate(child):
    """As `kubectl delete` does: SIGTERM, a grace, and then the end by force."""
    child.stop(grace_s=25)


def wait_for(is_so, timeout_s):
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.1)


def click(url, fake, headers=LABEL_STUDIO):
    """Retrieve all predictions; gives the tasks that are given one."""
    tasks = [{"id": task, "data": about["data"]} for task, about in fake.tasks.items()]
    body = {"tasks": tasks, "label_config": CONFIG, "project": f"{PROJECT}.{CREATED}"}
    answer = httpx2.post(f"{url}/predict", json=body, headers=headers, timeout=60)
    if answer.status_code == 503:  # it shuts down
        return set()
    results = answer.json()["results"]
    return {task for task, entry in zip(fake.tasks, results, strict=True) if entry}


def others(fake):
    return set(fake.tasks) - {TASKS // 2}


@pytest.mark.parametrize("end", [kill, terminate])
def test_click_after_click_all_other_images_are_predicted_and_the_tar_pit_is_left_out(
    end, tmp_path, settings, fake, record_testsuite_property
):
    with Orchestrator(tmp_path, settings, end).running() as orchestrator:
        predicted, clicks = set(), 0
        while predicted != others(fake):
            clicks += 1
            assert clicks < 8
            predicted |= click(orchestrator.url, fake)
            orchestrator.look()
        # A script is given again what Label Studio has just stored; and nothing hangs.
        assert click(orchestrator.url, fake, headers={}) == others(fake)
        orchestrator.look()
        failures = httpx2.get(f"{orchestrator.url}/status").json()["failures"]
    said = f"{clicks} clicks, ends: {orchestrator.ended}"
    record_testsuite_property(f"a tar pit and clicks, {end.__name__}", said)
    assert len(orchestrator.ended) == 2, said
    assert "left out because it broke tar 2 times: hung on it" in failures[0]["reason"]


def test_after_one_click_jobs_predict_all_others_over_the_ends_of_servers(
    tmp_path, settings, fake, record_testsuite_property
):
    with over_http(fake) as studio_url:
        settings |= {"LABEL_STUDIO_URL": studio_url, "LABEL_STUDIO_API_KEY": LEGACY}
        with Orchestrator(tmp_path, settings, kill).running() as orchestrator:
            for task in click(orchestrator.url, fake):
                fake.hold(task, VERSION)

            def all_have_theirs():
                orchestrator.look()
                return set(fake.holding(VERSION)) == others(fake)

            began = time.monotonic()
            wait_for(all_have_theirs, 90)
            seconds = time.monotonic() - began

            def tells_why():
                orchestrator.look()
                jobs = httpx2.get(f"{orchestrator.url}/status", timeout=10).json()["jobs"]
                return [job for job in jobs if "1 failed" in job["message"]]

            wait_for(tells_why, 180)
    said = f"{seconds:.0f} s, ends: {orchestrator.ended}"
    record_testsuite_property("a tar pit and jobs", said)
    assert fake.holding(VERSION) == dict.fromkeys(others(fake), 1)
    assert len(orchestrator.ended) == 2, said


def test_of_several_server_processes_the_one_that_hangs_ends_itself_and_is_started_anew(
    tmp_path, settings, fake
):
    alone = Orchestrator(tmp_path, settings, pytest.fail, "--workers", "2")
    with alone.running():

        def all_but_one():
            try:
                return click(alone.url, fake, headers={}) == others(fake)
            except httpx2.TransportError:  # the process at the other end ended just now
                return False

        wait_for(all_but_one, 120)
    log = (tmp_path / "server.log").read_text()
    assert 1 <= log.count("process ends to be started anew") <= 3


def test_a_worker_that_hangs_ends_itself_and_the_one_in_its_place_brings_the_rest(
    tmp_path, settings, fake, redis
):
    pytest.importorskip("dramatiq", reason="pip install 'prelabel[scale]'")
    engine = open_database("", tmp_path / "data")
    codes = []
    with over_http(fake) as studio_url:
        settings |= {"LABEL_STUDIO_URL": studio_url, "LABEL_STUDIO_API_KEY": LEGACY}
        settings |= {"REDIS_URL": redis.url}
        retrieves = Retrieves(engine, Jobs(engine), studio_url, budget_s=0.0)
        scope = Scope(PROJECT, CREATED, VERSION)
        retrieves.end(scope, late(sorted(retrieves.begin(scope, list(fake.tasks)))))

        def has_all_or_ended():
            return not worker.running or set(fake.holding(VERSION)) == others(fake)

        while set(fake.holding(VERSION)) != others(fake):
            assert len(codes) < 5
            log_path = tmp_path / f"worker-{len(codes)}.log"
            command = [PROGRAM, "worker"]
            with Child.start("worker", command, log_path=log_path, environment=settings) as worker:
                wait_for(has_all_or_ended, 120)
                codes.append(worker.exit_code)
    engine.dispose()
    assert codes[:-1] == [EXIT_CODE] * (len(codes) - 1)
    assert fake.holding(VERSION) == dict.fromkeys(others(fake), 1)


@pytest.fixture
def share(settings):
    """A pipe at which the model waits while it is loaded, as at a share that hangs."""
    pipe = Path(settings["PYTHONPATH"]) / "share"
    os.mkfifo(pipe)
    return pipe


@pytest.mark.parametrize("end", [kill, terminate])
def test_a_click_that_met_a_model_that_cannot_be_loaded_is_done_by_a_job_once_it_can(
    end, tmp_path, settings, fake, share
):
    fake.tasks[TASKS // 2]["data"]["image"] = picture(TASKS // 2)
    with over_http(fake) as studio_url:
        settings |= {"LABEL_STUDIO_URL": studio_url, "LABEL_STUDIO_API_KEY": LEGACY}
        with Orchestrator(tmp_path, settings, end).running() as orchestrator:
            began = time.monotonic()
            assert click(orchestrator.url, fake) == set()
            assert time.monotonic() - began < 15, "the deadline is 20 s"
            share.unlink()
            orchestrator.look()

            wait_for(lambda: set(fake.holding(VERSION)) == set(fake.tasks), 90)
            orchestrator.look()
    assert len(orchestrator.ended) == 1
    assert fake.holding(VERSION) == dict.fromkeys(fake.tasks, 1)


def test_a_server_that_is_told_to_end_waits_for_no_model_that_is_still_being_loaded(
    tmp_path, settings, fake, share
):
    settings |= {"MODEL_LOAD_HANG_SECONDS": "600", "PREDICT_DEADLINE_SECONDS": "2"}

    def orderly(child):
        os.kill(child.pid, signal.SIGTERM)
        wait_for(lambda: not child.running, 25)

    with Orchestrator(tmp_path, settings, orderly).running() as orchestrator:
        assert click(orchestrator.url, fake) == set()
        orchestrator.end()
    ((code, _),) = orchestrator.ended
    assert code in {0, -signal.SIGTERM}


def test_a_worker_whose_model_cannot_be_loaded_ends_itself_until_it_can(
    tmp_path, settings, fake, share, redis
):
    pytest.importorskip("dramatiq", reason="pip install 'prelabel[scale]'")
    fake.tasks[TASKS // 2]["data"]["image"] = picture(TASKS // 2)
    engine = open_database("", tmp_path / "data")
    with over_http(fake) as studio_url:
        settings |= {"LABEL_STUDIO_URL": studio_url, "LABEL_STUDIO_API_KEY": LEGACY}
        settings |= {"REDIS_URL": redis.url}
        retrieves = Retrieves(engine, Jobs(engine), studio_url, budget_s=0.0)
        scope = Scope(PROJECT, CREATED, VERSION)
        retrieves.end(scope, late(sorted(retrieves.begin(scope, list(fake.tasks)))))
        for number in range(4):  # oftener than a job may fail
            log_path = tmp_path / f"worker-{number}.log"
            worker = Child.start(
                "worker", [PROGRAM, "worker"], log_path=log_path, environment=settings
            )
            with worker:
                wait_for(lambda worker=worker: not worker.running, 60)
            assert worker.exit_code == EXIT_CODE
            assert "is being loaded, and has not got on" in log_path.read_text()
        share.unlink()
        log_path = tmp_path / "worker.log"
        with Child.start("worker", [PROGRAM, "worker"], log_path=log_path, environment=settings):
            wait_for(lambda: set(fake.holding(VERSION)) == set(fake.tasks), 120)
    engine.dispose()
    assert fake.holding(VERSION) == dict.fromkeys(fake.tasks, 1)


def test_ctrl_c_ends_a_server_in_a_terminal_though_its_model_hangs(tmp_path, settings, fake):
    def interrupt(child):
        os.kill(child.pid, signal.SIGINT)
        wait_for(lambda: not child.running, 25)

    with Orchestrator(tmp_path, settings, interrupt).running() as terminal:
        click(terminal.url, fake)
        terminal.look()
    ((code, _),) = terminal.ended
    assert code == EXIT_CODE
