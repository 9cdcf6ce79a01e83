"""A server in this process, with a predictor and images that tests control."""

import base64
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event

import numpy as np
import pytest
from fastapi.testclient import TestClient

from prelabel.errors import ImageUnreachable, ModelError, PrelabelError
from prelabel.gathering import Studio
from prelabel.plan import Predictors
from prelabel.runtime.batch_queue import BatchQueue
from prelabel.runtime.batcher import Batcher
from prelabel.server.admission import Admission
from prelabel.server.app import make_app
from prelabel.server.service import Service
from prelabel.settings import Settings
from prelabel.types import Detections, Image

CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image"><Label value="body_distortion"/></RectangleLabels>
  <Choices name="body_part" toName="image" perRegion="true">
    <Choice value="face"/><Choice value="other"/>
  </Choices>
</View>
"""
LABEL_STUDIO = {"User-Agent": "heartex/1.23.2"}


@dataclass
class FakePredictor:
    """Finds one box in each image; behaves by the image's name."""

    name: str = "fake"
    fingerprint: str = ""
    wants_neighbours: bool = False
    batch_size: int = 4
    asks: list = field(default_factory=list)
    batches: list = field(default_factory=list)
    may_go_on: Event = field(default_factory=Event)

    def __post_init__(self):
        self.may_go_on.set()

    def check(self): ...

    def load(self):
        self.may_go_on.wait(10)

    def health(self):
        return {"loaded": self.may_go_on.is_set(), "device": "none"}

    def predict(self, images: Sequence[Image], ask):
        self.load()
        self.asks.append(ask)
        self.batches.append([image.name for image in images])
        return [self._find(image, ask) for image in images]

    def _find(self, image, ask) -> Detections | PrelabelError:
        if "crash" in image.name:
            raise ZeroDivisionError("a defect")
        if "poison" in image.name:
            return ModelError(image.name, "is poison", "Throw it away.")
        if "blank" in image.name or not ask.phrases:
            return Detections.none(self.name)
        phrase = ask.phrases[0]
        box = np.array([[10, 20, 30, 60]], np.float32)
        score = np.array([0.5], np.float32)
        return Detections(box, score, (phrase.label,), (phrase.body_part,), self.name)


class Held(FakePredictor):
    """Is loaded, says when it begins a batch, and stands still in the middle of it."""

    def __post_init__(self):
        super().__post_init__()
        self.is_at_work = Event()

    def load(self): ...

    def predict(self, images, ask):
        answer = super().predict(images, ask)
        self.is_at_work.set()
        assert self.may_go_on.wait(10)
        return answer


@dataclass
class FakeImages:
    """Images of 100x100 px; an address may say that it is slow or missing."""

    loaded: list = field(default_factory=list)

    def load(self, reference):
        self.loaded.append(reference)
        if "slow" in reference.uri:
            time.sleep(1)
        if "missing" in reference.uri:
            raise ImageUnreachable(reference.uri, "answered 404", "Upload it again.")
        return Image(np.zeros((100, 100, 3), np.uint8), reference.uri)


@pytest.fixture
def predictor():
    return FakePredictor()


@pytest.fixture
def images():
    return FakeImages()


@pytest.fixture
def serve(predictor, images):
    """Start a server with these settings; returns a client."""
    clients = []

    def start(
        deadline_s: float = 5.0,
        learning=None,
        most_tasks=20_000,
        backfilling=lambda predictors, studio: None,
        signing_in=None,
        **settings,
    ) -> TestClient:
        fetchers = ThreadPoolExecutor(16)
        queued = Batcher(BatchQueue(predictor))
        predictors, studio = Predictors(queued, queued), Studio(images, fetchers, lambda _: ())
        service = Service(
            predictors,
            studio,
            origin=None,
            deadline_s=deadline_s,
            threads=4,
            admission=Admission(most_tasks),
            learning=learning,
            backfilling=backfilling(predictors, studio),
            signing_in=signing_in,
        )
        app = make_app(service, Settings(_env_file=None, **settings))
        client = TestClient(app, raise_server_exceptions=False)
        client.__enter__()
        clients.append((client, fetchers))
        return client

    yield start
    predictor.may_go_on.set()
    for client, fetchers in clients:
        client.__exit__(None, None, None)
        fetchers.shutdown()


@pytest.fixture
def client(serve):
    return serve()


def basic(user: str, password: str) -> dict[str, str]:
    """The header of HTTP Basic."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def until(is_so, timeout_s=20):
    """Wait for what comes true by itself; gives it."""
    end = time.monotonic() + timeout_s
    while not (found := is_so()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)
    return found
