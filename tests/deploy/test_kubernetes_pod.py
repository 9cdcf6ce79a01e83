"""Servers and workers run as their pods run them, and asked what the manifests have them asked."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import yaml

from prelabel.launch.processes import Child, free_port

from .kustomize import MANIFESTS, SECRET, manifests

SERVICE_MONITOR = yaml.safe_load(
    (MANIFESTS / "components" / "service-monitor" / "service-monitor.yaml").read_text("utf-8")
)
PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Cluster:
    """What pods find outside themselves."""

    folder: Path
    database: str
    redis: str

    def environment(self, **others):
        """The variables of a pod, with addresses and folders of this machine."""
        given = manifests("overlays/cpu").one("ConfigMap")["data"] | SECRET["stringData"]
        given |= {"DATABASE_URL": self.database, "REDIS_URL": self.redis}
        given |= {"MODEL_DIR": str(self.folder / "models"), "DATA_DIR": str(self.folder / "data")}
        return given | {"ALLOW_DOWNLOADS": "false", "BIND_ADDRESS": "127.0.0.1"} | others

    def command(self, deployment):
        program, *arguments = manifests("overlays/cpu").container(deployment)["args"]
        return [str(PROGRAMS / program), *arguments]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, postgres_server, redis_server):
    pytest.importorskip("dramatiq", reason="pip install 'prelabel[scale]'")
    redis_server.client.flushall()
    with postgres_server.database() as database:
        yield Cluster(tmp_path_factory.mktemp("pods"), database, redis_server.url)


@contextmanager
def server(cluster):
    """A server as a pod runs it; gives its process and its address."""
    port = free_port()
    child = Child.start(
        "server",
        cluster.command("prelabel-server"),
        log_path=cluster.folder / "server.log",
        environment=cluster.environment(PORT=str(port)),
    )
    try:
        child.wait_until_answers(f"http://127.0.0.1:{port}/live", timeout_s=60)
        yield child, f"http://127.0.0.1:{port}"
    finally:
        child.stop()


@pytest.fixture(scope="module")
def url(cluster):
    with server(cluster) as (_, address):
        yield address


def probes():
    container = manifests("overlays/cpu").container("prelabel-server")
    return {name: one["httpGet"] for name, one in container.items() if name.endswith("Probe")}


def test_one_probe_asks_whether_a_server_is_ready_and_two_whether_it_lives():
    assert {name: one["path"] for name, one in probes().items()} == {
        "startupProbe": "/live",
        "livenessProbe": "/live",
        "readinessProbe": "/ready",
    }
    (port,) = manifests("overlays/cpu").container("prelabel-server")["ports"]
    assert {one["port"] for one in probes().values()} == {port["name"]}


def test_a_server_answers_its_probes_without_a_password(url):
    assert [httpx2.get(url + one["path"]).status_code for one in probes().values()] == [200] * 3
    assert httpx2.get(f"{url}/health").status_code == 401


def test_label_studio_is_let_in_by_the_secret_path(url):
    path = SECRET["stringData"]["SECRET_PATH"]
    answer = httpx2.post(f"{url}/{path}/webhook", json={"action": "PROJECT_UPDATED"})
    assert answer.status_code == 201


def test_prometheus_is_let_in_with_what_the_monitor_shows(url):
    (endpoint,) = SERVICE_MONITOR["spec"]["endpoints"]
    shown = endpoint["authorization"]["credentials"]
    assert shown["name"] == SECRET["metadata"]["name"]
    header = f"{endpoint['authorization']['type']} {SECRET['stringData'][shown['key']]}"
    assert httpx2.get(url + endpoint["path"]).status_code == 401
    answer = httpx2.get(url + endpoint["path"], headers={"Authorization": header})
    assert answer.status_code == 200
    assert "prelabel_build_info" in answer.text


def test_a_server_that_is_told_to_end_does_so_in_time(cluster):
    with server(cluster) as (child, _):
        os.kill(child.pid, signal.SIGTERM)
        grace_s = manifests("overlays/cpu").pod("prelabel-server")["terminationGracePeriodSeconds"]
        # uvicorn ends by the signal itself once all is done; in a container, as process 1, with 0.
        assert child._process.wait(timeout=grace_s) in (0, -signal.SIGTERM)


def test_a_worker_takes_up_its_work_and_is_gone_in_time(cluster):
    command, environment = cluster.command("prelabel-worker"), os.environ | cluster.environment()
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as worker:
        try:
            said = []
            for line in worker.stderr:
                said.append(line)
                if '"working"' in line:
                    break
            assert worker.poll() is None, "".join(said)
            worker.send_signal(signal.SIGTERM)
            pod = manifests("overlays/cpu").pod("prelabel-worker")
            worker.communicate(timeout=pod["terminationGracePeriodSeconds"])
        finally:
            worker.kill()
    assert worker.returncode == 0
