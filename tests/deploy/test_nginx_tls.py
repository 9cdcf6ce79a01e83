"""A real nginx with the shipped tls.conf, in front of three real servers that speak HTTPS."""

import base64
import http.client
import json
import os
import re
import shutil
import signal
import ssl
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import httpx2
import numpy as np
import pytest

from prelabel.launch.processes import Child, free_port

from . import tls_nginx
from .names import Names

PROGRAM = str(Path(sys.executable).parent / "prelabel")
REPLICAS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
STRANGERS = {"other-authority": "127.0.0.5", "other-name": "127.0.0.6"}
CONFIG = """<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">
<Label value="body_distortion"/></RectangleLabels></View>"""
PICTURE = base64.b64encode(cv2.imencode(".png", np.zeros((100, 100, 3), np.uint8))[1]).decode()

pytestmark = [
    pytest.mark.skipif(not shutil.which("openssl"), reason="apt-get install openssl"),
    pytest.mark.skipif(
        sys.platform != "linux", reason="127.0.0.2 and on are this machine on Linux"
    ),
]


@dataclass(frozen=True)
class Site:
    """What runs: nginx with its three ports, and what is behind it under which address."""

    https: str
    http: str
    prelabel: str
    port: int
    servers: dict[str, Child]
    names: Names
    trusting: ssl.SSLContext
    tls: Path
    access_log: Path

    @contextmanager
    def lead_to(self, *addresses):
        """Let the name of the replicas stand for these addresses."""
        before = self.names.known["ml-backend"]
        self.names.known["ml-backend"] = addresses
        yield
        self.names.known["ml-backend"] = before
        until(lambda: self.get("/live").status_code == 200)

    def get(self, path):
        return httpx2.get(self.prelabel + path, verify=self.trusting, timeout=30)

    def direct(self, address, path):
        url = f"https://{address}:{self.port}{path}"
        context = ssl.create_default_context(cafile=self.tls / "ours/ml-backend/ca.crt")
        context.check_hostname = False
        return httpx2.get(url, verify=context, timeout=30)


def until(condition, timeout_s=30):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Certificates of two authorities, ours and theirs."""
    folder = tmp_path_factory.mktemp("tls")
    servers = ["public=labels.example.com,localhost", "nginx=localhost", "ml-backend", "redis"]
    for authority in ("ours", "theirs"):
        tls_nginx.make_certificates(folder / authority, *servers)
    return folder


@pytest.fixture(scope="module")
def label_studio():
    """A stand-in that answers with what it was asked."""

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"path": self.path, "headers": dict(self.headers.items())}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def serving(running, folder, sleepy, address, port, certificate):
    """A prelabel server that speaks HTTPS with this certificate."""
    settings = sleepy(0.01) | {
        "SSL_CERTFILE": str(certificate / "tls.crt"),
        "SSL_KEYFILE": str(certificate / "tls.key"),
        "SECRET_PATH": "s3cret",
        "BASIC_AUTH_USER": "studio",
        "BASIC_AUTH_PASS": "made-up",
        "DATA_DIR": str(folder / address),
        "LOG_LEVEL": "DEBUG",
    }
    command = [PROGRAM, "serve", "--host", address, "--port", str(port)]
    log_path = folder / f"{address}.log"
    child = Child.start(address, command, log_path=log_path, environment=settings)
    return running.enter_context(child)


@pytest.fixture(scope="module")
def site(tmp_path_factory, tls, label_studio, sleepy):
    folder, port, ports = (
        tmp_path_factory.mktemp("nginx"),
        free_port(),
        [free_port() for _ in "123"],
    )
    names = Names(**{"ml-backend": REPLICAS, "label-studio": ("127.0.0.1",)})
    with ExitStack() as running:
        running.callback(names.stop)
        certificates = dict.fromkeys(REPLICAS, tls / "ours/ml-backend") | {
            STRANGERS["other-authority"]: tls / "theirs/ml-backend",
            STRANGERS["other-name"]: tls / "ours/redis",
        }
        servers = {
            address: serving(running, folder, sleepy, address, port, certificate)
            for address, certificate in certificates.items()
        }
        behind = {"label-studio": label_studio, "ml-backend": port}
        running.enter_context(tls_nginx.start(folder, tls / "ours", ports, behind, names.port))
        trusting = ssl.create_default_context(cafile=tls / "ours/nginx/ca.crt")
        http_port, https_port, prelabel_port = ports
        made = Site(
            f"https://localhost:{https_port}",
            f"http://localhost:{http_port}",
            f"https://localhost:{prelabel_port}",
            port, servers, names, trusting, tls, folder / "access.log",
        )  # fmt: skip
        until(lambda: answers(made, tls))
        yield made


def answers(site, tls):
    """Whether each server answers, strangers included."""
    try:
        for address in site.servers:
            whom = "theirs" if address == STRANGERS["other-authority"] else "ours"
            context = ssl.create_default_context(cafile=tls / whom / "redis/ca.crt")
            context.check_hostname = False
            url = f"https://{address}:{site.port}/ready"
            httpx2.get(url, verify=context, timeout=5).raise_for_status()
        return site.get("/live").status_code == 200
    except httpx2.HTTPError:
        return False


def predict(site, ballast=""):
    tasks = [{"id": 1, "data": {"image": f"data:image/png;base64,{PICTURE}", "note": ballast}}]
    body = {"project": "3.1700000000", "label_config": CONFIG, "tasks": tasks}
    url = f"{site.prelabel}/s3cret/predict"
    return httpx2.post(url, json=body, verify=site.trusting, timeout=30)


def test_predictions_come_over_tls_from_every_replica(site):
    for _ in range(40):
        answer = predict(site)
        assert answer.status_code == 200
        assert answer.json()["results"][0]["model_version"].startswith("sleepy")
    for address in REPLICAS:
        log = re.sub(r"\x1b\[[0-9;]*m", "", site.servers[address].log_path.read_text())
        assert "route=/predict" in log


def test_a_request_that_nginx_cannot_hold_in_memory_is_predicted_too(site):
    assert predict(site, ballast="x" * 3_000_000).status_code == 200


def test_label_studio_is_told_who_asked_and_how(site):
    url = f"{site.https}/projects/?page=2"
    seen = httpx2.get(url, verify=site.trusting).json()
    assert seen["path"] == "/projects/?page=2"
    assert seen["headers"]["X-Forwarded-Proto"] == "https"
    assert seen["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert url.startswith(f"https://{seen['headers']['Host']}/")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_plain_http_is_sent_on_to_https_with_its_method(site, method):
    answer = httpx2.request(method, f"{site.http}/projects/?page=2", follow_redirects=False)
    assert answer.status_code == 308
    assert answer.headers["location"] == "https://localhost/projects/?page=2"


def test_the_door_of_the_backend_takes_no_plain_http(site):
    answer = httpx2.get(site.prelabel.replace("https", "http") + "/live")
    assert answer.status_code == 400


def test_a_client_that_does_not_know_our_authority_refuses_us(site):
    with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx2.get(f"{site.prelabel}/live")


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_server_with_another_certificate_is_given_nothing(site, stranger):
    with site.lead_to(STRANGERS[stranger]):
        until(lambda: site.get("/live").status_code == 502)
        assert predict(site).status_code == 502
    log = site.servers[STRANGERS[stranger]].log_path.read_text()
    assert "/predict" not in log


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/metrics/",
        "/metrics?x=1",
        "/s3cret/metrics",
        "//metrics",
        "/x/../metrics",
        "/%6detrics",
        "/s3cret/%2e/metrics",
    ],
)
def test_metrics_are_not_for_the_outside(site, path):
    host, port = site.prelabel.removeprefix("https://").split(":")
    connection = http.client.HTTPSConnection(host, int(port), context=site.trusting)
    connection.request("GET", path)  # as it stands: httpx2 would tidy it up
    assert connection.getresponse().status == 404
    connection.close()


def test_metrics_are_there_for_who_asks_a_server_itself(site):
    answer = site.direct(REPLICAS[0], "/s3cret/metrics")
    assert answer.status_code == 200
    assert "prelabel_" in answer.text


def test_the_secret_path_is_not_in_the_log(site):
    assert predict(site).status_code == 200
    log = site.access_log.read_text()
    assert " POST /predict 200 " in log
    assert "s3cret" not in log


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(site):
    host, port = site.prelabel.removeprefix("https://").split(":")
    connection = http.client.HTTPSConnection(host, int(port), context=site.trusting)
    connection.putrequest("POST", "/s3cret/predict")
    connection.putheader("Content-Length", str(257 * 1024 * 1024))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_the_password_is_the_servers_own_affair(site):
    assert site.get("/versions").status_code == 401
    assert site.get("/s3cret/versions").status_code == 200


def test_a_replica_that_was_replaced_is_found_under_its_new_address(site):
    with site.lead_to(STRANGERS["other-name"]):
        until(lambda: site.get("/live").status_code == 502)
        site.names.known["ml-backend"] = (REPLICAS[1],)
        until(lambda: site.get("/live").status_code == 200)
        assert predict(site).status_code == 200


def test_a_replica_that_is_killed_refuses_nobody(site):  # the last, as one is gone after it
    outcomes, over = [], threading.Event()

    def ask():
        while not over.is_set():
            outcomes.append(predict(site).status_code)

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for caller in callers:
        caller.start()
    until(lambda: len(outcomes) > 20)
    os.kill(site.servers[REPLICAS[0]].pid, signal.SIGKILL)
    killed_at = len(outcomes)
    until(lambda: len(outcomes) > killed_at + 60)
    over.set()
    for caller in callers:
        caller.join()
    assert set(outcomes) == {200}
