"""What the tests of the deployment share: a bare Debian, the image, an engine; each made once."""

import os
import subprocess
from pathlib import Path

import pytest

from ..docs.conftest import checkout  # noqa: F401, TID252 - as a fixture
from ..e2e.conftest import label_studio_program  # noqa: F401, TID252 - as a fixture
from . import bare_root, stand_ins
from .engine import Engine, require
from .image import Build, built_by


@pytest.fixture(scope="session")
def debian(tmp_path_factory):
    """A bare Debian with Python; takes most of a minute."""
    bare_root.require()
    folder = tmp_path_factory.mktemp("bare")
    mirror = os.environ.get("PRELABEL_TEST_DEBIAN", "http://deb.debian.org/debian")
    try:
        yield bare_root.debian(folder / "debian", mirror)
    finally:
        _remove(folder)


@pytest.fixture(scope="session")
def image(debian, request):
    """The image without torch, as a root: an engine's, or, where none can be started, our own."""
    folder = debian.with_name("image")  # beside it, where hard links to it can be
    folder.mkdir()
    try:
        request.getfixturevalue("built")
        image = built_by(request.getfixturevalue("machine"), "prelabel", folder / "prelabel")
    except pytest.skip.Exception:
        image = Build(debian, folder, {"EXTRAS": "pose,scale"}).image()
    yield image
    _remove(folder)


@pytest.fixture(scope="session")
def machine(tmp_path_factory):
    """A container engine that knows no image yet, on a machine of its own."""
    require()
    folder = tmp_path_factory.mktemp("engine")
    try:
        with Engine(folder) as engine:
            yield engine
    finally:
        _remove(folder)


@pytest.fixture(scope="session")
def built(machine, debian, checkout) -> Path:  # noqa: F811
    """A checkout whose image, without torch, the engine has built; as `prelabel:latest`."""
    folder = debian.with_name("stand-ins")
    folder.mkdir(exist_ok=True)
    stand_ins.base(machine, debian, folder)
    machine.run(
        "docker", "build", "-t", "prelabel", "--build-arg", "EXTRAS=pose,scale", ".",
        folder=checkout, BUILDKIT_PROGRESS="plain",
    )  # fmt: skip
    return checkout


@pytest.fixture(scope="session")
def deployable(built, machine, debian, label_studio_program) -> Path:  # noqa: F811
    """The same checkout, once the engine also has the other images that the compose files name."""
    stand_ins.services(machine, debian, debian.with_name("stand-ins"), label_studio_program)
    return built


@pytest.fixture(scope="session")
def types(machine, built):
    """Types commands at a terminal in the checkout; gives what they write."""

    def typed(commands, code=0):
        return machine.run("bash", "-euo", "pipefail", "-c", commands, folder=built, code=code)

    return typed


def _remove(folder):
    """Remove gigabytes that pytest would keep, in a hundred thousand files."""
    subprocess.run(["rm", "-rf", folder], check=True)
