"""What `prelabel serve` says of itself, and when."""

import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from prelabel.assembly import server
from prelabel.cli.serve import announced

PRELABEL = Path(sys.executable).parent / "prelabel"


@pytest.fixture
def application(monkeypatch):
    """An application in the place of ours; it may fail at its start."""
    monkeypatch.chdir("/")  # no settings file
    monkeypatch.setenv("PORT", "9123")
    failures = []

    @asynccontextmanager
    async def lifespan(_):
        structlog.get_logger().info("the database opens")
        for failure in failures:
            raise failure
        yield
        structlog.get_logger().info("the database closes")

    monkeypatch.setattr(server, "app", lambda: FastAPI(lifespan=lifespan))
    return failures


def events(logs):
    return [entry["event"] for entry in logs]


def test_a_server_says_that_it_serves_once_its_start_is_done(application):
    with capture_logs() as logs:
        with TestClient(announced()):
            assert events(logs) == ["the database opens", "serving"]
            assert logs[-1]["address"] == "http://127.0.0.1:9123"
        assert events(logs)[2:] == ["the database closes"]


def test_a_server_whose_start_fails_does_not_say_that_it_serves(application):
    application.append(OSError("no database"))
    with (
        capture_logs() as logs,
        pytest.raises(OSError, match="no database"),
        TestClient(announced()),
    ):
        pass
    assert "serving" not in events(logs)


def refused(*flags):
    """What is said of an address that cannot be listened on; nothing else is begun."""
    ended = subprocess.run(
        [PRELABEL, "serve", *flags], check=False, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    return line


def test_a_port_that_is_taken_is_said_before_the_start_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert refused("--port", port).startswith(f"prelabel: port {port}: cannot be listened on")


def test_an_address_of_another_machine_is_said_before_the_start_with_what_to_do():
    assert "Give --host one of this machine's addresses" in refused("--host", "192.0.2.1")
