"""Names of settings, the database, and where the backend listens and answers."""

import json
import socket
import sqlite3
from contextlib import closing
from http.server import BaseHTTPRequestHandler

import pytest
from pydantic import SecretStr

from prelabel import __version__
from prelabel.doctor import surroundings
from prelabel.doctor.case import Case
from prelabel.errors import PrelabelError
from prelabel.launch.processes import free_port
from prelabel.store.database import open_database


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PATH", None),
        ("GROUNDING_DINO_DEVICE", None),
        ("LABEL_STUDIO_API_TOKEN", None),
        ("GROUNDING_DINO_BOX_TRESHOLD", "GROUNDING_DINO_BOX_THRESHOLD"),
        ("LABELSTUDIO_URL", "LABEL_STUDIO_URL"),
        ("ALLOW_DOWNLOAD", "ALLOW_DOWNLOADS"),
        ("LABEL_STUDIO_HOST", None),  # Label Studio's own
        ("LABEL_STUDIO_USER_TOKEN", None),
        ("LABEL_STUDIO_BASE_DATA_DIR", None),
        ("SSL_CERT_FILE", None),  # OpenSSL's
        ("SSL_CERT_DIR", None),
        ("SSL_CERTFIL", "SSL_CERTFILE"),
        ("DEVICES", None),  # anybody's
        ("SEQUENCE_LEARNING_ENABLED", None),
        ("PYTHONUNBUFFERED", None),
    ],
)
def test_a_misspelt_setting_is_told_from_what_is_not_ours(machine, settings, name, meant):
    diagnosis = surroundings.setting_names(Case(machine(names=frozenset({name})), settings()))
    assert diagnosis.status == ("ok" if meant is None else "warning")
    assert diagnosis.mend == ("" if meant is None else f"rename {name} to {meant}")


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({}, "ok"),
        ({"bind_address": "0.0.0.0"}, "warning"),
        ({"bind_address": "0.0.0.0", "basic_auth_user": "u"}, "warning"),
        (
            {
                "bind_address": "0.0.0.0",
                "basic_auth_user": "u",
                "basic_auth_pass": SecretStr("hidden"),
            },
            "ok",
        ),
        ({"bind_address": "192.168.1.5", "api_token": SecretStr("hidden")}, "ok"),
    ],
)
def test_a_wide_open_backend_is_a_warning(machine, settings, values, state):
    diagnosis = surroundings.open_door(Case(machine(), settings(**values)))
    assert diagnosis.status == state
    assert "hidden" not in str(diagnosis)


@pytest.fixture
def backend(serve):
    """Starts a program that answers `/health` with some content, and gives its port."""

    def made(content, status=200):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                written = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(written)))
                self.end_headers()
                self.wfile.write(written)

            def log_message(self, *_): ...

        return serve(Handler)

    return made


def health(**changes):
    """What `/health` of this release answers."""
    parts = {"boxes": {"name": "opencv-fallback", "reason": ""}, "poses": {"name": "embedded-pose"}}
    about = {"status": "ok", "model_loaded": False, "version": __version__, "predictors": parts}
    return {**about, **changes}


def test_a_free_port_is_well(machine, settings):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
        assert surroundings.port(Case(machine(), settings(port=number))).status == "ok"


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_port_on_which_prelabel_answers_is_well(machine, settings, backend, address):
    chosen = settings(port=backend(health()), bind_address=address)
    diagnosis = surroundings.port(Case(machine(), chosen))
    assert diagnosis.status == "ok"
    assert "prelabel answers" in diagnosis.finding


def test_a_port_of_another_program_is_named(machine, settings, backend):
    number = backend({"status": "UP"})
    case = Case(machine(), settings(port=number))
    diagnosis = surroundings.port(case)
    assert diagnosis.status == "failure"
    assert diagnosis.mend.startswith(f"lsof -i :{number}")
    assert surroundings.backend(case).status == "skipped"


@pytest.mark.parametrize(
    ("changes", "status", "finding"),
    [
        ({}, "ok", "opencv-fallback, embedded-pose"),
        ({"version": "0.0.1"}, "warning", "0.0.1"),
        (
            {"predictors": {"boxes": {"name": "opencv-fallback", "reason": "no torch"}}},
            "warning",
            "no torch",
        ),
    ],
)
def test_a_backend_answers_in_our_version_with_the_models_wanted(
    machine, settings, backend, changes, status, finding
):
    chosen = settings(port=backend(health(**changes)))
    diagnosis = surroundings.backend(Case(machine(), chosen))
    assert diagnosis.status == status
    assert finding in diagnosis.finding


def test_a_backend_that_runs_nowhere_is_a_failure_only_where_somebody_named_it(machine, settings):
    chosen = settings(port=9)
    assert surroundings.backend(Case(machine(), chosen)).status == "skipped"
    named = surroundings.backend(Case(machine(), chosen, "http://127.0.0.1:9"))
    assert named.status == "failure"
    assert "prelabel serve" in named.mend


@pytest.mark.parametrize(
    ("content", "status", "finding", "mend"),
    [
        (b"<html>", 200, "web page", "Check the address"),
        ({"status": "UP"}, 200, "not prelabel", "Give the address"),
        ({}, 401, "wants a user", "Set BASIC_AUTH_USER"),
        ({}, 503, "answered 503", "backend's log"),
    ],
)
def test_another_program_in_the_place_of_the_backend_is_told_from_it(
    machine, settings, backend, content, status, finding, mend
):
    case = Case(machine(), settings(), f"http://127.0.0.1:{backend(content, status)}")
    diagnosis = surroundings.backend(case)
    assert diagnosis.status == "failure"
    assert finding in diagnosis.finding
    assert mend in diagnosis.mend


def test_a_database_that_is_not_there_yet_is_not_made(machine, settings, tmp_path):
    diagnosis = surroundings.database(Case(machine(), settings()))
    assert diagnosis.status == "ok"
    assert not (tmp_path / "data").exists()


def test_a_database_that_can_be_written_is_left_as_it_was(machine, settings, tmp_path):
    open_database("", tmp_path / "data").dispose()
    before = tables(tmp_path / "data/prelabel.db")
    diagnosis = surroundings.database(Case(machine(), settings()))
    assert diagnosis.status == "ok"
    assert "data/prelabel.db written in" in diagnosis.finding
    assert tables(tmp_path / "data/prelabel.db") == before


def tables(path):
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT name FROM sqlite_schema"))


def test_a_database_that_cannot_be_opened_or_written_is_a_failure(machine, settings, tmp_path):
    wrong = settings(database_url=SecretStr("sqlite:////no/such/folder/prelabel.db"))
    with pytest.raises(PrelabelError):
        surroundings.database(Case(machine(), wrong))
    (tmp_path / "data").write_text("a file where the folder should be")
    assert surroundings.database(Case(machine(), settings())).status == "failure"


def test_a_database_of_another_kind_of_file_is_a_failure(machine, settings, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/prelabel.db").write_text("this is no database" * 100)
    with pytest.raises(PrelabelError):
        surroundings.database(Case(machine(), settings()))


def test_without_a_redis_there_is_nothing_to_ask(machine, settings):
    assert surroundings.redis(Case(machine(), settings())).status == "skipped"


def test_a_redis_that_does_not_answer_is_a_failure_without_its_password(machine, settings):
    wrong = settings(redis_url=SecretStr(f"redis://:s3cret@127.0.0.1:{free_port()}/0"))
    with pytest.raises(PrelabelError, match="does not answer") as refused:
        surroundings.redis(Case(machine(), wrong))
    assert "s3cret" not in str(refused.value)
