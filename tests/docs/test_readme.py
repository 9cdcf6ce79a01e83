"""The README and the code say the same."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prelabel.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text("utf-8")


def script(name):
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_settings_table_is_up_to_date():
    assert script("write_settings_table").with_table(README) == README, (
        "run scripts/write_settings_table.py"
    )


def test_every_setting_is_described():
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", README))
def test_every_link_into_the_repository_leads_somewhere(target):
    assert target.startswith("http") or (REPOSITORY / target).exists()


def commands():
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("prelabel ")])
def test_every_prelabel_command_and_option_exists(command):
    words = re.sub(r'"[^"]*"', "x", command).split()
    answer = subprocess.run(
        [Path(sys.executable).parent / "prelabel", words[1], "--help"],
        capture_output=True, text=True, check=True, env={"COLUMNS": "200", "PATH": "/usr/bin"},
    )  # fmt: skip
    for option in re.findall(r"--[a-z-]+", command):
        assert option in answer.stdout, option


@pytest.mark.parametrize(
    "target", re.findall(r"^make ([a-z-]+)", "\n".join(commands()), re.MULTILINE)
)
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
