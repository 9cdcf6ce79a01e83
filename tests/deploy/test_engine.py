"""The image as a real container engine builds and runs it.

Commands are copied from docs/containers.md; what is other than there is said where it is so.
The images beside prelabel's own are stand-ins: see tests/deploy/stand_ins.py.
"""

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from .containers_page import asked, block, until, until_it_answers
from .engine import require
from .image import REPOSITORY

pytestmark = pytest.mark.deploy

TOKEN = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def alone(machine, types):
    """The container that the page begins with; its Label Studio is not there."""
    types(block("docker run -d --name prelabel").replace("KEY=…", f"KEY={TOKEN}"))
    until(machine, "{{.State.Health.Status}}", "prelabel", "healthy")
    yield "prelabel"
    machine.run("docker", "rm", "--force", "--volumes", "prelabel")
    machine.run("docker", "volume", "rm", "prelabel-data", "prelabel-models")


def test_the_image_is_built_as_the_dockerfile_says(machine, built):
    image = json.loads(machine.run("docker", "image", "inspect", "prelabel"))[0]["Config"]
    assert image["User"] == "10001:10001"
    assert image["Cmd"] == ["prelabel", "serve"]
    assert image["StopSignal"] == "SIGTERM"
    assert image["Labels"]["org.opencontainers.image.title"] == "prelabel"
    kept = machine.run("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", "prelabel")
    assert "pip.conf" not in kept.replace("target=/etc/pip.conf", "")


def test_it_answers_where_the_page_publishes_it(alone, types):
    assert json.loads(types("curl --fail --silent http://localhost:9090/health"))["status"] == "ok"


def test_the_doctor_of_the_page_names_the_label_studio_that_is_not_there(alone, types):
    (command,) = [
        line for line in block("docker run --rm -v prelabel-data").splitlines() if "doctor" in line
    ]
    assert "http://host.docker.internal:8080" in types(command, code=5)


def test_a_strange_user_without_privileges_can_run_it_read_only(alone, machine, types):
    command = block("docker run -d --read-only")
    name = types(command.replace("docker run -d", "docker run -d -u 4321")).split()[-1]
    until_it_answers(machine, name)
    assert machine.run("docker", "exec", name, "id", "-u").strip() == "4321"
    assert machine.ends("docker", "exec", name, "touch", "/app/anything").code == 1
    machine.run("docker", "rm", "--force", name)


def test_docker_stop_ends_it_in_order(alone, machine):
    machine.run("docker", "stop", alone)
    assert asked(machine, "{{.State.ExitCode}}", alone) == "0"
    assert "Traceback" not in machine.run("docker", "logs", alone)


HELD = """
import sys
from pathlib import Path
from tests.deploy.engine import Engine
with Engine(Path(sys.argv[1])) as engine:
    print(engine.first(), flush=True)
    sys.stdin.read()
"""


def test_who_is_killed_leaves_no_engine_behind(tmp_path):
    require()
    holder = subprocess.Popen(
        [sys.executable, "-c", HELD, tmp_path], cwd=REPOSITORY, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with holder:
        machine = os.pidfd_open(int(holder.stdout.readline()))
        holder.kill()
    gone, _, _ = select.select([machine], [], [], 60)
    os.close(machine)
    assert gone
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text("utf-8")
