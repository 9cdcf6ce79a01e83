"""A real Label Studio as docker-compose.prod.yml sets it, behind the shipped nginx with TLS.

This machine stands for Docker's network, so its addresses are not refused; all else that the file
tells Label Studio is as it is shipped: cookies, trusted origins, authorities, refused addresses.
"""

import ipaddress
import re
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from prelabel.launch import backend as backends
from prelabel.launch import label_studio
from prelabel.launch.processes import Child, free_port

from ..deploy import tls_nginx  # noqa: TID252 - tests are no package with a name
from ..deploy.compose import NEEDED, REPOSITORY, read  # noqa: TID252
from ..deploy.names import Names  # noqa: TID252

OF_CONTAINERS = re.compile("POSTGRE_|PGSSL|DJANGO_DB|.*DOCUMENT_ROOT|.*LOCAL_FILES_SERVING")
LOGIN = {name: NEEDED[name] for name in ("LABEL_STUDIO_USERNAME", "LABEL_STUDIO_PASSWORD")}
GUARDED = {name: NEEDED[name] for name in ("BASIC_AUTH_USER", "BASIC_AUTH_PASS", "SECRET_PATH")}

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Deployment:
    """Where it is from outside, and the authority that vouches for it."""

    studio_url: str
    backend_url: str
    ca_file: str

    def check(self, *options):
        """What test_backend.py says of it: exit code and output."""
        command = [sys.executable, "-I", "-S", str(REPOSITORY / "test_backend.py"), *options]
        command += ["--url", self.studio_url, "--ca-file", self.ca_file]
        command += ["--backend-url", self.backend_url]
        done = subprocess.run(
            command, env={"PATH": "/usr/bin:/bin", **LOGIN, **GUARDED},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert not done.stderr
        return done.returncode, done.stdout


def studio_variables(public_host, ca_bundle):
    """What the compose file gives Label Studio, less what is so in a container only."""
    written = read("docker-compose.prod.yml")["services"]["label-studio"]["environment"]
    filled = {
        "${LABEL_STUDIO_HOST:-https://${PUBLIC_HOST}}": f"https://{public_host}",
        "${LABEL_STUDIO_USERNAME:?set it in .env}": LOGIN["LABEL_STUDIO_USERNAME"],
        "${LABEL_STUDIO_PASSWORD:?set it in .env}": LOGIN["LABEL_STUDIO_PASSWORD"],
        "/tls/ca-bundle.crt": ca_bundle,
    }
    given = {
        name: filled.get(value, value)
        for name, value in written.items()
        if not OF_CONTAINERS.match(name)
    }
    assert not any("$" in value for value in given.values())
    refused = [
        one
        for one in given["USER_ADDITIONAL_BANNED_SUBNETS"].split(",")
        if ipaddress.ip_address("127.0.0.1") not in ipaddress.ip_network(one)
    ]
    return given | {"USER_ADDITIONAL_BANNED_SUBNETS": ",".join(refused)}


def until_it_answers(url, ca_file, timeout_s=label_studio.FIRST_START_TIMEOUT_S):
    trusting, deadline = ssl.create_default_context(cafile=ca_file), time.monotonic() + timeout_s
    while not answers(url, trusting):
        assert time.monotonic() < deadline, f"{url} does not answer"
        time.sleep(0.5)


def answers(url, trusting):
    try:
        return httpx2.get(url, verify=trusting, timeout=5).is_success
    except httpx2.HTTPError:
        return False


@pytest.fixture(scope="module")
def deployment(label_studio_program, tmp_path_factory):
    folder, ports = tmp_path_factory.mktemp("tls-deployment"), [free_port() for _ in range(5)]
    (_, https_port, prelabel_port, studio_port, backend_port), tls = ports, folder / "tls"
    tls_nginx.make_certificates(tls, "public=localhost", "nginx=127.0.0.1", "ml-backend")
    bundle = tls / "label-studio.pem"  # one for each door, as here they have two addresses
    bundle.write_bytes((tls / "nginx/ca-bundle.crt").read_bytes())
    names = Names(**{"ml-backend": ("127.0.0.1",), "label-studio": ("127.0.0.1",)})
    behind = {"label-studio": studio_port, "ml-backend": backend_port}
    with ExitStack() as running:
        running.callback(names.stop)
        running.enter_context(tls_nginx.start(folder, tls, ports[:3], behind, names.port))
        studio = [label_studio_program, "start", "--no-browser", "--internal-host", "127.0.0.1"]
        settings = studio_variables(f"localhost:{https_port}", str(bundle))
        settings["LABEL_STUDIO_BASE_DATA_DIR"] = str(folder / "label-studio")
        running.enter_context(
            Child.start(
                label_studio.NAME,
                [*map(str, studio), "--port", str(studio_port)],
                log_path=folder / "label-studio.log",
                environment=settings,
            )
        )
        prelabel = {
            **GUARDED,
            **LOGIN,
            "LABEL_STUDIO_URL": f"http://127.0.0.1:{studio_port}",
            "LABEL_STUDIO_ALIASES": f"https://localhost:{https_port}",
            "SSL_CERTFILE": str(tls / "ml-backend/tls.crt"),
            "SSL_KEYFILE": str(tls / "ml-backend/tls.key"),
            "BOXES_PREDICTOR": "opencv-fallback",
            "POSES_PREDICTOR": "embedded-pose",
            "DATA_DIR": str(folder / "prelabel"),
        }
        program = [str(Path(sys.executable).parent / "prelabel"), "serve"]
        running.enter_context(
            Child.start(
                backends.NAME,
                [*program, "--host", "127.0.0.1", "--port", str(backend_port)],
                log_path=folder / "prelabel.log",
                environment=prelabel,
            )
        )
        made = Deployment(
            f"https://localhost:{https_port}",
            f"https://127.0.0.1:{prelabel_port}",
            str(tls / "nginx/ca.crt"),
        )
        until_it_answers(f"{made.studio_url}/health", made.ca_file)
        until_it_answers(f"{made.backend_url}/live", made.ca_file)
        yield made


def test_the_deployment_for_a_team_works_from_end_to_end(deployment):
    attached = f"{deployment.backend_url}/{GUARDED['SECRET_PATH']}"
    code, said = deployment.check("--attach-url", attached)
    assert code == 0, said
    assert GUARDED["SECRET_PATH"] not in said


def test_label_studio_does_not_call_what_clouds_tell_their_machines(deployment):
    code, said = deployment.check("--attach-url", "http://169.254.169.254")
    assert code == 1
    assert "reserved network address" in said
