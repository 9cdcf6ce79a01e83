"""Predicting on a real prelabel server elsewhere, over HTTP."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest
import uvicorn

from prelabel.batch.backend import Backend
from prelabel.batch.packing import Squeeze, first_picture
from prelabel.batch.remote import Remote, Shipping
from prelabel.batch.stages import StageClock
from prelabel.errors import (
    ImageTooLarge,
    ImageUnreachable,
    ModelError,
    NotAuthenticated,
    NotReached,
    NotReady,
    OperatorError,
    SettingsError,
)
from prelabel.gathering import Access, Studio
from prelabel.labelstudio.config import parse
from prelabel.labelstudio.tasks import Task
from prelabel.media.addresses import AddressPolicy
from prelabel.media.cache import ImageCache
from prelabel.media.decode import decode
from prelabel.media.fetch import Fetcher
from prelabel.media.limits import Limits
from prelabel.pipeline import Prediction
from prelabel.plan import Predictors, make_plan
from prelabel.server.app import make_app
from prelabel.server.service import Service
from prelabel.settings import Settings
from prelabel.types import Detections, Image

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="cat"/></RectangleLabels></View>'
)
SQUEEZE = Squeeze(90, 200)


class Finder:
    """Finds a box in the middle half of any picture, of this label."""

    fingerprint, wants_neighbours, batch_size = "", False, 4

    def __init__(self):
        self.name = "finder"
        self.widths = []

    def check(self): ...

    def load(self): ...

    def health(self):
        return {"loaded": True}

    def predict(self, images, ask):
        found = []
        for image in images:
            self.widths.append(image.width)
            width, height = image.width, image.height
            if width == 100:
                raise RuntimeError("an odd picture")
            edges = [[width / 4, height / 4, 3 * width / 4, 3 * height / 4]]
            box = np.array(edges, np.float32)
            score = np.array([0.5], np.float32)
            found.append(Detections(box, score, ("cat",), (None,), self.name))
        return found


VERSION = make_plan(CONFIG, Predictors(Finder(), Finder())).model_version


class Images:
    """Pictures of 400 x 300; some are gone, one is odd."""

    def load(self, reference):
        if "gone" in reference.uri:
            raise ImageUnreachable(reference.uri, "is gone", "Find it.")
        if "defect" in reference.uri:
            raise ZeroDivisionError("a defect")
        width = 150 if "odd" in reference.uri else 400
        return Image(np.zeros((300, width, 3), np.uint8), reference.uri)


@pytest.fixture
def finder():
    return Finder()


@pytest.fixture
def serve(finder):
    """Starts a server with these settings; its address."""
    running = []

    def start(**given):
        settings = Settings(boxes_predictor="opencv-fallback", _env_file=None, **given)
        pool = ThreadPoolExecutor(2)
        studio = Studio(images=_by_data_uri(), fetchers=pool, siblings=lambda _: ())
        service = Service(Predictors(finder, finder), studio, origin=None, deadline_s=10, threads=2)
        config = uvicorn.Config(make_app(service, settings), port=0, log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        running.append((server, thread, pool))
        port = server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    yield start
    for server, thread, pool in running:
        server.should_exit = True
        thread.join()
        pool.shutdown()


def _by_data_uri():
    limits = Limits(min_side_px=1)
    fetcher = Fetcher(limits, AddressPolicy(()))
    return ImageCache(lambda reference: decode(fetcher.fetch(reference), "picture", limits))


@pytest.fixture
def backend():
    """Makes a client of a server."""
    opened = []

    def make(url, auth=None, **more):
        options = {"max_retries": 2, "max_backoff_s": 1.0, "pause": lambda _: None, **more}
        opened.append(Backend(url, auth, CONFIG, 7, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def predict():
    """Outcomes of tasks with these images."""
    with ThreadPoolExecutor(3) as fetchers:

        def run(backend, uris, *, version=VERSION, per_request=3):
            studio = Studio(Images(), fetchers, lambda _: (), ahead=8)
            shipping = Shipping(SQUEEZE, per_request=per_request, requests=2)
            config = parse(CONFIG)
            remote = Remote(backend, version, config, studio, Access(), shipping, StageClock())
            tasks = (Task(id=n, data={"image": uri}) for n, uri in enumerate(uris))
            return dict(remote(tasks))

        yield run


def test_no_tasks_have_no_outcomes(backend, serve, predict):
    assert predict(backend(serve()), []) == {}


def test_boxes_come_back_for_the_original_size(backend, serve, predict, finder):
    outcomes = predict(backend(serve()), [f"{n}.png" for n in range(10)])
    assert outcomes.keys() == set(range(10))
    for outcome in outcomes.values():
        (region,) = outcome.result
        assert (region["original_width"], region["original_height"]) == (400, 300)
        assert region["value"]["x"] == pytest.approx(25, abs=0.3)
    assert set(finder.widths) == {200}


def test_a_failure_on_either_side_costs_only_its_own_task(backend, serve, predict):
    outcomes = predict(backend(serve()), ["a", "gone", "odd", "b", "defect", "c"])
    assert isinstance(outcomes[0], Prediction)
    assert isinstance(outcomes[1], ImageUnreachable)
    assert isinstance(outcomes[2], NotReached)
    assert "defect" in str(outcomes[2])
    assert isinstance(outcomes[3], Prediction)
    assert isinstance(outcomes[4], ModelError)
    assert isinstance(outcomes[5], Prediction)


def test_the_server_is_asked_which_version_it_has(backend, serve):
    assert backend(serve()).prepare(first_picture(SQUEEZE)) == (VERSION, ())


def test_a_password_is_given_and_a_wrong_one_refused(backend, serve, predict):
    url = serve(basic_auth_user="u", basic_auth_pass="p")
    assert predict(backend(url, httpx2.BasicAuth("u", "p")), ["a"]).keys() == {0}
    with pytest.raises(NotAuthenticated):
        predict(backend(url, httpx2.BasicAuth("u", "wrong")), ["a"])


def test_a_server_that_is_not_there_ends_the_run(backend, predict):
    with pytest.raises(OperatorError, match="does not answer"):
        predict(backend("http://127.0.0.1:9"), ["a"])


def test_a_server_that_changed_its_version_ends_the_run(backend, serve, predict):
    with pytest.raises(NotReady, match="no more as other"):
        predict(backend(serve()), ["a"], version="other")


def test_a_server_that_is_busy_is_asked_again(backend, predict, serve):
    url, answers = serve(), iter([503, 429, 200])

    def answer(request):
        status = next(answers, 200)
        if status != 200:
            return httpx2.Response(status)
        return httpx2.request(
            request.method, url + request.url.path, content=request.read(), headers=request.headers
        )

    busy = backend("http://busy.test", transport=httpx2.MockTransport(answer))
    assert isinstance(predict(busy, ["a"])[0], Prediction)


@pytest.mark.parametrize("content", [{"html": "<p>Log in"}, {"json": []}, {"json": {"ok": 1}}])
def test_another_program_at_the_address_is_named(backend, content):
    def answer(_request):
        return httpx2.Response(200, **content)

    with pytest.raises(OperatorError, match="not as a prelabel server"):
        backend("http://other.test", transport=httpx2.MockTransport(answer)).prepare("data:,")


def test_what_is_too_large_together_is_sent_apart(backend, predict):
    def answer(request):
        tasks = json.loads(request.read())["tasks"]
        if len(tasks) > 1 or tasks[0]["id"] == 3:
            return httpx2.Response(413)
        found = {"result": [], "score": 0.0, "model_version": VERSION}
        return httpx2.Response(200, json={"results": [found]})

    small = backend("http://small.test", transport=httpx2.MockTransport(answer))
    outcomes = predict(small, ["a", "b", "c", "d"], per_request=4)
    assert [isinstance(outcomes[n], Prediction) for n in range(4)] == [True, True, True, False]
    assert isinstance(outcomes[3], ImageTooLarge)


@pytest.mark.parametrize("url", ["nonsense", "gpu:9090", "http://[::1"])
def test_what_is_no_address_is_refused_at_once(url):
    with pytest.raises(SettingsError, match="Write it with its scheme"):
        Backend(url, None, CONFIG, 7, max_retries=3, max_backoff_s=60)


def test_a_fallback_is_told_of_what_is_asked_only(backend):
    boxes = {"name": "opencv-fallback", "reason": "torch is not installed."}
    poses = {"name": "embedded-pose", "reason": "rtmlib is not installed."}
    found = {"result": [], "score": 0.0, "model_version": "opencv-fallback-1a2b"}
    answers = {
        "/validate": {"valid": True, "warnings": []},
        "/predict": {"results": [found]},
        "/health": {"model_loaded": True, "predictors": {"boxes": boxes, "poses": poses}},
    }

    def answer(request):
        return httpx2.Response(200, json=answers[request.url.path])

    server = backend("http://gpu.test", transport=httpx2.MockTransport(answer))
    assert server.prepare("data:,") == (found["model_version"], (boxes["reason"],))
