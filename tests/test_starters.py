"""The thin scripts: what they run, with a stand-in for the programs that they start."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prelabel import __version__

REPOSITORY = Path(__file__).resolve().parents[1]
STAND_IN = '#!/bin/sh\necho "{name} $*"\necho "device=$GROUNDING_DINO_DEVICE"\n'


@pytest.fixture
def checkout(tmp_path):
    """A checkout with stand-ins where the environments would be."""
    shutil.copytree(REPOSITORY / "scripts", tmp_path / "scripts")
    shutil.copy(REPOSITORY / ".envrc", tmp_path / ".envrc")
    for folder, name in ((".venv", "prelabel"), (".venv-labelstudio", "label-studio")):
        program = tmp_path / folder / "bin" / name
        program.parent.mkdir(parents=True)
        program.write_text(STAND_IN.format(name=name))
        program.chmod(0o755)
    (tmp_path / ".venv/bin/activate").write_text("export ACTIVATED=yes\n")
    return tmp_path


def bash(checkout, line, **environment):
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    done = subprocess.run(
        ["bash", "-euc", line],
        cwd="/",
        env={**kept, **environment, "CHECKOUT": str(checkout)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout


def test_the_backend_is_started_on_the_gpu_unless_told_otherwise(checkout):
    script = '"$CHECKOUT"/scripts/start_ml_backend.sh --port 9091'
    assert bash(checkout, script) == "prelabel serve --port 9091\ndevice=cuda\n"
    assert "device=cpu" in bash(checkout, script, GROUNDING_DINO_DEVICE="cpu")


def test_label_studio_is_started_with_a_backend_beside_it(checkout):
    script = '"$CHECKOUT"/scripts/start_label_studio.sh --port 8081'
    assert bash(checkout, script).startswith("prelabel studio --port 8081\n")


@pytest.mark.parametrize(
    ("typed", "runs"),
    [
        ("label-studio start", "prelabel studio"),
        ("label-studio start --port 8081", "prelabel studio --port 8081"),
        ("label-studio version", "label-studio version"),
        ("label-studio", "label-studio"),
    ],
)
def test_label_studio_start_brings_the_backend_up_and_the_rest_is_passed_through(
    checkout, typed, runs
):
    said = bash(checkout, f'. "$CHECKOUT"/.envrc; {typed}')
    assert said.splitlines()[0].rstrip() == runs


def test_envrc_activates_the_environment_and_exports_nothing_else(checkout):
    said = bash(
        checkout,
        'before=$(env | sort); . "$CHECKOUT"/.envrc; '
        'comm -13 <(echo "$before") <(env | sort) | grep -v "^_="',
    )
    assert said == "ACTIVATED=yes\n"


def test_envrc_without_an_environment_says_how_to_make_it(checkout):
    shutil.rmtree(checkout / ".venv")
    assert "make dev-install" in bash(checkout, '. "$CHECKOUT"/.envrc 2>&1')


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "prelabel", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert __version__ in done.stdout
