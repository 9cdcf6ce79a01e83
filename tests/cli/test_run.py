"""What `prelabel run` says."""

import json
import sys
from contextlib import nullcontext
from dataclasses import replace

import pytest
from tests.batch.test_report import IDLE
from typer.testing import CliRunner

from prelabel.cli import app
from prelabel.errors import SettingsError


@pytest.fixture
def run(monkeypatch):
    """Calls the command whose run gave a note, and is over."""
    told = replace(IDLE, warnings=("torch is not installed.",))
    monkeypatch.setattr(sys.modules["prelabel.cli.run"], "_run", lambda *_, **__: (told, None))
    return lambda *options: CliRunner().invoke(app, ["run", "--project", "3", *options])


def test_quiet_says_nothing_of_a_run_that_went_well(run):
    assert run("--quiet").output == ""


def test_a_note_is_told_to_people_and_programs(run):
    assert "note       torch is not installed." in run().output
    told = run("--json")
    assert json.loads(told.stdout)["warnings"] == ["torch is not installed."]
    assert told.stderr == "prelabel: torch is not installed.\n"


class Roomless:
    """A run that is over, whose report finds no room."""

    manners = None
    parts = None

    def write_report(self, summary, path):
        raise SettingsError("the report", "cannot be written (disk full)", "Name another file.")


def test_a_report_that_finds_no_room_costs_nothing_else(monkeypatch):
    monkeypatch.setattr("prelabel.assembly.run.batch_run", lambda *_, **__: nullcontext(Roomless()))
    told = replace(IDLE, exit_code=3, go_on="1 task failed.")
    monkeypatch.setattr("prelabel.batch.run.run", lambda *_: told)
    answer = CliRunner().invoke(app, ["run", "--project", "3"])
    assert answer.exit_code == 3
    assert "next       1 task failed." in answer.stdout
    assert "Name another file." in answer.stderr
