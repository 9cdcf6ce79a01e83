"""The image as it is run: process 1, its user, volumes, read-only.

Its files are those that a container engine built from the Dockerfile, on a bare Debian root made by
debootstrap. Where no engine can be started, tests/deploy/image.py goes through the Dockerfile's
steps itself, in such roots. An engine's other part (volumes, namespaces) is played by
tests/deploy/container.py, which sees more than an engine shows; tests/deploy/test_engine.py has a
real one. Debian's Python 3.11 stands for the official slim Python image.
"""

import base64
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest

from prelabel.labelstudio.templates import boxes_config, pose_config

from .container import Container

pytestmark = pytest.mark.deploy

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "examples" / "demo"
SOMEBODY = (4321, 4321)


@pytest.fixture
def started(image, tmp_path):
    """Starts containers in a folder each, and ends them with the test."""
    containers = []

    def start(**how):
        folder = how.pop("folder", None) or tmp_path / str(len(containers))
        folder.mkdir(exist_ok=True)
        containers.append(Container(image, folder, **how))
        return containers[-1]

    yield start
    for container in containers:
        container.close()


@pytest.fixture(scope="module")
def server(image, tmp_path_factory, record_testsuite_property):
    """The image's own command, with its defaults: read-only, without privileges or network."""
    with Container(image, tmp_path_factory.mktemp("server")) as container:
        began = time.monotonic()
        container.wait_until("/health")
        seconds = time.monotonic() - began
        record_testsuite_property("seconds from start to /health", round(seconds, 2))
        container.wait_until("/ready")
        yield container


def task(picture):
    uri = "data:image/jpeg;base64," + base64.b64encode(picture.read_bytes()).decode()
    return {"id": 1, "data": {"image": uri}}


def predicted(server, label_config, picture):
    body = {"project": "1.1700000000", "label_config": label_config, "tasks": [task(picture)]}
    status, answer = server.ask("POST", "/predict", body)
    assert status == 200
    (prediction,) = answer["results"]
    return prediction


def test_it_answers_health_and_setup(server):
    status, health = server.ask("GET", "/health")
    assert (status, health["status"]) == (200, "ok")
    body = {"project": "1.1700000000", "schema": boxes_config()}
    status, setup = server.ask("POST", "/setup", body)
    assert (status, setup["model_version"]) == (200, "opencv-fallback")


def test_it_finds_boxes(server):
    frame = min((DEMO / "frames").glob("*.jpg"))
    prediction = predicted(server, boxes_config(), frame)
    assert prediction["model_version"] == "opencv-fallback"
    assert isinstance(prediction["result"], list)


def test_it_finds_the_keypoints_of_a_person_with_the_net_that_it_brings(server):
    prediction = predicted(server, pose_config("133"), DEMO / "people" / "astronaut.jpg")
    assert prediction["model_version"] == "embedded-pose"
    labels = {
        label
        for region in prediction["result"]
        for label in region["value"].get("keypointlabels", [])
    }
    assert {"nose", "left_shoulder", "right_shoulder"} <= labels


def test_it_is_healthy(server):
    assert server.healthy() == (0, "/live answered 200")


def test_it_runs_as_a_user_who_cannot_change_it(server, image):
    assert server.says("id", "-u") == "10001"
    ours = [path for path in image.root.rglob("*") if not path.is_symlink()]
    writable = {
        "/" + str(path.relative_to(image.root))
        for path in ours
        if path.stat().st_uid == 10001 or path.stat().st_mode & stat.S_IWOTH
        if "/dev/" not in f"{path}/"
    }
    assert writable == {"/data", "/app/models", "/tmp", "/var/tmp", "/run/lock"}


def test_what_it_keeps_is_in_its_volumes(server):
    assert (server.volumes["/data"] / "prelabel.db").is_file()
    assert server.says("python3", "-c", "from pathlib import Path; print(Path.home())") == "/tmp"


def test_no_compiler_and_nothing_of_the_build_is_left_in_it(image, server):
    for program in ("cc", "gcc", "g++", "c++", "clang", "ld", "make", "git"):
        for folder in ("usr/bin", "usr/local/bin", "opt/prelabel/bin"):
            assert not (image.root / folder / program).exists(), program
    assert not list(image.root.glob("root/.cache/*"))
    for gone in ("source", "requirements", "opt/build"):
        assert not (image.root / gone).exists()
    assert not any((image.root / "wheels").glob("*"))
    installed = server.says("pip", "list", "--format", "freeze").splitlines()
    names = {line.partition("==")[0] for line in installed}
    assert {"prelabel", "onnxruntime", "dramatiq", "psycopg"} <= names
    assert not names & {"hatchling", "pytest", "torch", "opencv-python", "setuptools-scm"}


def test_the_package_in_it_is_whole(server):
    assert server.says("prelabel", "--version") == "prelabel 0.1.0"
    assert "No broken requirements" in server.says("pip", "check")
    script = "import dramatiq, psycopg, gunicorn, cv2, onnxruntime, sklearn; print('all there')"
    assert server.says("python3", "-c", script) == "all there"


def test_it_knows_time_zones_and_certificate_authorities_and_makes_certificates(server):
    script = "import zoneinfo; print(zoneinfo.ZoneInfo('Europe/Berlin'))"
    assert server.says("python3", "-c", script) == "Europe/Berlin"
    script = "import ssl; print(len(ssl.create_default_context().get_ca_certs()) > 50)"
    assert server.says("python3", "-c", script) == "True"
    # docker-compose.prod.yml makes its own with this image.
    assert server.says("openssl", "version").startswith("OpenSSL")


def test_how_large_it_is(image, record_testsuite_property):
    done = subprocess.run(
        ["du", "-sm", image.root / "opt/prelabel"], capture_output=True, text=True, check=True
    )
    megabytes = int(done.stdout.split()[0])
    record_testsuite_property("MB of /opt/prelabel", megabytes)
    assert megabytes < 900


def test_sigterm_ends_it_in_order_though_it_is_process_1(started):
    for environment in ({}, {"WORKERS": "2"}):
        container = started(environment=environment)
        container.wait_until("/ready")
        assert container.terminate() == 0
        assert "Traceback" not in container.log.read_text()


def test_any_other_user_can_run_it(started):
    container = started(user=SOMEBODY)
    container.wait_until("/ready")
    assert container.healthy()[0] == 0
    assert container.says("id", "-u") == "4321"
    assert container.says("python3", "-c", "import getpass; print(getpass.getuser())")
    assert (container.volumes["/data"] / "prelabel.db").stat().st_uid == 4321


def test_a_volume_that_it_may_not_write_to_ends_it_with_what_to_do(started, tmp_path):
    folder = tmp_path / "made by root"
    (folder / "data").mkdir(parents=True, mode=0o755)
    container = started(folder=folder)
    assert container.wait() != 0
    assert "/data" in container.log.read_text()
    assert "Set DATA_DIR to a writable folder" in container.log.read_text()
    assert "Traceback" not in container.log.read_text()


def test_it_serves_https_and_its_health_check_follows(started, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl; install Debian's openssl")
    folder = tmp_path / "tls"
    folder.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=labels.example.com",
         "-keyout", folder / "tls.key", "-out", folder / "tls.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    for path in folder.iterdir():
        path.chmod(0o444)
    container = started(
        environment={"SSL_CERTFILE": "/mnt/tls.crt", "SSL_KEYFILE": "/mnt/tls.key"},
        mounts={"/mnt": folder},
    )
    container.wait_until("/ready", scheme="https")
    assert container.healthy() == (0, "/live answered 200")


def test_the_other_commands_run_by_name(started):
    container = started(words=["prelabel", "worker"])
    assert container.wait() == 2
    assert "REDIS_URL" in container.log.read_text()
    container = started(words=["prelabel", "run", "--help"])
    assert container.wait() == 0
    assert "--project" in container.log.read_text()
