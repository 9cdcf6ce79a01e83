"""A fresh checkout for a newcomer, and a fresh environment in it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prelabel.labelstudio_api.login import login_with_password
from prelabel.launch.label_studio import FirstUser
from prelabel.launch.processes import free_port

from ..e2e.conftest import label_studio_program  # noqa: F401, TID252 - as a fixture
from .newcomer import Newcomer
from .pages import REPOSITORY

USER = FirstUser("me@example.com", "choose-a-password")
"""As the quick start has it."""


@pytest.fixture(scope="session")
def checkout(tmp_path_factory) -> Path:
    """What a clone of this repository would hold, with what is not committed yet."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("no git checkout here; `git clone` makes one")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("newcomer") / "prelabel"
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def bare_environment(tmp_path_factory) -> dict[str, str]:
    """An environment without ours: Python, the system's programs, and how pip finds packages."""
    programs, home = tmp_path_factory.mktemp("programs"), tmp_path_factory.mktemp("home")
    program(programs / "python3", Path(sys._base_executable))
    passed = ("PIP_", "SSL_CERT", "REQUESTS_CA", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "LANG")
    kept = {name: value for name, value in os.environ.items() if name.upper().startswith(passed)}
    return {
        **kept,
        "PATH": f"{programs}:{os.defpath}:/usr/bin:/bin",
        "HOME": str(home),
        "DATA_DIR": str(home / "data"),
        "ALLOW_DOWNLOADS": "false",  # gigabytes, and other people's servers
    }


@pytest.fixture(scope="session")
def newcomer(
    checkout,
    bare_environment,
    label_studio_program,  # noqa: F811
    tmp_path_factory,
) -> Iterator[Newcomer]:
    """Somebody in a fresh checkout, with a Label Studio program at hand."""
    programs, home = Path(bare_environment["PATH"].partition(":")[0]), bare_environment["HOME"]
    program(programs / "label-studio", label_studio_program)
    label_studio, backend = (f"http://localhost:{free_port()}" for _ in range(2))
    here = {
        "LABEL_STUDIO_PORT": label_studio.rpartition(":")[2],
        "PORT": backend.rpartition(":")[2],
        "LABEL_STUDIO_EXECUTABLE": str(label_studio_program),
        "LABEL_STUDIO_BASE_DATA_DIR": f"{home}/label-studio",
        "LABEL_STUDIO_HOST": "",
        "BROWSER": "true",  # `label-studio start` opens one
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
    }
    person = Newcomer(
        checkout, bare_environment | here, label_studio, backend, USER,
        tmp_path_factory.mktemp("logs"),
        lambda: login_with_password(label_studio, USER.username, USER.password),
    )  # fmt: skip
    try:
        yield person
    finally:
        person.leave()


def program(path: Path, target: Path, *words: str) -> None:
    """A program that runs another one, under the name that pages have for it."""
    path.write_text(f'#!/bin/sh\nexec "{target}" {" ".join(words)} "$@"\n')
    path.chmod(0o755)
