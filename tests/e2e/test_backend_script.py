"""test_backend.py, with a real Label Studio and backend: it sees what holds, and what does not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from prelabel.errors import RequestRefused
from prelabel.launch.processes import free_port

SCRIPT = Path(__file__).resolve().parents[2] / "test_backend.py"
CHECKS = [
    "Label Studio answers",
    "backend answers",
    "sign-in",
    "project and upload",
    "backend attached",
    "events",
    "prediction",
    "second retrieve",
    "project taken away",
    "in all",
]

pytestmark = pytest.mark.e2e


@pytest.fixture
def check(servers):
    """Run the script as a person does, with Python's own library alone; its exit code and rows."""

    def run(*options, **environment):
        # -I: neither prelabel nor anything else that is installed can be imported.
        command = [sys.executable, "-I", "-S", str(SCRIPT), *options]
        if "--url" not in options:
            command += ["--url", servers.label_studio_url]
        if "--backend-url" not in options:
            command += ["--backend-url", servers.backend_url]
        environment = {"PATH": "/usr/bin:/bin"} | environment
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert not done.stderr
        rows = re.findall(r"^(.{22})(ok|FAILED|skipped) +(.*)$", done.stdout, re.MULTILINE)
        return done.returncode, {name.strip(): (verdict, what) for name, verdict, what in rows}

    return run


@pytest.fixture
def login(servers):
    return ["--username", servers.user.username, "--password", servers.user.password]


def test_a_deployment_that_works_passes_every_check_and_is_left_as_it_was(servers, check, login):
    code, rows = check(*login)
    assert code == 0, rows
    assert list(rows) == CHECKS
    assert {verdict for verdict, _ in rows.values()} == {"ok"}
    made = int(rows["project taken away"][1].removeprefix("project "))
    with pytest.raises(RequestRefused):
        servers.client.project(made)


def test_the_project_stays_where_that_is_wished(servers, check, login):
    code, rows = check(*login, "--keep")
    assert code == 0, rows
    made = int(rows["project kept"][1].split("/")[-2])
    assert servers.client.project(made)["title"].startswith("prelabel check")


def test_a_token_serves_as_well_as_a_login(servers, check):
    code, rows = check("--token", servers.token)
    assert code == 0, rows
    assert rows["sign-in"] == ("ok", f"as {servers.user.username}")


def test_a_wrong_password_is_said_and_nothing_is_made(servers, check):
    code, rows = check("--username", servers.user.username, "--password", "not-this-one")
    assert code == 1
    assert rows["sign-in"][0] == "FAILED"
    assert "do not match" in rows["sign-in"][1]
    assert {rows[name][0] for name in CHECKS[3:-2]} == {"skipped"}
    assert "project taken away" not in rows


def test_a_backend_that_label_studio_cannot_reach_is_said_and_the_project_taken_away(check, login):
    code, rows = check(*login, "--attach-url", f"http://127.0.0.1:{free_port()}")
    assert code == 1
    assert rows["backend attached"][0] == "FAILED"
    assert rows["project taken away"][0] == "ok"
    assert rows["prediction"][0] == "skipped"


def test_a_backend_that_is_not_there_is_said_in_time(check, login):
    code, rows = check(*login, "--backend-url", f"http://127.0.0.1:{free_port()}", "--timeout", "1")
    assert code == 1
    assert rows["backend answers"][0] == "FAILED"
