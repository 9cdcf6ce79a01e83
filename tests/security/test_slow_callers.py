"""Callers that hold connections open, send heads without end, or smuggle requests."""

import asyncio
import socket
import threading
from contextlib import closing, contextmanager

import pytest
import uvicorn

from prelabel.server import connections

PATIENCE_S = 0.4
QUESTION = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Application:
    """Reads each request and answers; remembers how each ended."""

    def __init__(self):
        self.ended = []
        self.has_ended = threading.Event()
        self.takes_s = 0.0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        while (message := await receive()).get("more_body"):
            continue
        self.ended.append(message["type"])
        self.has_ended.set()
        await asyncio.sleep(self.takes_s)
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def running(application):
    """A port on which uvicorn serves the application over our connections."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application, http=connections.Connection, ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def application():
    return Application()


@pytest.fixture
def port(application, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_S", PATIENCE_S)
    monkeypatch.setattr(connections, "BODY_LOOK_S", PATIENCE_S)
    with running(application) as port:
        yield port


def connect(port):
    return closing(socket.create_connection(("127.0.0.1", port), timeout=10))


def heard(caller):
    """All that comes until the server hangs up."""
    parts = []
    try:
        while part := caller.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        parts.append(b"(reset)")
    return b"".join(parts)


def test_a_request_is_answered_and_the_connection_kept_for_the_next(port):
    with connect(port) as caller:
        for _ in range(3):
            caller.sendall(QUESTION)
            assert caller.recv(65536).startswith(b"HTTP/1.1 200")


def test_two_requests_sent_at_once_are_both_answered(port):
    with connect(port) as caller:
        caller.sendall(QUESTION + QUESTION.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert heard(caller).count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(port, begun):
    with connect(port) as caller:
        caller.sendall(begun)
        assert heard(caller).startswith(b"HTTP/1.1 408")


def test_a_head_that_drips_is_not_waited_for(port):
    with connect(port) as caller:
        caller.settimeout(0.05)
        try:
            for byte in QUESTION.replace(b"\r\n\r\n", b"\r\nX-Long: " + b"a" * 1000):
                caller.sendall(bytes([byte]))
                try:
                    answer = caller.recv(100)
                except TimeoutError:
                    continue
                break
        except (BrokenPipeError, ConnectionResetError):
            return
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408")


def test_the_head_of_a_later_request_on_the_connection_is_not_waited_for_either(port):
    with connect(port) as caller:
        caller.sendall(QUESTION)
        assert caller.recv(65536).startswith(b"HTTP/1.1 200")
        caller.sendall(b"GET /")
        assert heard(caller).startswith(b"HTTP/1.1 408")


def test_half_a_head_behind_a_request_under_way_does_not_spoil_its_answer(port, application):
    application.takes_s = 3 * PATIENCE_S
    with connect(port) as caller:
        caller.sendall(QUESTION + b"GET /")
        answer = heard(caller)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1 408") == 1  # only after it


@pytest.mark.parametrize("endless", [b"X-A: " + b"a" * 65536, b"X-A: a\r\n" * 9000])
def test_a_head_without_end_is_cut_off(port, endless):
    with connect(port) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        try:
            for _ in range(100):
                caller.sendall(endless)
        except (BrokenPipeError, ConnectionResetError):
            return  # hung up in the middle
        answer = heard(caller)
        assert answer.startswith(b"HTTP/1.1 431") or answer == b"(reset)"


def test_a_body_that_stalls_ends_for_the_application_too(port, application):
    with connect(port) as caller:
        caller.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc")
        assert heard(caller) in (b"", b"(reset)")
    assert application.has_ended.wait(10)
    assert application.ended == ["http.disconnect"]


def test_a_body_that_comes_steadily_is_waited_for(port, application):
    looks, part = 4, b"a" * connections.LEAST_BODY_BYTES
    with connect(port) as caller:
        length = 2 * looks * len(part)
        caller.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length)
        pause = threading.Event()
        for _ in range(2 * looks):
            caller.sendall(part)
            pause.wait(PATIENCE_S / 2)
        assert caller.recv(65536).startswith(b"HTTP/1.1 200")
    assert application.ended == ["http.request"]


@pytest.mark.parametrize(
    "request_of_two_minds",
    [
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        ),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    ],
)
def test_a_request_that_two_servers_could_read_differently_is_no_request(
    port, application, request_of_two_minds
):
    with connect(port) as caller:
        caller.sendall(request_of_two_minds)
        answer = heard(caller)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"HTTP/1.1 200" not in answer
