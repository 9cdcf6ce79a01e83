"""The guide to batch runs and the commands say the same."""

import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from prelabel.cli.predictions import predictions
from prelabel.cli.run import run
from prelabel.cli.serve import serve
from prelabel.settings import Settings

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "batch.md").read_text("utf-8")


def options(command):
    nested = getattr(command, "commands", {}).values()
    own = {option for parameter in command.params for option in parameter.opts}
    return own.union(*map(options, nested))


def options_of(function):
    app = typer.Typer(add_completion=False)
    app.command()(function)
    return options(get_command(app))


KNOWN = options_of(run) | options_of(serve) | options(get_command(predictions))


@pytest.mark.parametrize("option", sorted(set(re.findall(r"--[a-z][a-z-]*", GUIDE))))
def test_every_option_in_the_guide_exists(option):
    assert option in KNOWN


def test_every_option_of_a_run_is_in_the_guide():
    own = {"--help", "--url", "--token", "--default-limit"}
    written = {option for option in options_of(run) if option.startswith("--")}
    assert {option for option in written - own if option not in GUIDE} == set()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([A-Z]+_[A-Z_]+)`", GUIDE))))
def test_every_setting_in_the_guide_exists(name):
    assert name.lower() in Settings.model_fields
