"""What the tests of the deployment share: the image, built once."""

import os
import shutil

import pytest

from . import bare_root
from .image import Build


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """The image without torch, built by the Dockerfile's steps; takes two minutes or so."""
    bare_root.require()
    folder = tmp_path_factory.mktemp("image")
    mirror = os.environ.get("PRELABEL_TEST_DEBIAN", "http://deb.debian.org/debian")
    try:
        base = bare_root.debian(folder / "debian", mirror)
        yield Build(base, folder, {"EXTRAS": "pose,scale"}).image()
    finally:
        shutil.rmtree(folder)  # some 3 GB, which pytest would keep
