"""What the soak breaks on purpose: pictures, the way to Label Studio, the server, its database."""

import http.client
import os
import signal
import sqlite3
import subprocess
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from prelabel.benchmarks.image_server import pictures, unlike_any
from prelabel.launch.processes import answers

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "prelabel")
SLOW_S = 2.0
HANG_S = 35.0
"""Longer than prelabel waits for an answer."""

FLAKY_TIMES = 2
"""So often an image is not there just now before it is."""

START_S = 60.0
MUST_END_IN_S = 25.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that went away are what this is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def say(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing: there are thousands."""


class Pictures(_Server):
    """Serves `/good/7.jpg`, `/slow/7.jpg` and so on.

    Slow ones take a while, flaky ones are answered with 503 at first, broken ones are cut short,
    and missing ones are not there.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _PicturesHandler)
        self.files = pictures(640, 360)
        self.is_away = False
        self.asked: Counter[str] = Counter()

    def answer(self, path: str) -> tuple[int, bytes]:
        """Status and body for a picture."""
        kind, _, name = path.strip("/").partition("/")
        self.asked[path] += 1
        if self.is_away or (kind == "flaky" and self.asked[path] <= FLAKY_TIMES):
            return 503, b"not just now"
        if kind == "missing":
            return 404, b"not found"
        if kind == "slow":
            time.sleep(SLOW_S)
        whole = unlike_any(self.files[hash(name) % len(self.files)], name)
        return 200, whole[: len(whole) // 3] if kind == "broken" else whole


class _PicturesHandler(_Handler):
    server: Pictures

    def do_GET(self) -> None:
        status, content = self.server.answer(self.path)
        self.say(status, content, {"Content-Type": "image/jpeg"})


class Gateway(_Server):
    """Passes on to Label Studio what prelabel asks it, unless `fault` says what goes wrong."""

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _GatewayHandler)
        self.behind = urlsplit(behind)
        self.fault = ""
        self.met: Counter[str] = Counter()


class _GatewayHandler(_Handler):
    server: Gateway

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.fault
        if fault:
            self.server.met[fault] += 1
        if fault == "500":
            self.say(500, b"<html>server error</html>")
        elif fault == "429":
            self.say(429, b"slowly", {"Retry-After": "2"})
        elif fault == "hangs":
            time.sleep(HANG_S)
            self.close_connection = True
        elif fault == "cut after":  # done, and nobody hears of it
            self.forward(body)
            self.close_connection = True
        else:
            self.say(*self.forward(body))

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self.handle_any
        raise AttributeError(name)

    def forward(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        behind = self.server.behind
        headers = {name: value for name, value in self.headers.items() if name != "Connection"}
        address = http.client.HTTPConnection(behind.hostname or "", behind.port, timeout=300)
        with closing(address) as connection:
            connection.request(self.command, self.path, body, headers)
            with connection.getresponse() as answer:
                content = answer.read()
        passed = {"content-type", "location", "set-cookie", "content-disposition"}
        kept = {name: value for name, value in answer.getheaders() if name.lower() in passed}
        return answer.status, content, kept


@contextmanager
def serving(*servers: _Server) -> Iterator[None]:
    """Have them answer meanwhile."""
    threads = [threading.Thread(target=one.serve_forever, daemon=True) for one in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


@dataclass(frozen=True, slots=True)
class Vitals:
    """One look at the server's process.

    Attributes:
        at_s: When, by `time.monotonic()`.
        pid: Of which process.
        resident_mb: Its memory.
        files: Its open file descriptors.
        threads: Its threads.
    """

    at_s: float
    pid: int
    resident_mb: float
    files: int
    threads: int


@dataclass
class Backend:
    """The server under test: started, killed, ended and started again on one port and folder.

    Attributes:
        url: Where it answers.
        environment: Its settings.
        log: Where its output goes.
        endings: Seconds that each SIGTERM took, and the exit code.
        away: Times, by `time.monotonic()`, between which it is not expected to answer.
        is_up: Whether it was started, and has not been told to end.
    """

    url: str
    environment: dict[str, str]
    log: Path
    endings: list[tuple[float, int]] = field(default_factory=list)
    away: list[list[float]] = field(default_factory=list)
    is_up: bool = False
    _process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [PROGRAM, "serve", "--port", str(urlsplit(self.url).port)]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                command,
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_S
        while not answers(f"{self.url}/health"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start; see {self.log}")
            time.sleep(0.1)
        self.is_up = True
        if self.away:
            self.away[-1][1] = time.monotonic() + 1.0

    def kill(self) -> None:
        """Kill it with -9, and start it again."""
        assert self._process is not None, "it was started"
        self.is_up = False
        self.away.append([time.monotonic(), float("inf")])
        self._process.kill()
        self._process.wait()
        self.start()

    def end(self, *, again: bool) -> None:
        """End it with SIGTERM, and perhaps start it again."""
        assert self._process is not None, "it was started"
        self.is_up = False
        began = time.monotonic()
        self.away.append([began, float("inf")])
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(2 * MUST_END_IN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self.endings.append((time.monotonic() - began, code))
        if again:
            self.start()

    def lock_database(self, seconds: float) -> None:
        """Hold its SQLite file for a while, as a backup or another program would."""
        path = Path(self.environment["DATA_DIR"]) / "prelabel.db"
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    def vitals(self) -> Vitals | None:
        """How its process is; None while there is none."""
        process = self._process
        if process is None or not self.is_up:
            return None
        folder = Path("/proc") / str(process.pid)
        try:
            status = dict(
                line.split(":", 1) for line in (folder / "status").read_text().splitlines()
            )
            files = len(list((folder / "fd").iterdir()))
            resident_mb = int(status["VmRSS"].split()[0]) / 1024
            return Vitals(time.monotonic(), process.pid, resident_mb, files, int(status["Threads"]))
        except (OSError, KeyError):  # it ends at this moment
            return None

    def is_away(self, begin_s: float, end_s: float) -> bool:
        """Whether a request between these times may go unanswered."""
        return any(begin_s <= until and end_s >= since for since, until in self.away)
