"""The warm-up: patient with a model that loads, plain about one that fails."""

import io
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2
import pytest
from PIL import Image

from prelabel.errors import LoginRefused, ModelError, OperatorError
from prelabel.launch import backend
from prelabel.launch.processes import free_port

PREDICTION = {"result": [], "score": 0.0, "model_version": "opencv-fallback"}


class Backend:
    """A stand-in that answers /predict from a list and counts as the real one does."""

    def __init__(self, *answers, reason=None, password=None):
        self.answers = list(answers)
        self.requests = []
        self.failed = 0
        self.last_failures = []
        self.health = {
            "model_loaded": True,
            "predictors": {"boxes": {"reason": reason}, "other": {}},
        }
        self.password = password

    def get(self, path):
        if path == "/status":
            row = {"project": "warm-up", "failed": self.failed, "last_failures": self.last_failures}
            return {"projects": [row] if self.last_failures else []}
        return self.health

    def post(self, body):
        self.requests.append(body)
        answer = self.answers.pop(0)
        if isinstance(answer, str):
            self.failed += answer != "not reached"
            self.last_failures.insert(0, {"reason": answer})
            return {"results": [[]]}
        return {"results": [answer]}


@pytest.fixture
def serve():
    servers = []

    def start(stand_in):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(stand_in.get(self.path))

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                self.answer(stand_in.post(json.loads(self.rfile.read(length))))

            def answer(self, content):
                allowed = not stand_in.password or self.headers["Authorization"]
                self.send_response(200 if allowed else 401)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_first_prediction_tells_what_answers(serve):
    warm = backend.warm_up(serve(Backend(PREDICTION)), backend.plain_picture())
    assert (warm.model_version, warm.reasons) == ("opencv-fallback", ())


def test_a_label_config_says_what_the_first_prediction_looks_for(serve):
    stand_in = Backend(PREDICTION)
    backend.warm_up(serve(stand_in), b"...", label_config="<View/>")
    assert [body["label_config"] for body in stand_in.requests] == ["<View/>"]


def test_a_fallback_is_told_with_its_reason(serve):
    url = serve(Backend(PREDICTION, reason="torch is not installed"))
    warm = backend.warm_up(url, b"...")
    assert backend.story(warm)[1:] == ["backend: torch is not installed"]


def test_a_picture_that_was_not_reached_while_the_model_loads_is_sent_again(serve):
    loading = Backend("not reached", "not reached", PREDICTION)
    backend.warm_up(serve(loading), b"...")
    assert len(loading.requests) == 3


def test_a_model_that_never_gets_ready_is_given_up(serve):
    url = serve(Backend(*["not reached"] * 9999))
    with pytest.raises(ModelError, match="not reached"):
        backend.warm_up(url, b"...", timeout_s=0.5)


def test_a_failure_is_told_with_its_reason_and_not_tried_again(serve):
    url = serve(Backend("the file is truncated"))
    with pytest.raises(ModelError, match="the file is truncated"):
        backend.warm_up(url, b"...")


def test_an_earlier_failure_is_not_taken_for_this_one(serve):
    stand_in = Backend("not reached", PREDICTION)
    stand_in.failed, stand_in.last_failures = 1, [{"reason": "yesterday's"}]
    backend.warm_up(serve(stand_in), b"...")


def test_nothing_at_the_address_tells_how_to_start_it():
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(OperatorError, match="prelabel serve"):
        backend.warm_up(url, b"...")
    assert not backend.is_running(url)


def test_a_password_is_asked_for_and_used(serve):
    url = serve(Backend(PREDICTION, password="yes"))
    with pytest.raises(LoginRefused, match="BASIC_AUTH_USER"):
        backend.warm_up(url, b"...")
    assert backend.warm_up(url, b"...", auth=("anna", "yes")).model_version


def test_a_backend_is_told_from_any_other_server(serve):
    other = Backend()
    url = serve(other)
    assert backend.is_running(url)
    other.health = {"status": "UP"}
    assert not backend.is_running(url)


def test_a_certificate_that_is_not_trusted_is_told_from_a_backend_that_is_down():
    def refuse(request):
        wrong = ssl.SSLCertVerificationError("self-signed certificate")
        raise httpx2.ConnectError(str(wrong), request=request) from wrong

    with (
        httpx2.Client(base_url="https://gpu", transport=httpx2.MockTransport(refuse)) as client,
        pytest.raises(OperatorError, match=r"not trusted here\. Put its certificate"),
    ):
        backend._ask(client, "GET", "/health")


def test_the_plain_picture_is_a_frame_of_usual_size():
    assert Image.open(io.BytesIO(backend.plain_picture())).size == (1280, 720)


def test_another_program_at_the_address_is_told_from_a_backend_that_fails():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Welcome to nginx!</html>")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.01,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{other.server_port}"
            for ask in (
                lambda: backend.warm_up(url, b"..."),
                lambda: backend.told(url),
            ):
                with pytest.raises(OperatorError, match="Check the address") as refused:
                    ask()
                assert "<html>" not in str(refused.value)
        finally:
            other.shutdown()
            thread.join()
