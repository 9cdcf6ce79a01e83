"""Servers as an attacker meets them: real processes, real sockets."""

import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.e2e.conftest import label_studio_program  # noqa: F401 - so that tests may use it
from tests.media.conftest import serve as http_server  # noqa: F401 - likewise
from tests.server.conftest import images, predictor  # noqa: F401 - likewise
from tests.server.conftest import serve as app_server  # noqa: F401 - likewise

from prelabel.launch.processes import Child, free_port

PRELABEL = Path(sys.executable).parent / "prelabel"
QUICK = {"BOXES_PREDICTOR": "opencv-fallback", "POSES_PREDICTOR": "embedded-pose"}


@contextmanager
def starting(folder):
    """Starts `prelabel serve` with these settings; gives its port and the process."""
    with ExitStack() as stack:

        def started(*flags, encrypted=False, **settings):
            port = free_port()
            child = stack.enter_context(
                Child.start(
                    "server",
                    [str(PRELABEL), "serve", "--port", str(port), *map(str, flags)],
                    log_path=folder / f"server-{port}.log",
                    environment={"DATA_DIR": str(folder / "data"), **QUICK, **settings},
                )
            )
            if not encrypted:
                child.wait_until_answers(f"http://127.0.0.1:{port}/live", timeout_s=60)
            return port, child

        yield started


@pytest.fixture
def start(tmp_path):
    """Starts servers that end with the test."""
    with starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """The port of a server of which no test wants more than its answers."""
    with starting(tmp_path_factory.mktemp("quiet")) as start:
        yield start()[0]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A folder with an authority of its own (ca.pem) and what it signed: cert.pem, key.pem."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command; install the package openssl")
    folder = tmp_path_factory.mktemp("certificates")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"

    def openssl(command, *more):
        subprocess.run(
            ["openssl", *command.split(), *more], check=True, capture_output=True, cwd=folder
        )

    usage = ("-addext", "keyUsage=critical,keyCertSign")
    openssl(f"req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=Authority", *usage)
    names = ("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    request = f"req -x509 {key} -CA ca.pem -CAkey ca.key -keyout key.pem -out cert.pem"
    openssl(f"{request} -subj /CN=localhost", *names, "-addext", "basicConstraints=CA:FALSE")
    openssl("ecparam -name prime256v1 -genkey -noout -out other.key")
    openssl("pkcs8 -topk8 -in key.pem -out locked.key -passout pass:secret")
    return folder
