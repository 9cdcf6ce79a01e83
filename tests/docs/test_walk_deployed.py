"""Walks through the pages for people who run prelabel for others, as far as one machine goes.

PostgreSQL, Redis, certificates and passwords are real. A command for a container engine or a
cluster has the command inside run here; what the engine is told, tests/docs/test_engines.py checks,
and tests/deploy types the commands of docs/containers.md for a real one.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
import yaml
from tests.deploy.kustomize import SECRET
from tests.predictors.conftest import tiny_grounding_dino  # noqa: F401 - as a fixture

from prelabel.launch.label_studio import FirstUser
from prelabel.launch.processes import free_port

from .conftest import program
from .hub import Hub
from .newcomer import Newcomer
from .pages import REPOSITORY, Block, blocks
from .walking import (
    ATTACH,
    FRAMES,
    INSTALL,
    PROJECT,
    RUN,
    SERVE,
    client,
    prediction_counts,
    steps_of,
    walk,
)

SECRET_PATH = "s3cret"
SERVE_ELSEWHERE = Block("the set-up", f"API_TOKEN=t0ken SECRET_PATH={SECRET_PATH} prelabel serve\n")
"""The token and the path are in the environment of the server alone."""
IN_ITS_CONTAINERS = "http://ml-backend.prelabel.internal:9090"
IN_ITS_CLUSTER = "http://prelabel.prelabel.svc.cluster.local:9090/YOUR-SECRET-PATH"
AT_MODAL = "https://TEAM--prelabel-serve.modal.run/SECRET_PATH"
EVERY_FRAME = [1] * len(FRAMES)


@pytest.mark.e2e
def test_servers_and_workers_share_the_databases_that_the_page_has_named(newcomer, postgres, redis):
    with newcomer.reading_a_page():
        put_in(newcomer, "docs/scale.md", {
            "postgresql+psycopg://prelabel:password@db/prelabel": postgres,
            "redis://:password@redis:6379/0": redis.url,
        })  # fmt: skip
        walk(newcomer, (INSTALL, *ATTACH, *steps_of("docs/scale.md"), *PROJECT))
        annotate(newcomer, len(FRAMES) // 2)
        with client(newcomer) as studio:
            backend = studio.add_ml_backend(newcomer.project, newcomer.backend)
            studio.start_training(backend["id"])
        # With a Redis servers do no jobs, so it was the worker.
        assert training(newcomer)["status"] == "done"
        assert ".seq1" in walk(newcomer, (RUN,))
        assert prediction_counts(newcomer) == EVERY_FRAME


def put_in(newcomer, page, here):
    """Have somebody put in what is their own, in place of what the page has."""
    text = (REPOSITORY / page).read_text("utf-8")
    assert [one for one in here if one not in text] == []
    newcomer.instead |= here


def annotate(newcomer, count):
    """Draw one box in each of the first frames."""
    value = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}
    region = {"from_name": "label", "to_name": "image", "type": "rectanglelabels"}
    region |= {"original_width": 640, "original_height": 480, "image_rotation": 0, "id": "box"}
    region["value"] = value | {"rectanglelabels": ["body_distortion"]}
    with client(newcomer) as studio:
        for task in list(studio.tasks(newcomer.project))[:count]:
            httpx2.post(
                f"{newcomer.label_studio}/api/tasks/{task['id']}/annotations/",
                json={"result": [region]},
                auth=studio.auth,
                timeout=30,
            ).raise_for_status()


def training(newcomer):
    """The project's training, once it has ended."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        jobs = httpx2.get(f"{newcomer.backend}/status", timeout=30).json()["jobs"]
        ended = [one for one in jobs if one["status"] in {"done", "failed"}]
        if ended:
            return ended[0]
        time.sleep(0.1)
    raise AssertionError(jobs)


with_certificates = pytest.mark.skipif(
    not (shutil.which("openssl") and shutil.which("curl")), reason="apt-get install openssl curl"
)


@pytest.mark.e2e
@with_certificates
def test_who_follows_the_page_on_security_is_served_over_https_and_by_password_alone(newcomer):
    with newcomer.reading_a_page():
        put_in(newcomer, "docs/security.md", {"http://label-studio:8080": newcomer.label_studio})
        said = walk(newcomer, (INSTALL, *ATTACH, *PROJECT, *steps_of("docs/security.md")))
        assert "warm after" in said
        url = newcomer.backend.replace("http:", "https:")
        authority = newcomer.folder / "tls" / "prelabel" / "ca.crt"
        user, password, path = (
            newcomer.environment[name]
            for name in ("BASIC_AUTH_USER", "BASIC_AUTH_PASS", "SECRET_PATH")
        )
        assert asked(f"{url}/health", authority) == 401
        assert asked(f"{url}/health", authority, "--user", f"{user}:{password}") == 200
        assert asked(f"{url}/{path}/health", authority) == 200
        walk(newcomer, (RUN,))
        assert prediction_counts(newcomer) == EVERY_FRAME


def asked(url, authority, *options):
    """The status of an answer to somebody who trusts this authority."""
    command = ["curl", "--noproxy", "*", "--silent", "--cacert", str(authority), *options]
    command += ["--output", "/dev/null", "--write-out", "%{http_code}", url]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.e2e
def test_a_backup_is_made_beside_a_running_server_as_the_page_has_it(newcomer):
    with newcomer.reading_a_page():
        walk(newcomer, (INSTALL, *ATTACH, *SERVE, *steps_of("docs/operate.md")))
        copy = newcomer.folder / "prelabel-backup.db"
        with closing(sqlite3.connect(copy)) as restored:
            assert restored.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert restored.execute("SELECT count(*) FROM jobs").fetchall()
        copy.unlink()


@pytest.mark.e2e
def test_what_the_page_runs_in_containers_runs_against_a_backend(newcomer):
    with newcomer.reading_a_page():
        put_in(newcomer, "docs/containers.md", {IN_ITS_CONTAINERS: newcomer.backend})
        walk(newcomer, (INSTALL, *ATTACH, *SERVE))
        project = newcomer.project
        said = walk(newcomer, steps_of("docs/containers.md"))
        assert "second retrieve       ok" in said  # test_backend.py
        assert (newcomer.folder / ".env").read_text() == (REPOSITORY / ".env.example").read_text()
        (newcomer.folder / ".env").unlink()
        newcomer.project, made = project, newcomer.project
        assert made != project, "the page makes a project of its own"
        assert prediction_counts(newcomer) == EVERY_FRAME


@pytest.mark.e2e
@with_certificates
def test_certificates_serve_without_containers_too(newcomer):
    (block,) = [
        one for one in blocks(REPOSITORY / "docs/containers.md") if "make_cert" in one.commands
    ]
    with newcomer.reading_a_page():
        walk(newcomer, (INSTALL, block))
        authority = newcomer.folder / "tls" / "ml-backend" / "ca.crt"
        port = newcomer.backend.rpartition(":")[2]
        for host in ("ml-1.example.com", "ml-2.example.com"):
            there = ("--resolve", f"{host}:{port}:127.0.0.1")
            assert asked(f"https://{host}:{port}/live", authority, *there) == 200


@pytest.mark.e2e
def test_what_the_page_runs_in_pods_runs_with_their_secret(newcomer):
    given = {**SECRET["stringData"], "SECRET_PATH": SECRET_PATH, "BASIC_AUTH_PASS": "passw0rd"}
    shown = ("BASIC_AUTH_USER", "BASIC_AUTH_PASS", "SECRET_PATH", "API_TOKEN")
    with newcomer.reading_a_page():
        put_in(
            newcomer, "docs/kubernetes.md", {IN_ITS_CLUSTER: f"{newcomer.backend}/{SECRET_PATH}"}
        )
        newcomer.environment |= {name: given[name] for name in shown}
        walk(newcomer, (INSTALL, *ATTACH, *PROJECT, SERVE[0]))
        said = walk(newcomer, steps_of("docs/kubernetes.md"))
        assert "warm after" in said
        made = yaml.safe_load((newcomer.folder / "secret.yaml").read_text("utf-8"))
        assert made == SECRET
        (newcomer.folder / "secret.yaml").unlink()
        with client(newcomer) as studio:
            [backend] = studio.ml_backends(newcomer.project)
        assert backend["url"] == f"{newcomer.backend}/{SECRET_PATH}"


@pytest.mark.e2e
def test_a_backend_behind_a_secret_path_is_warmed_up_attached_and_asked_from_afar(newcomer):
    with newcomer.reading_a_page():
        put_in(newcomer, "docs/cloud_gpu.md", {
            AT_MODAL: f"{newcomer.backend}/{SECRET_PATH}",
            "https://studio.example.com": newcomer.label_studio,
        })  # fmt: skip
        walk(newcomer, (INSTALL, *ATTACH, *PROJECT, SERVE_ELSEWHERE))
        walk(newcomer, steps_of("docs/cloud_gpu.md"))
        assert prediction_counts(newcomer) == EVERY_FRAME


@pytest.fixture
def reader(checkout, bare_environment, tmp_path) -> Newcomer:
    """Somebody in a fresh checkout, without a Label Studio."""
    backend = f"http://localhost:{free_port()}"
    person = Newcomer(
        checkout, bare_environment | {"PORT": backend.rpartition(":")[2]}, "", backend,
        FirstUser("", ""), tmp_path, lambda: "",
    )  # fmt: skip
    yield person
    person.leave()


@pytest.fixture
def with_our_packages(reader, tmp_path) -> None:
    """An environment in which is installed what is installed here, less prelabel: gigabytes."""
    found, there = tmp_path / "installed", tmp_path / "environment"
    found.mkdir()
    for place in {path for path in map(Path, sys.path) if path.name == "site-packages"}:
        for package in place.iterdir():
            if "prelabel" not in package.name and package.suffix != ".pth":
                (found / package.name).symlink_to(package)
    subprocess.run(["python3", "-m", "venv", there], check=True, env=reader.environment)
    (library,) = there.glob("lib/python*/site-packages")
    (library / "ours.pth").write_text(f"{found}\n")
    program(there / "bin" / "hf", there / "bin" / "python", "-m", "huggingface_hub.cli.hf")
    reader.environment["PATH"] = f"{there / 'bin'}:{reader.environment['PATH']}"


@pytest.fixture
def hub(reader, tiny_grounding_dino):  # noqa: F811
    """A hub that has the default model, with few and random weights."""
    server = Hub("IDEA-Research/grounding-dino-tiny", tiny_grounding_dino)
    reader.environment["HF_ENDPOINT"] = server.url
    yield server
    server.stop()


def test_boxes_come_from_the_model_that_the_page_fetches(reader, with_our_packages, hub):
    with reader.reading_a_page():
        walk(reader, steps_of("docs/boxes.md"))
        made = sorted((reader.folder / "overlays" / "boxes").glob("*.json"))
        assert "model.safetensors" in hub.fetched
        assert len(made) == len(list((REPOSITORY / "examples/demo/people").glob("*.jpg")))
        for path in made:
            assert json.loads(path.read_text("utf-8"))["model_version"].startswith(
                "grounding-dino-tiny"
            )
