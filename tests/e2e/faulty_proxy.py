"""A gateway before Label Studio that breaks writes in every way that gateways do, by a seed."""

import http.client
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

KINDS = ("busy", "cut before", "cut after", "slow", "too many", "gateway", "gateway before")
BURST = 3
"""Requests of any kind that are turned away after a "busy"."""


class FaultyProxy(ThreadingHTTPServer):
    """Passes everything on to `behind`, except that bulk imports meet faults in a shuffled order.

    Each kind of fault comes `rounds` times, with as many writes that pass between them.
    """

    daemon_threads = True

    def __init__(self, behind: str, seed: int, *, rounds: int, slow_s: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.behind = urlsplit(behind)
        self.slow_s = slow_s
        self.met: Counter[str] = Counter()
        self._to_come = list(KINDS) * rounds + [""] * (len(KINDS) * rounds)
        random.Random(seed).shuffle(self._to_come)
        self._burst = 0
        self._lock = threading.Lock()

    @property
    def spent(self) -> bool:
        """Whether every fault has come."""
        return not any(self._to_come)

    def fault_for(self, method: str, path: str) -> str:
        """What goes wrong with this request; "" for nothing."""
        with self._lock:
            if self._burst:
                self._burst -= 1
                return "busy"
            is_import = method == "POST" and path.endswith("/import/predictions")
            fault = self._to_come.pop() if is_import and self._to_come else ""
            self.met.update([fault] if fault else [])
            self._burst = BURST if fault == "busy" else 0
            return fault

    def handle_error(self, request, client_address) -> None:
        """Clients that went away are what this is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultyProxy

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        match self.server.fault_for(self.command, urlsplit(self.path).path):
            case "busy":
                self.answer(503, {}, b"busy")
            case "too many":
                self.answer(429, {"Retry-After": "1"}, b"slowly")
            case "cut before":
                self.cut()
            case "cut after":
                self.forward(body)
                self.cut()
            case "slow":
                answered = self.forward(body)
                time.sleep(self.server.slow_s)
                self.answer(*answered)
            case "gateway":  # Label Studio goes on working when the gateway has given up
                threading.Timer(1.0, self.forward, [body]).start()
                self.answer(502, {}, b"<html>bad gateway</html>")
            case "gateway before":
                self.answer(502, {}, b"<html>bad gateway</html>")
            case _:
                self.answer(*self.forward(body))

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self.handle_any
        raise AttributeError(name)

    def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        behind = self.server.behind
        headers = {name: value for name, value in self.headers.items() if name != "Connection"}
        address = http.client.HTTPConnection(behind.hostname, behind.port, timeout=120)
        with closing(address) as connection:
            connection.request(self.command, self.path, body, headers)
            with connection.getresponse() as answer:
                content = answer.read()
        passed = {"content-type", "location", "set-cookie", "content-disposition"}
        kept = {name: value for name, value in answer.getheaders() if name.lower() in passed}
        return answer.status, kept, content

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """The test says what it met."""


@contextmanager
def faulty_proxy(behind: str, seed: int, *, rounds: int, slow_s: float) -> Iterator[FaultyProxy]:
    """A running proxy."""
    with FaultyProxy(behind, seed, rounds=rounds, slow_s=slow_s) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()
