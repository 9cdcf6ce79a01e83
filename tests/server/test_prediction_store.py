"""The prediction store behind the server: nothing is computed twice, whoever asks and when."""

import base64
import os
import signal
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import cv2
import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from tests.services import stranger

from prelabel.assembly import parts, server
from prelabel.assembly.remembering import memory, remembering
from prelabel.batch.local import local
from prelabel.errors import ModelError
from prelabel.gathering import Access, Studio
from prelabel.labelstudio.tasks import Task
from prelabel.launch import backend
from prelabel.launch.processes import Child, free_port
from prelabel.plan import Predictors, make_plan
from prelabel.runtime.clock import UNTIMED
from prelabel.server.app import make_app
from prelabel.settings import Settings
from prelabel.types import Detections

from .conftest import CONFIG, LABEL_STUDIO, until

PROGRAM = str(Path(sys.executable).parent / "prelabel")
POISON = 250
MODULE = """
import os, time
import numpy as np
from prelabel.types import Detections


class Noting:
    name, fingerprint, wants_neighbours, batch_size = "noting", "", False, 1

    def check(self): ...
    def load(self): ...

    def health(self):
        return {"loaded": True, "device": "none"}

    def predict(self, images, ask):
        time.sleep(float(os.environ["NOTING_S"]))
        with open(os.environ["NOTING_FILE"], "a") as file:
            file.writelines(f"{image.pixels_rgb[0, 0, 0]}\\n" for image in images)
        label = ask.phrases[0].label
        box = np.array([[1, 1, 8, 9]], np.float32)
        found = Detections(box, np.array([0.5], np.float32), (label,), (None,), self.name)
        return [found for _ in images]


def build(options):
    return Noting()
"""


def picture(number):
    """A picture that no other number has; a model can tell the number from it."""
    _, png = cv2.imencode(".png", np.full((16, 16, 3), number, np.uint8))
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()


def body(numbers, project="7", config=CONFIG):
    tasks = [{"id": n + 1, "data": {"image": picture(n)}} for n in numbers]
    return {"tasks": tasks, "label_config": config, "project": project}


# A process of its own, without a token of Label Studio


class Site:
    """A server process whose model takes its time, and what is known of both."""

    def __init__(self, folder, seconds, deadline_s):
        self.folder = folder
        self.port = free_port()
        (folder / "seen").touch()
        self.environment = {
            **stranger.install(folder / "package", "noting", MODULE),
            "NOTING_S": str(seconds),
            "NOTING_FILE": str(folder / "seen"),
            "DATA_DIR": str(folder / "data"),
            "PREDICT_DEADLINE_SECONDS": str(deadline_s),
            "PREDICTION_STORE_MB": "16",
            "LABEL_STUDIO_URL": "",
            "SEQUENCE_LEARNING_ENABLED": "false",
        }

    @contextmanager
    def running(self):
        command = [PROGRAM, "serve", "--port", str(self.port)]
        log = self.folder / "server.log"
        with Child.start("server", command, log_path=log, environment=self.environment) as child:
            child.wait_until_answers(f"http://127.0.0.1:{self.port}/ready", timeout_s=60)
            yield child

    def click(self, numbers, timeout_s=30, headers=LABEL_STUDIO):
        """Retrieve predictions; gives those that were predicted."""
        answer = httpx2.post(
            f"http://127.0.0.1:{self.port}/predict",
            json=body(numbers),
            headers=headers,
            timeout=timeout_s,
        ).json()
        return [n for n, one in zip(numbers, answer["results"], strict=True) if one]

    @property
    def seen(self):
        """The pictures that the model looked at, each as often as it did."""
        return [int(line) for line in (self.folder / "seen").read_text().split()]

    def metrics(self):
        return httpx2.get(f"http://127.0.0.1:{self.port}/metrics", timeout=10).text

    def wait_until_idle(self):
        """Wait until no model runs, and all that it found is in the database."""
        until(lambda: 'batches_running{finds="boxes"} 0.0' in self.metrics())
        until(lambda: self.stored() == len(set(self.seen)))

    def stored(self):
        """How many images have a row in the database."""
        with closing(sqlite3.connect(self.folder / "data" / "prelabel.db")) as connection:
            return connection.execute("SELECT count(*) FROM prediction_store").fetchone()[0]


def test_without_a_token_what_was_not_reached_is_found_for_the_next_click(tmp_path):
    site = Site(tmp_path, seconds=0.1, deadline_s=1.0)
    with site.running():
        first = site.click(range(30))
        assert 0 < len(first) < 30
        until(lambda: len(site.seen) == 30)  # nobody clicks
        site.wait_until_idle()
        assert site.click(range(30)) == list(range(30))
        assert sorted(site.seen) == list(range(30))


def test_click_after_click_gets_on_and_no_picture_is_looked_at_twice(tmp_path):
    site = Site(tmp_path, seconds=0.1, deadline_s=0.8)
    with site.running():
        clicks, done = 0, []
        while len(done) < 30:  # the next click comes while the last one goes on in the background
            clicks += 1
            assert clicks < 60
            before, done = done, site.click(range(30))
            assert set(before) <= set(done)
        site.wait_until_idle()
        assert clicks > 2
        assert sorted(site.seen) == list(range(30))


def test_what_a_caller_who_hung_up_asked_for_is_there_when_he_comes_again(tmp_path):
    site = Site(tmp_path, seconds=0.1, deadline_s=20.0)
    with site.running():
        with pytest.raises(httpx2.TimeoutException):
            site.click(range(30), timeout_s=0.6)
        until(lambda: len(site.seen) == 30)
        site.wait_until_idle()
        assert site.click(range(30)) == list(range(30))
        assert sorted(site.seen) == list(range(30))


def test_what_is_looked_at_when_a_script_is_answered_is_kept_and_nothing_goes_on(tmp_path):
    site = Site(tmp_path, seconds=2.0, deadline_s=1.0)
    with site.running():
        while not site.seen:  # the first picture takes its time by itself
            site.click([99])
            site.wait_until_idle()
        assert site.click(range(10), headers={}) == []  # scripts are not known to come again
        until(lambda: len(site.seen) > 1)
        site.wait_until_idle()
        late = site.seen
        assert len(late) == 2
        assert site.click(late) == late
        assert site.seen == late


def test_after_a_kill_and_a_restart_what_was_found_is_answered_without_the_model(tmp_path):
    site = Site(tmp_path, seconds=0.0, deadline_s=20.0)
    with site.running() as child:
        assert len(site.click(range(20))) == 20
        site.wait_until_idle()
        os.killpg(os.getpgid(child._process.pid), signal.SIGKILL)
        until(lambda: not child.running)
    with site.running():
        assert len(site.click(range(20))) == 20
        assert sorted(site.seen) == list(range(20))
        assert 'prelabel_prediction_store_total{outcome="hit"} 20.0' in site.metrics()


def test_a_warm_up_is_no_warm_up_without_the_model(tmp_path):
    site = Site(tmp_path, seconds=0.0, deadline_s=20.0)
    with site.running():
        for _ in range(2):
            backend.warm_up(f"http://127.0.0.1:{site.port}", backend.plain_picture())
        assert len(site.seen) == 2


def test_what_is_found_just_before_sigterm_is_written(tmp_path):
    site = Site(tmp_path, seconds=0.0, deadline_s=20.0)
    with site.running():
        site.click(range(20))
    assert site.stored() == 20


# In this process


class Noting:
    """Notes what it looks at; breaks on the poison."""

    name, fingerprint, wants_neighbours, batch_size = "noting", "", False, 4

    def __init__(self):
        self.seen = []
        self.batches = []

    def check(self): ...

    def load(self): ...

    def health(self):
        return {"loaded": True, "device": "cpu"}

    def predict(self, images, ask):
        numbers = [int(image.pixels_rgb[0, 0, 0]) for image in images]
        self.batches.append(len(images))
        self.seen += numbers
        if POISON in numbers:
            raise ModelError("noting", "chokes on it", "Throw it away.")
        label = ask.phrases[0].label
        box, score = np.array([[1, 1, 8, 9]], np.float32), np.array([0.5], np.float32)
        return [Detections(box, score, (label,), (None,), self.name) for _ in images]


@pytest.fixture
def model():
    return Noting()


@pytest.fixture
def serve(monkeypatch, model, tmp_path):
    """Starts a server with these settings, wired as the command does; gives a client."""
    monkeypatch.setattr(server, "predictors", lambda *_, **__: Predictors(model, model))
    running = []

    def start(**settings):
        chosen = {"data_dir": tmp_path / "data", "prediction_store_mb": 16, **settings}
        chosen = Settings(_env_file=None, **chosen)
        client = TestClient(make_app(server.service(chosen), chosen))
        client.__enter__()
        running.append(client)
        return client

    yield start
    for client in running:
        client.__exit__(None, None, None)


def ask(client, numbers, **more):
    answer = client.post("/predict", json=body(numbers, **more))
    assert answer.status_code == 200
    return answer.json()["results"]


def test_two_projects_with_the_same_pictures_share_what_was_found(serve, model):
    client = serve()
    one = ask(client, range(8), project="1")
    other = ask(client, range(8), project="2")
    assert sorted(model.seen) == list(range(8))
    assert [entry["result"][0]["value"] for entry in one] == [
        entry["result"][0]["value"] for entry in other
    ]


def test_a_restart_in_the_same_folder_knows_it_and_another_folder_does_not(serve, model, tmp_path):
    client = serve()
    ask(client, [1, 2])
    client.__exit__(None, None, None)
    ask(serve(), [1, 2])
    assert len(model.seen) == 2
    ask(serve(data_dir=tmp_path / "other"), [1, 2])
    assert len(model.seen) == 4


@pytest.mark.parametrize(
    "config",
    [
        CONFIG.replace('toName="image">', 'toName="image" model_score_threshold="0.3">', 1),
        CONFIG.replace("body_distortion", "glove"),
    ],
)
def test_another_threshold_or_other_labels_are_computed_anew(serve, model, config):
    client = serve()
    for _ in range(2):
        ask(client, [1])
        ask(client, [1], config=config)
    assert model.seen == [1, 1]


def test_with_another_model_version_it_is_computed_anew(serve, model):
    client = serve()
    ask(client, [1])
    model.fingerprint = "12345678"
    (entry,) = ask(client, [1])
    assert model.seen == [1, 1]
    assert "@" in entry["model_version"]


def test_switched_off_everything_is_computed_and_nothing_kept(serve, model, tmp_path):
    client = serve(prediction_store_mb=0, sequence_learning_enabled=False)
    for _ in range(2):
        ask(client, [1])
    assert model.seen == [1, 1]
    assert "prediction_store" not in client.get("/metrics").text
    assert not (tmp_path / "data").exists()


def test_where_the_folder_cannot_be_written_predictions_go_on(serve, model, tmp_path):
    (tmp_path / "file").touch()
    client = serve(data_dir=tmp_path / "file", sequence_learning_enabled=False)
    assert all(ask(client, [1]))
    assert all(ask(client, [1]))
    assert model.seen == [1, 1]


def test_what_breaks_the_model_is_put_aside_and_says_why(serve, model):
    client = serve()
    for turn in range(2):
        fresh = range(10 * turn, 10 * turn + 3)
        entries = ask(client, [*fresh, POISON])
        assert [bool(entry) for entry in entries] == [True, True, True, False]
    often = model.seen.count(POISON)
    model.batches.clear()
    assert [bool(one) for one in ask(client, [30, 31, 32, POISON])] == [True, True, True, False]
    assert model.seen.count(POISON) == often
    assert sum(model.batches) == 3
    failure = client.get("/status").json()["failures"][0]
    assert failure["kind"] == "ModelError"
    assert "was left out because it broke noting 2 times: chokes on it" in failure["reason"]
    assert "It is tried again after" in client.get("/").text
    told = client.get("/metrics").text
    assert 'prelabel_prediction_store_total{outcome="quarantined"} 1.0' in told


def test_two_servers_with_one_database_share_what_they_find(serve, model):
    first, second = serve(), serve()
    ask(first, range(6))
    until(lambda: "prelabel_prediction_store_bytes 0.0" not in first.get("/metrics").text)
    ask(second, range(6))
    assert sorted(model.seen) == list(range(6))


def test_a_batch_run_and_a_server_share_what_they_find(serve, model, tmp_path):
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", prediction_store_mb=16)
    known = memory(settings)
    found_by = remembering(Predictors(model, model), known)
    source = parts.images(settings, parts.fetcher(settings).fetch, UNTIMED)
    tasks = [Task(**one) for one in body(range(6))["tasks"]]
    with ThreadPoolExecutor(4) as fetchers:
        run = local(make_plan(CONFIG, found_by), Studio(source, fetchers, lambda _: ()), Access())
        assert len(dict(run(tasks))) == 6
    known.close()
    assert all(ask(serve(), range(6)))
    assert sorted(model.seen) == list(range(6))


def test_clicks_from_many_sides_at_once_are_all_answered(serve, model):
    client = serve()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: ask(client, range(n, n + 20)), range(8)))
    assert all(entry for answer in answers for entry in answer)
    assert sorted(model.seen) == list(range(27))
