"""A server whose model does not come back: what probes, people and callers are told of it."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from prelabel.assembly import server, watching
from prelabel.doctor.surroundings import _judged
from prelabel.plan import Predictors
from prelabel.runtime.ending import Ending
from prelabel.server.app import make_app
from prelabel.settings import Settings
from prelabel.types import Detections

from .conftest import until
from .test_prediction_store import body

TAR_PIT = 250


class Model:
    """Finds nothing; does not come back from the tar pit until it may go on."""

    name, fingerprint, wants_neighbours, batch_size = "model", "", False, 4

    def __init__(self):
        self.is_stuck = Event()
        self.may_go_on = Event()
        self.is_loaded = True

    def check(self): ...

    def load(self):
        if not self.is_loaded:
            self.is_stuck.set()
            self.may_go_on.wait()
            self.is_loaded = True

    def health(self):
        return {"loaded": self.is_loaded, "device": "cpu"}

    def predict(self, images, ask):
        if any(image.pixels_rgb[0, 0, 0] == TAR_PIT for image in images):
            self.is_stuck.set()
            self.may_go_on.wait()
        return [Detections.none(self.name) for _ in images]


@pytest.fixture
def model():
    model = Model()
    yield model
    model.may_go_on.set()


@pytest.fixture
def ended():
    return []


@pytest.fixture
def client(model, ended, monkeypatch, tmp_path):
    """A server that is wired as the command does it."""
    monkeypatch.setattr(server, "predictors", lambda *_, **__: Predictors(model, model))
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path,
        model_hang_seconds=0.3,
        model_load_hang_seconds=0.5,
        model_dir=tmp_path,
        prediction_store_mb=16,
        predict_deadline_seconds=30,
        sequence_learning_enabled=False,
    )
    ending = Ending(
        is_started_anew=True,
        terminate=lambda: ended.append("terminate"),
        leave=ended.append,
        wait=lambda _: None,
    )
    with TestClient(make_app(server.service(settings, ending), settings)) as client:
        yield client
        model.may_go_on.set()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def ask(client, *numbers):
    return client.post("/predict", json=body(numbers)).json()["results"]


def probes(client):
    return {
        path: ((answer := client.get(path)).status_code, answer.json()["status"])
        for path in ("/health", "/live", "/ready")
    }


WELL = {"/health": (200, "ok"), "/live": (200, "ok"), "/ready": (200, "ok")}
STUCK = {"/health": (200, "degraded"), "/live": (503, "hanging"), "/ready": (503, "hanging")}


def test_whoever_waits_is_answered_long_before_the_deadline(client, pool, model):
    stuck = pool.submit(ask, client, TAR_PIT)
    assert model.is_stuck.wait(10)
    behind = pool.submit(ask, client, 2, 3)
    began = time.monotonic()
    assert stuck.result(20) == [[]]
    assert behind.result(20) == [[], []]
    assert ask(client, 4) == [[]]
    assert time.monotonic() - began < 15
    reasons = [one["reason"] for one in client.get("/status").json()["failures"]]
    assert any("model does not come back from it" in reason for reason in reasons)
    assert any("model hangs on another image" in reason for reason in reasons)


def test_probes_and_pages_and_metrics_say_it_until_the_model_comes_back(client, pool, model):
    assert ask(client, 7)[0]["result"] == []
    assert probes(client) == WELL
    assert 'prelabel_model_hangs{finds="boxes"} 0.0' in client.get("/metrics").text
    assert ask(client, TAR_PIT) == [[]]
    assert probes(client) == STUCK
    assert client.get("/health").json()["reason"].startswith("model: has been at work on data:")
    assert "A model hangs" in client.get("/").text
    metrics = client.get("/metrics").text
    assert 'prelabel_model_hangs{finds="boxes"} 1.0' in metrics
    assert "prelabel_ready 0.0" in metrics
    assert ask(client, 7)[0]["result"] == []  # what is known is answered by nobody but the store
    with capture_logs() as logs:
        model.may_go_on.set()
        until(lambda: probes(client) == WELL)
    assert "model came back" in [one["event"] for one in logs]
    assert 'prelabel_model_hangs{finds="boxes"} 0.0' in client.get("/metrics").text
    assert "A model hangs" not in client.get("/").text
    assert all(ask(client, TAR_PIT, 8))


def test_a_model_that_hangs_while_it_is_loaded_is_said_in_the_same_way(client, pool, model):
    model.is_loaded = False
    assert probes(client) == WELL
    waiting = [pool.submit(ask, client, *numbers) for numbers in ((1,), (2, 3), (4, 5))]
    assert model.is_stuck.wait(10)
    assert [one.result(20) for one in waiting] == [[[]], [[], []], [[], []]]
    assert probes(client) == STUCK
    reason = client.get("/health").json()["reason"]
    assert reason.startswith("model: is being loaded, and has not got on since ")
    assert "A model hangs" in client.get("/").text
    assert 'prelabel_model_hangs{finds="boxes"} 1.0' in client.get("/metrics").text
    (failure, *_) = client.get("/status").json()["failures"]
    assert "model hangs while it is loaded. Restart the process" in failure["reason"]
    assert ask(client, 6) == [[]]
    model.may_go_on.set()
    until(lambda: probes(client) == WELL)
    assert all(ask(client, 1, 6))


def test_the_process_is_told_to_end_though_its_model_was_never_loaded(client, model, ended):
    model.is_loaded = False
    ask(client, 1)
    until(lambda: len(ended) == 2)
    assert ended == ["terminate", 70]


def test_the_process_is_told_to_end_where_it_is_started_anew(client, ended):
    ask(client, TAR_PIT)
    until(lambda: len(ended) == 2)
    assert ended == ["terminate", 70]


@pytest.mark.parametrize(("pid", "workers", "ends"), [(77, 1, False), (1, 1, True), (77, 2, True)])
def test_a_process_ends_by_itself_only_where_another_keeps_count(monkeypatch, pid, workers, ends):
    monkeypatch.setattr(server.os, "getpid", lambda: pid)
    settings = Settings(_env_file=None, workers=workers)
    assert server.is_started_anew(settings) == ends


def test_weights_are_looked_for_where_prelabel_and_the_hub_put_them(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub", reason="pip install 'prelabel[grounding-dino]'")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    settings = Settings(_env_file=None, model_dir=tmp_path / "models")
    assert [*watching._weights_folders(settings)] == [tmp_path / "models", tmp_path / "hub"]
    monkeypatch.setattr(watching, "find_spec", lambda _: None)
    assert [*watching._weights_folders(settings)] == [tmp_path / "models"]


def test_doctor_finds_it_by_what_health_says(client):
    ask(client, TAR_PIT)
    diagnosis = _judged(client.get("/health").json(), "http://localhost:9090", 0.01)
    assert diagnosis.status == "failure"
    assert "does not come back" in diagnosis.finding
