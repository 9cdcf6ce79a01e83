"""How fast the server answers, idle and while a model works."""

import base64
import json
import os
import platform
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import quantiles
from threading import Event
from time import perf_counter, sleep

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="body_distortion"/></RectangleLabels></View>'
)
NO_OP = {"tasks": [{"id": 1, "data": {"image": "a.png"}}], "label_config": "<View></View>"}
SET_UP = {"project": "1.1700000000", "schema": CONFIG}
POLL_S = 0.01


def server(seconds: float, connections: int, model: str | None) -> None:
    """Time an idle server, and /health and /setup while a model loads and works.

    The no-op is a POST /predict of one task whose label config has nothing to fill: the whole way
    through the server without a model. The model is Grounding DINO at full size where it is
    installed, else the OpenCV detector.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = model or _random_model(Path(folder) / "model")
        print(_method(model, seconds, connections))
        with _served(Path(folder), model) as port:
            connection = _Connection(port)
            print(f"resident memory before a model is loaded: {_resident_mb(connection):.0f} MB")
            times = _for(seconds, lambda: connection.post("/predict", NO_OP))
            print(_row("no-op /predict, 1 connection", times))
            print(_throughput(port, connections, seconds))
            for phase, route, times in _beside_a_model(port, seconds):
                print(_row(f"{route} while {phase}", times))


def _beside_a_model(port: int, seconds: float) -> Iterator[tuple[str, str, list[float]]]:
    """Times of /health and /setup while the first prediction loads the model, and afterwards."""
    body = {"tasks": _frames(), "label_config": CONFIG, "project": 1}
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(lambda: _Connection(port).post("/predict", body))
        polls = [pool.submit(_poll, port, route, first.done) for route in ("/health", "/setup")]
        for route, poll in zip(("/health", "/setup"), polls, strict=True):
            yield "the model loads and predicts for the first time", route, poll.result()
        stop = Event()
        for _ in range(2):
            pool.submit(_repeat, port, body, stop)
        sleep(0.5)
        for route in ("/health", "/setup"):
            times = _poll(port, route, _after(seconds))
            yield "2 streams of predictions saturate the cores", route, times
        stop.set()


def _after(seconds: float) -> Callable[[], bool]:
    end = perf_counter() + seconds
    return lambda: perf_counter() > end


def _repeat(port: int, body: object, stop: Event) -> None:
    connection = _Connection(port)
    while not stop.is_set():
        connection.post("/predict", body)


def _poll(port: int, route: str, is_over: Callable[[], bool]) -> list[float]:
    connection, times = _Connection(port), []
    while not is_over():
        started = perf_counter()
        if route == "/health":
            connection.get(route)
        else:
            connection.post(route, SET_UP)
        times.append(perf_counter() - started)
        sleep(POLL_S)
    return times


def _for(seconds: float, call: Callable[[], object]) -> list[float]:
    """Times of one call after the other, the first tenth of a second not counted."""
    times, begin = [], perf_counter()
    while (started := perf_counter()) < begin + seconds + 0.1:
        call()
        if started > begin + 0.1:
            times.append(perf_counter() - started)
    return times


def _throughput(port: int, connections: int, seconds: float) -> str:
    """Requests a second with one request under way on each connection at any time."""
    clients = [_Connection(port) for _ in range(connections)]
    begin, answered = perf_counter(), 0
    while perf_counter() < begin + seconds:
        for client in clients:
            client.send_post("/predict", NO_OP)
        for client in clients:
            client.receive()
        answered += connections
    rate = answered / (perf_counter() - begin)
    return f"no-op /predict, {connections} connections: {rate:,.0f} requests/s, 0 errors"


def _row(name: str, times: list[float]) -> str:
    ms = [1000 * time for time in times]
    cuts = quantiles(ms, n=100, method="inclusive")
    return (
        f"{name}: p50 {cuts[49]:.2f} ms, p95 {cuts[94]:.2f} ms, p99 {cuts[98]:.2f} ms, "
        f"max {max(ms):.1f} ms ({len(ms)} requests, 0 errors)"
    )


def _method(model: str | None, seconds: float, connections: int) -> str:
    name = model or "OpenCV detector (torch or transformers is not installed)"
    return (
        f"machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        f"\nserver: one worker of its own on loopback; client: this process, keep-alive, "
        f"{connections} connections for the throughput; {seconds:g} s each"
        f"\nmodel: {name}"
        f"\nwhile a model works, /health and /setup are asked every {1000 * POLL_S:.0f} ms"
    )


def _random_model(folder: Path) -> str | None:
    """A full-size Grounding DINO with random weights, where it can be made."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        return None
    from transformers import GroundingDinoConfig

    from prelabel.benchmarks.random_grounding_dino import write_random_model

    write_random_model(folder, GroundingDinoConfig())
    return str(folder)


def _frames() -> list[dict[str, object]]:
    """Tasks of three 1080p frames of noise in sequence, as data URIs."""
    import cv2
    import numpy as np

    coarse = np.random.default_rng(0).integers(0, 256, (36, 64, 3), np.uint8)
    _, encoded = cv2.imencode(".jpg", cv2.resize(coarse, (1920, 1080)))
    uri = "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
    return [
        {"id": number, "data": {"image": uri, "video": "noise", "frame": number}}
        for number in range(3)
    ]


@contextmanager
def _served(folder: Path, model: str | None) -> Iterator[int]:
    from prelabel.launch import backend
    from prelabel.launch.processes import free_port

    port = free_port()
    settings = {"GROUNDING_DINO_MODEL_ID": model} if model else {}
    with backend.start(
        f"http://127.0.0.1:{port}",
        log_path=folder / "server.log",
        environment={
            **settings,
            "LABEL_STUDIO_URL": "",
            "LOG_LEVEL": "INFO",
            "PREDICTION_STORE_MB": "0",
        },
    ):
        yield port


def _resident_mb(connection: "_Connection") -> float:
    found = re.search(
        rb"^process_resident_memory_bytes (\S+)", connection.get("/metrics"), re.MULTILINE
    )
    return float(found.group(1)) / 2**20 if found else float("nan")


class _Connection:
    """One keep-alive HTTP/1.1 connection; faster than the server that it times.

    A client library would take longer over a request than the server does. An answer that is not
    a 2xx ends the benchmark, so "0 errors" is no assumption.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, path: str) -> bytes:
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        return self.receive()

    def post(self, path: str, body: object) -> bytes:
        self.send_post(path, body)
        return self.receive()

    def send_post(self, path: str, body: object) -> None:
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(content)}\r\n\r\n"
        self._socket.sendall(head.encode() + content)

    def receive(self) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._some()
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if not head.startswith(b"HTTP/1.1 2") or length is None:
            raise RuntimeError(f"the server answered {head[:200]!r}")
        while len(body) < int(length.group(1)):
            body += self._some()
        return body

    def _some(self) -> bytes:
        received = self._socket.recv(1 << 20)
        if not received:
            raise RuntimeError("the server closed the connection")
        return received
