"""Real HTTP servers with a memory, for tests of fetching."""

import threading
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass(frozen=True)
class Answer:
    """What is sent back; see `Server.answer`."""

    data: bytes
    status: int
    only_with: str | None
    promised: int | None
    drip_s: float
    headers: dict[str, str]


@dataclass
class Server:
    """One server: what it answers, and what it was asked.

    Attributes:
        asked: (path with query, headers) of each request, in order.
    """

    host: str
    port: int
    listener: ThreadingHTTPServer | None = None
    answers: dict = field(default_factory=lambda: defaultdict(list))
    asked: list = field(default_factory=list)

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    @property
    def paths(self):
        return [path for path, _ in self.asked]

    def sent(self, header):
        return [headers.get(header) for _, headers in self.asked]

    def answer(
        self, path, data=b"", status=200, *, only_with=None, promised=None, drip_s=0.0, **headers
    ):
        """Add an answer for a path; several are given in turn, the last one for ever.

        Args:
            path: With its query, or without it for any.
            data: The body.
            status: HTTP status.
            only_with: The Authorization header without which the answer is 401.
            promised: Content-Length where it is not the truth.
            drip_s: Seconds to wait before each byte of the status line (below 0: of the body).
            headers: With _ for -.
        """
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path].append(Answer(data, status, only_with, promised, drip_s, names))

    def next_answer(self, path):
        queue = self.answers.get(path) or self.answers.get(path.partition("?")[0])
        if not queue:
            return Answer(b"", 404, None, None, 0.0, {})
        return queue.pop(0) if len(queue) > 1 else queue[0]


def handler_of(server):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            server.asked.append((self.path, dict(self.headers)))
            answer = server.next_answer(self.path)
            try:
                if answer.drip_s > 0:
                    self.drip(b"HTTP/1.1 200 OK\r\n" * 100, answer.drip_s)
                refused = answer.only_with not in (None, self.headers.get("Authorization"))
                data = b"" if refused else answer.data
                self.send_response(401 if refused else answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                promised = len(data) if answer.promised is None else answer.promised
                self.send_header("Content-Length", str(promised))
                self.end_headers()
                if answer.drip_s < 0:
                    self.drip(data, -answer.drip_s)
                else:
                    self.wfile.write(data)
                self.close_connection = promised != len(data)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def drip(self, data, pause_s):
            for byte in data:
                self.wfile.write(bytes([byte]))
                time.sleep(pause_s)

        def log_message(self, *_):
            pass

    return Handler


@contextmanager
def serving(host):
    server = Server(host, 0)
    listener = ThreadingHTTPServer((host, 0), handler_of(server))
    listener.daemon_threads = True
    server.port, server.listener = listener.server_address[1], listener
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


@pytest.fixture
def serve():
    """A function that starts a server on a loopback address, 127.0.0.1 where none is given."""
    with ExitStack() as stack:
        yield lambda host="127.0.0.1": stack.enter_context(serving(host))


@pytest.fixture
def studio(serve):
    """A server that plays Label Studio."""
    return serve()
