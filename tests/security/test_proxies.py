"""Servers as they are started, behind a proxy and behind somebody who pretends to be one."""

import sys
from pathlib import Path

import httpx2
import pytest

from prelabel.launch.processes import Child, free_port

from .conftest import PRELABEL, QUICK

REPOSITORY = Path(__file__).resolve().parents[2]
GUNICORN = Path(sys.executable).parent / "gunicorn"


@pytest.fixture(params=["prelabel serve", "gunicorn"])
def start_limited(request, tmp_path):
    """Starts a server that each caller may ask twice a minute, in either way; gives its address."""
    children = []

    def start(**settings):
        port = free_port()
        command = [PRELABEL, "serve", "--port", port]
        if request.param == "gunicorn":
            if not GUNICORN.is_file():
                pytest.skip("no gunicorn; pip install 'prelabel[scale]'")
            command = [GUNICORN, "--chdir", REPOSITORY, "--bind", f"127.0.0.1:{port}", "_wsgi:app"]
        environment = {**QUICK, "RATE_LIMIT": "2/minute", "DATA_DIR": str(tmp_path), **settings}
        child = Child.start(
            "server",
            [str(part) for part in command],
            log_path=tmp_path / "server.log",
            environment=environment,
        )
        children.append(child)
        child.wait_until_answers(f"http://127.0.0.1:{port}/live", timeout_s=60)
        return f"http://127.0.0.1:{port}"

    yield start
    for child in children:
        child.stop()


def statuses(url, *senders):
    return [
        httpx2.get(f"{url}/metrics", headers={"X-Forwarded-For": sender}).status_code
        for sender in senders
    ]


def test_the_word_of_a_proxy_on_this_machine_counts(start_limited):
    url = start_limited()
    one, other = "203.0.113.1", "203.0.113.2"
    assert statuses(url, one, one, one, other, other) == [200, 200, 429, 200, 200]
    # What a caller wrote in front of the proxy's word does not.
    assert statuses(url, f"198.51.100.9, {one}") == [429]


def test_the_word_of_anybody_else_does_not(start_limited):
    url = start_limited(FORWARDED_ALLOW_IPS="203.0.113.77")
    assert statuses(url, *(f"198.51.100.{n}" for n in range(4))) == [200, 200, 429, 429]


def test_whoever_calls_may_be_a_proxy_and_what_his_caller_wrote_does_not_count(start_limited):
    url = start_limited(FORWARDED_ALLOW_IPS="*")
    one, other = "203.0.113.1", "203.0.113.2"
    forged = [f"198.51.100.{n}, {one}" for n in range(3)]
    assert statuses(url, *forged, other) == [200, 200, 429, 200]


def test_the_servers_program_is_not_told_to_callers(start):
    port, _ = start()
    assert "server" not in httpx2.get(f"http://127.0.0.1:{port}/live").headers
