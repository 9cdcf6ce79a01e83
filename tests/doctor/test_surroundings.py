"""Names of settings, the address and port of the backend, and Label Studio."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from prelabel.doctor import surroundings

TOKEN = "0123456789abcdef0123456789abcdef01234567"


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
        ("DEVICES", None),  # anybody's
        ("SEQUENCE_LEARNING_ENABLED", None),
        ("PYTHONUNBUFFERED", None),
    ],
)
def test_a_misspelt_setting_is_told_from_what_is_not_ours(machine, settings, name, meant):
    finding = surroundings.setting_names(machine(names=frozenset({name})), settings())
    assert finding.state == ("ok" if meant is None else "warning")
    assert finding.mend == ("" if meant is None else f"rename {name} to {meant}")


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
    finding = surroundings.open_door(machine(), settings(**values))
    assert finding.state == state
    assert "hidden" not in str(finding)


@contextmanager
def serving(answers):
    """A server on a free port; `answers` is path → JSON, and 401 for whom a token is missing."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path in answers
            signed = self.path == "/health" or self.headers.get("Authorization") == f"Token {TOKEN}"
            status = 401 if not signed else 200 if known else 404
            body = json.dumps(answers.get(self.path) if status == 200 else {"detail": "no"})
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_free_port_is_well(machine, settings):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
        assert surroundings.port(machine(), settings(port=number)).state == "ok"


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_port_on_which_prelabel_answers_is_well(machine, settings, address):
    with serving({"/health": {"status": "ok", "model_loaded": False}}) as number:
        finding = surroundings.port(machine(), settings(port=number, bind_address=address))
        assert finding.state == "ok"
        assert "prelabel answers" in finding.found


def test_a_port_of_another_program_is_named(machine, settings):
    with serving({"/health": {"status": "UP"}}) as number:
        finding = surroundings.port(machine(), settings(port=number))
        assert finding.state == "failed"
        assert str(number) in finding.found


def signed_in(settings, url, token):
    return settings(label_studio_url=url, label_studio_api_key=SecretStr(token))


@pytest.mark.parametrize(
    ("version", "blocks"), [("1.23.0", False), ("1.23.1", True), ("1.23.2", True), ("2.0", True)]
)
def test_label_studio_is_asked_for_its_version_and_for_us(machine, settings, version, blocks):
    answers = {
        "/api/version/": {"release": version},
        "/api/current-user/whoami": {"email": "a@example.com"},
    }
    with serving(answers) as number:
        url = f"http://127.0.0.1:{number}"
        finding = surroundings.label_studio(machine(), signed_in(settings, url, TOKEN))
    assert finding.state == "ok"
    assert f"{version} at {url}, signed in as a@example.com" in finding.found
    assert ("ML_BLOCK_LOCAL_IP" in finding.found) is blocks


def test_a_refused_token_is_a_failure_that_does_not_show_it(machine, settings):
    wrong = TOKEN[::-1]
    with serving({"/api/version/": {"release": "1.23.2"}}) as number:
        finding = surroundings.label_studio(
            machine(), signed_in(settings, f"http://127.0.0.1:{number}", wrong)
        )
    assert finding.state == "failed"
    assert wrong not in str(finding)


def test_without_address_or_token_it_is_said_what_will_not_work(machine, settings):
    for chosen in (settings(), settings(label_studio_url="http://127.0.0.1:9")):
        finding = surroundings.label_studio(machine(), chosen)
        assert finding.state == "warning"
        assert "LABEL_STUDIO_API_KEY" in finding.mend
