"""`prelabel run` in processes of its own, with a model that does not come back."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.jobs.backfilling import StudioWithBirthday
from tests.jobs.test_backfill_killed import over_http
from tests.server.test_prediction_store import picture
from tests.services import stranger

from .conftest import CONFIG, LEGACY, PROJECT

pytestmark = pytest.mark.restarts

PROGRAM = str(Path(sys.executable).parent / "prelabel")
TAR_PIT = 250
TASKS, TAR_TASK = 12, 6
DONE, ERROR, DONE_WITH_FAILURES, NOT_READY, INTERRUPTED = 0, 1, 3, 5, 130
MODULE = f"""
from pathlib import Path

import numpy as np

from prelabel.types import Detections

HERE = Path(__file__).parent


def wait_at(name):
    if (HERE / name).exists():
        (HERE / f"{{name}}.reached").touch()
        (HERE / name).read_bytes()


class Model:
    name, fingerprint, wants_neighbours, batch_size = "tar", "", False, 4
    is_loaded = False

    def check(self): ...

    def load(self):
        if not self.is_loaded:
            wait_at("weights")
            self.is_loaded = True

    def health(self):
        return {{"loaded": self.is_loaded, "device": "none"}}

    def predict(self, images, ask):
        if any(image.pixels_rgb[0, 0, 0] == {TAR_PIT} for image in images):
            wait_at("tar-pit")
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
        studio.tasks[task]["data"]["image"] = picture(TAR_PIT if task == TAR_TASK else task)
    return studio


@pytest.fixture
def package(tmp_path):
    """A folder with a model that waits at pipes until somebody writes into them."""
    return tmp_path / "package"


@pytest.fixture
def command(tmp_path, package, fake):
    """Begins a run; ends it in the end."""
    chosen = stranger.install(package, "tar", MODULE)
    with over_http(fake) as studio_url:

        @contextmanager
        def begun(*words, **settings):
            environment = {
                **os.environ,
                **chosen,
                "DATA_DIR": str(tmp_path / "data"),
                "SEQUENCE_LEARNING_ENABLED": "false",
                "PREDICTION_STORE_MB": "16",
                "REQUEST_DELAY_SECONDS": "0",
                "LABEL_STUDIO_URL": studio_url,
                "LABEL_STUDIO_API_KEY": LEGACY,
                **settings,
            }
            line = [PROGRAM, "run", "--project", str(PROJECT), *words]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            with subprocess.Popen(
                line, env=environment, cwd=tmp_path, text=True, **pipes
            ) as process:
                try:
                    yield process
                finally:
                    process.kill()

        yield begun


def ended(process, timeout_s=60):
    """The exit code, and what was said."""
    said = process.communicate(timeout=timeout_s)
    return process.returncode, "".join(said)


@pytest.fixture
def run(command):
    """Runs the command to its end."""

    def to_its_end(*words, **settings):
        with command(*words, **settings) as process:
            return ended(process)

    return to_its_end


def reached(package, name):
    """Wait until the model has come to a pipe."""
    mark = package / f"{name}.reached"
    end = time.monotonic() + 60
    while not mark.exists():
        assert time.monotonic() < end, f"{name} was not reached"
        time.sleep(0.05)
    mark.unlink()


def held(fake):
    """How many predictions each task holds."""
    return Counter(row["task"] for row in fake.predictions)


def others(fake):
    return dict.fromkeys(set(fake.tasks) - {TAR_TASK}, 1)


def test_a_run_whose_model_hangs_ends_and_the_next_ones_bring_all_but_the_image_to_blame(
    run, command, fake, package
):
    os.mkfifo(package / "tar-pit")
    code, said = run(MODEL_HANG_SECONDS="1")
    assert code == ERROR, said
    assert "tar: has been at work on" in said
    assert "Run the same command again" in said
    assert TAR_TASK not in held(fake)
    (package / "tar-pit.reached").unlink()

    with command(MODEL_HANG_SECONDS="600") as process:
        reached(package, "tar-pit")
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    code, said = run(MODEL_HANG_SECONDS="1")
    assert code == ERROR, said
    (package / "tar-pit.reached").unlink()

    code, said = run(MODEL_HANG_SECONDS="1")
    assert code == DONE_WITH_FAILURES, said
    assert "was left out because it broke tar 2 times: hung on it" in said
    assert not (package / "tar-pit.reached").exists()
    assert held(fake) == others(fake)


def test_a_model_that_comes_back_before_its_time_is_over_costs_the_run_nothing(
    command, fake, package
):
    os.mkfifo(package / "tar-pit")
    with command() as process:
        reached(package, "tar-pit")
        (package / "tar-pit").write_text("go on")
        code, said = ended(process)
    assert code == DONE, said
    assert held(fake) == dict.fromkeys(fake.tasks, 1)


def test_a_model_that_hangs_while_it_is_loaded_ends_the_run_before_anything_is_done(
    run, command, fake, package
):
    os.mkfifo(package / "weights")
    begin = time.monotonic()
    code, said = run(MODEL_LOAD_HANG_SECONDS="1")
    assert time.monotonic() - begin < 30
    assert code == NOT_READY, said
    assert "tar: is being loaded, and has not got on since" in said
    assert "Look at where its weights lie or come from" in said
    assert not held(fake)
    (package / "weights.reached").unlink()

    with command(MODEL_LOAD_HANG_SECONDS="600") as process:
        reached(package, "weights")
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    with command(MODEL_LOAD_HANG_SECONDS="600") as process:
        reached(package, "weights")
        (package / "weights").write_text("all that is to come")
        code, said = ended(process)
    assert code == DONE, said
    assert held(fake) == dict.fromkeys(fake.tasks, 1)


def test_weights_that_come_slowly_are_no_hang(command, fake, package, tmp_path):
    os.mkfifo(package / "weights")
    part = tmp_path / "models" / "net.onnx.part"
    part.parent.mkdir()
    over = threading.Event()

    def download():
        while not over.wait(0.1):
            with part.open("ab") as file:
                file.write(b"x")

    downloading = threading.Thread(target=download)
    with command(MODEL_LOAD_HANG_SECONDS="2", MODEL_DIR=str(part.parent)) as process:
        downloading.start()
        try:
            reached(package, "weights")
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(6)
            (package / "weights").write_text("all that is to come")
            code, said = ended(process)
        finally:
            over.set()
            downloading.join()
    assert code == DONE, said
    assert held(fake) == dict.fromkeys(fake.tasks, 1)


@pytest.mark.parametrize("where", ["weights", "tar-pit"])
def test_ctrl_c_twice_ends_a_run_whose_model_hangs(command, fake, package, where):
    os.mkfifo(package / where)
    with command() as process:
        reached(package, where)
        process.send_signal(signal.SIGINT)
        assert _says(process, "once more to stop at once")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == INTERRUPTED
    assert TAR_TASK not in held(fake)


def _says(process, words):
    return any(words in line for line in process.stderr)
