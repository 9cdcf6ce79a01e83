"""A made-up machine on which all is well, and a made-up Label Studio, to be spoilt by each test."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image
from pydantic import SecretStr

from prelabel.doctor.machine import Machine, Trial
from prelabel.labelstudio.templates import boxes_config
from prelabel.settings import Settings

TOKEN = "0123456789abcdef0123456789abcdef01234567"
RESERVED = "URL resolves to a reserved network address (block: 127.0.0.0/8)"

WELL = Machine(
    python=(3, 11, 7),
    executable="/venv/bin/python",
    packages={"opencv-python-headless": "4.12.0.88", "onnxruntime": "1.22.0"},
    names=frozenset({"PATH", "HOME", "PORT"}),
    run=lambda lines: Trial(ok=True, said="4.12.0" if "cv2" in lines else "CPUExecutionProvider"),
    free_bytes=lambda _: 50_000_000_000,
    cores=4,
    memory_bytes=16_000_000_000,
)


@pytest.fixture
def machine():
    def made(**changes):
        return replace(WELL, **changes)

    return made


@pytest.fixture
def settings(tmp_path):
    def made(**changes):
        own = {"boxes_predictor": "opencv-fallback", "poses_predictor": "embedded-pose"}
        folders = {"model_dir": tmp_path, "data_dir": tmp_path / "data"}
        return Settings.model_construct(**{**folders, **own, **changes})

    return made


@dataclass
class FakeLabelStudio:
    """What a Label Studio 1.23.2 with one project answers; each field may be spoilt."""

    url: str = ""
    version: object = field(default_factory=lambda: {"release": "1.23.2", "edition": "Community"})
    clock_s: float = 0.0
    permissions: list[str] | None = field(
        default_factory=lambda: ["projects.view", "projects.change", "tasks.view"]
    )
    label_config: str = field(default_factory=boxes_config)
    tasks: list[dict] = field(default_factory=list)
    backends: list[dict] = field(default_factory=list)
    versions: tuple[int, object] = (200, {"versions": ["v"]})
    webhooks: list[dict] = field(default_factory=list)
    refusals: dict[str, tuple[int, object]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    written: list[tuple[str, dict]] = field(default_factory=list)

    def attach(self, url: str, *, state: str = "CO", webhook: bool = True) -> None:
        """A backend with its webhook, as `prelabel connect` leaves them."""
        about = {"id": 7, "url": url, "state": state, "model_version": "m1", "error_message": None}
        self.backends.append(about)
        if webhook:
            self.webhooks.append({"id": 1, "url": f"{url}/webhook", "is_active": True})

    def block(self, *paths: str) -> None:
        """Refuse private addresses, as Label Studio does by default since 1.23.1."""
        self.refusals |= dict.fromkeys(paths, (403, {"detail": RESERVED}))

    def answer(self, method: str, path: str, query: dict, body: dict) -> tuple[int, object]:
        """Status and content of an answer to somebody who is signed in."""
        if method == "POST":
            self.written.append((path, body))
            if path in self.refusals:
                return self.refusals[path]
            if path == "/api/ml/":
                wrong = {"project": ["This field is required."]}
            else:
                wrong = {"is_active": ["Must be a valid boolean."]}
                if "." not in str(urlsplit(body["url"]).hostname):
                    wrong = {"url": ["Enter a valid URL."], **wrong}
            return 400, {"detail": "Validation error", "validation_errors": wrong}
        project = {
            "id": 1,
            "title": "Frames",
            "label_config": self.label_config,
            "task_number": len(self.tasks),
        }
        page = [] if "value" in str(query) and '"value": 0' not in str(query) else self.tasks
        known = {
            "/api/current-user/whoami": {"email": "a@b.example", "permissions": self.permissions},
            "/api/projects/1/": project,
            "/api/tasks/": {"tasks": page, "total": len(page)},
            "/api/ml/": self.backends,
            "/api/webhooks/": self.webhooks,
        }
        if path == "/api/ml/7/versions":
            return self.versions
        return (200, known[path]) if path in known else (404, {"detail": "Not found."})


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A PNG of 40 x 30 pixels."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def serve() -> Iterator[Callable[[type[BaseHTTPRequestHandler]], int]]:
    """Starts a server on a free port, which it gives."""
    with ExitStack() as stack:

        def made(handler):
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server.server_port

        yield made


@pytest.fixture
def studio(serve) -> FakeLabelStudio:
    fake = FakeLabelStudio()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer({})

        def do_POST(self):
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, body):
            parts = urlsplit(self.path)
            if parts.path == "/api/version/":
                status, content = 200, fake.version
            elif self.headers.get("Authorization") != f"Token {TOKEN}":
                status, content = 401, {"detail": "Invalid token."}
            elif parts.path in fake.files:
                status, content = 200, fake.files[parts.path]
            else:
                query = parse_qs(parts.query)
                status, content = fake.answer(self.command, parts.path, query, body)
            written = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response_only(status)
            self.send_header("Date", formatdate(time.time() + fake.clock_s, usegmt=True))
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        def log_message(self, *_): ...

    fake.url = f"http://127.0.0.1:{serve(Handler)}"
    return fake


@pytest.fixture
def signed_in(settings, studio):
    """Settings with which everything works at the made-up Label Studio."""

    def made(**changes):
        own = {
            "label_studio_url": studio.url,
            "label_studio_api_key": SecretStr(TOKEN),
            "project_id": 1,
        }
        return settings(**{**own, **changes})

    return made
