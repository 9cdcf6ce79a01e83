"""test_backend.py says what is wrong where something is, with the next step.

Against a real Label Studio it runs in tests/e2e/test_backend_script.py; here it meets one that
misbehaves when it is told to.
"""

import importlib.util
import subprocess
import sys

import cv2
import numpy as np
import pytest

from .compose import REPOSITORY
from .label_studio_double import LabelStudioDouble

SETTINGS = ("LABEL_STUDIO_URL", "LABEL_STUDIO_USERNAME", "LABEL_STUDIO_PASSWORD", "PORT")


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script as a module, in a folder with no `.env`, without pauses."""
    copied = tmp_path / "test_backend.py"
    copied.write_text((REPOSITORY / "test_backend.py").read_text("utf-8"))
    spec = importlib.util.spec_from_file_location("script_under_test", copied)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PAUSE_S", 0)
    for name in (*SETTINGS, "BASIC_AUTH_USER", "BASIC_AUTH_PASS", "SECRET_PATH"):
        monkeypatch.delenv(name, raising=False)
    return module


@pytest.fixture
def studio():
    double = LabelStudioDouble()
    yield double
    double.stop()


@pytest.fixture
def check(script, studio, capsys):
    """Run it against the double; its exit code, and verdict and text of each check."""

    def run(*options, password="right"):
        given = ["--url", studio.url, "--backend-url", f"{studio.url}/backend"]
        given += ["--username", "annotator@example.com", "--password", password, "--timeout", "0"]
        code = script.main([*given, *options])
        rows, name = {}, ""
        for line in capsys.readouterr().out.splitlines():
            if line[:22].strip():
                name = line[:22].strip()
                rows[name] = [line[22:30].strip(), line[30:]]
            else:
                rows[name].append(line.strip())
        return code, rows

    return run


def test_what_works_passes_and_nothing_is_left_behind(studio, check):
    code, rows = check()
    assert code == 0, rows
    assert {verdict for verdict, *_ in rows.values()} == {"ok"}
    assert not studio.projects
    assert len(studio.predictions) == 1


def test_the_uploaded_picture_is_one(studio, check):
    check()
    (sent,) = studio.pictures
    png = sent[sent.index(b"\x89PNG") : sent.rindex(b"\r\n--")]
    assert cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).shape == (240, 320, 3)


def test_a_model_that_needs_its_time_is_waited_for(studio, check):
    studio.empty_retrieves = 3
    code, rows = check("--timeout", "60")
    assert code == 0, rows


def test_a_backend_that_never_predicts_is_asked_why(studio, check):
    studio.empty_retrieves = 1000
    code, rows = check()
    assert code == 1
    assert rows["prediction"][0] == "FAILED"
    assert "no memory left" in rows["prediction"][1]
    assert not studio.projects


@pytest.mark.parametrize(
    ("wrong", "check_name", "said"),
    [
        ({"per_retrieve": 2}, "prediction", "2 instead of one"),
        ({"repeats": True}, "second retrieve", "2 predictions after the second"),
        ({"version": "v0"}, "prediction", "its version is v0, not v1"),
        ({"makes_webhooks": False}, "events", "made no webhook"),
        ({"health": {"status": "UP"}}, "backend answers", "is another program"),
        ({"backend_login": "set"}, "backend answers", "wants a user and a password"),
        ({"reachable": set()}, "backend attached", "Can't connect to ML backend"),
    ],
)
def test_what_is_wrong_is_named_with_the_next_step(studio, check, wrong, check_name, said):
    for name, value in wrong.items():
        setattr(studio, name, value)
    code, rows = check()
    assert code == 1
    verdict, finding, next_step = rows[check_name]
    assert verdict == "FAILED"
    assert said in finding
    assert next_step
    assert not studio.projects


def test_without_events_predictions_are_looked_at_all_the_same(studio, check):
    studio.makes_webhooks = False
    _, rows = check()
    assert rows["prediction"][0] == "ok"


def test_an_address_that_was_refused_leaves_no_backend_before_the_one_that_works(studio, check):
    check(
        "--attach-url", f"{studio.url}/nowhere", "--attach-url", f"{studio.url}/backend", "--keep"
    )
    assert list(studio.backends.values()) == [f"{studio.url}/backend"]


def test_a_wrong_password_is_said_and_nothing_is_made(studio, check):
    code, rows = check(password="wrong")
    assert code == 1
    assert "do not match" in rows["sign-in"][1]
    assert rows["prediction"][0] == "skipped"
    assert not studio.projects


def test_settings_come_from_env_and_the_environment_goes_first(script, monkeypatch, tmp_path):
    lines = ['LABEL_STUDIO_USERNAME="me@example.com"', "export PORT=9191  # ours", "SECRET_PATH=s3"]
    (tmp_path / ".env").write_text("\n".join([*lines, "#LABEL_STUDIO_PASSWORD=no", "MODE="]))
    monkeypatch.setenv("LABEL_STUDIO_PASSWORD", "from-the-shell")
    options = script._options([])
    assert (options.username, options.password) == ("me@example.com", "from-the-shell")
    assert options.backend_url == "http://localhost:9191"
    assert options.attach_url == [
        "http://ml-backend.prelabel.internal:9090/s3",
        "http://localhost:9191/s3",
    ]


def test_the_deployment_for_a_team_is_found_by_its_name(script, tmp_path):
    (tmp_path / ".env").write_text("PUBLIC_HOST=labels.example.com\nSECRET_PATH=s3\n")
    options = script._options([])
    assert options.url == "https://labels.example.com"
    assert options.backend_url == "https://localhost:9090"
    assert options.attach_url[0] == "https://ml-backend.prelabel.internal:9090/s3"


def test_an_address_that_is_none_is_said(check):
    code, rows = check("--url", "localhost:8080")
    assert code == 1
    assert rows["Label Studio answers"][0] == "FAILED"


def test_the_secret_path_is_not_shown(studio, check, script, monkeypatch):
    monkeypatch.setenv("SECRET_PATH", "s3cret")
    studio.reachable = {f"{studio.url}/backend/s3cret"}
    code, rows = check()
    assert code == 0, rows
    assert "s3cret" not in str(rows)


def test_the_first_user_is_that_of_the_compose_file(script):
    written = (REPOSITORY / "docker-compose.yml").read_text("utf-8")
    for name, value in script.DEFAULTS.items():
        assert f"${{{name}:-{value}}}" in written


def test_python_alone_is_enough():
    command = [sys.executable, "-I", "-S", str(REPOSITORY / "test_backend.py"), "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    for option in ("--url", "--backend-url", "--username", "--password", "--token", "--keep"):
        assert option in said.stdout
