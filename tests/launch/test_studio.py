"""`prelabel studio` and `prelabel demo` where the backend speaks HTTPS."""

import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import pytest

from prelabel.launch.backend import is_running, own_url
from prelabel.launch.processes import Child, free_port
from prelabel.settings import Settings

PRELABEL = Path(sys.executable).parent / "prelabel"
QUICK = {"BOXES_PREDICTOR": "opencv-fallback", "POSES_PREDICTOR": "embedded-pose"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for a name that is not the address at which the backend is asked."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here; install it")
    folder = tmp_path_factory.mktemp("certificate")
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj"
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(
        ["openssl", *command.split(), "/CN=ml.example", *files], check=True, capture_output=True
    )
    return {
        "SSL_CERTFILE": str(folder / "cert.pem"),
        "SSL_KEYFILE": str(folder / "key.pem"),
    }


@pytest.fixture
def label_studio():
    """The port of what says that it is Label Studio, so that none is started."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"label-studio-os-package": {}}).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def environment(folder, **given):
    return {
        "LABEL_STUDIO_API_KEY": "x" * 40,
        "DATA_DIR": str(folder / "data"),
        "PYTHONUNBUFFERED": "",  # what is said is read while it runs
        **QUICK,
        **given,
    }


def test_a_backend_with_a_certificate_is_started_warmed_up_and_told_as_https(
    certificate, label_studio, tmp_path
):
    port = free_port()
    wanted = environment(tmp_path, PORT=str(port), **certificate)
    command = [PRELABEL, "studio", "--port", str(label_studio), "--logs", str(tmp_path / "logs")]
    url = f"https://127.0.0.1:{port}"
    with Child.start(
        "studio", list(map(str, command)), log_path=tmp_path / "log", environment=wanted
    ) as child:
        trust = ssl.create_default_context(cafile=certificate["SSL_CERTFILE"])
        trust.check_hostname = False
        child.wait_until_answers(f"{url}/health", timeout_s=60, verify=trust)
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx2.get(f"{url}/health")
        while f"backend: {url}" not in (said := child.last_lines()):
            assert child.running, said
            time.sleep(0.05)
        assert "backend: warm after" in said
    assert not is_running(url, verify=trust), "it ends with what started it"


def ended(command, folder, **given):
    return subprocess.run(
        [PRELABEL, *map(str, command)],
        env={**os.environ, **environment(folder, **given)},
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_address_that_does_not_fit_the_certificate_is_refused_with_what_to_do(
    certificate, label_studio, tmp_path
):
    address = f"127.0.0.1:{free_port()}"
    studio = ["studio", "--port", label_studio, "--backend-url"]
    plain = ended([*studio, f"http://{address}"], tmp_path, **certificate)
    assert plain.returncode == 2
    assert "Give --backend-url with https://" in plain.stderr
    encrypted = ended([*studio, f"https://{address}"], tmp_path)
    assert encrypted.returncode == 2
    assert "Set SSL_CERTFILE and SSL_KEYFILE" in encrypted.stderr


def test_where_a_backend_answers_follows_from_its_settings(certificate):
    assert own_url(Settings(_env_file=None, port=9191)) == "http://127.0.0.1:9191"
    both = {name.lower(): path for name, path in certificate.items()}
    assert own_url(Settings(_env_file=None, **both)) == "https://127.0.0.1:9090"


@pytest.mark.parametrize("place", ["environment", "file"])
def test_the_demo_is_without_the_certificate_or_says_why_it_cannot_be(certificate, place, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    flags = ["--frames", frames, "--people", frames, "--label-studio", "/no/label-studio"]
    if place == "file":
        lines = [f"{name}={path}\n" for name, path in certificate.items()]
        (tmp_path / ".env").write_text("".join(lines))
    given = certificate if place == "environment" else {}
    demo = ended(["demo", *flags], tmp_path, **given)
    assert "Traceback" not in demo.stderr
    if place == "file":
        assert demo.returncode == 2
        assert "SSL_CERTFILE in .env or prelabel.toml" in demo.stderr
    else:  # it goes on to the next thing that it needs
        assert "Label Studio: is not at /no/label-studio" in demo.stderr
