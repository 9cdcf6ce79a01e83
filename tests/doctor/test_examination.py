"""All checks together, and the command."""

import json
import socket
import subprocess
import sys

import pytest

from prelabel.doctor.examination import CHECKS, examine
from prelabel.doctor.finding import Finding, failed, ok, warning
from prelabel.doctor.machine import Machine, this_machine
from prelabel.errors import SettingsError, WeightsUnavailable
from prelabel.settings import Settings

NEVER_SHOWN = "f00dfeedf00dfeedf00dfeedf00dfeedf00dfeed"


def test_no_checks_leave_the_settings_alone_to_be_looked_at(machine, settings):
    assert [finding.name for finding in examine(machine(), settings, {})] == ["settings"]


def test_each_finding_has_the_name_of_its_check(machine, settings):
    checks = {"first": lambda *_: ok("a"), "second": lambda *_: warning("b", "because", "do")}
    findings = list(examine(machine(), settings, checks))
    assert [(f.name, f.state) for f in findings[1:]] == [("first", "ok"), ("second", "warning")]


def test_a_check_that_raises_has_failed_and_the_others_are_made(machine, settings):
    def raising(*_):
        raise WeightsUnavailable("model.onnx", "it is damaged", "Install it again.")

    checks = {"broken": raising, "other": lambda *_: ok("fine")}
    _, broken, other = examine(machine(), settings, checks)
    assert (broken.state, broken.found) == ("failed", "model.onnx: it is damaged")
    assert broken.mend == "Install it again."
    assert other.state == "ok"


def test_settings_that_cannot_be_read_fail_and_the_checks_go_by_the_defaults(machine):
    def unreadable():
        raise SettingsError("PORT", "it is no number", "Correct it.")

    first, port = examine(machine(), unreadable, {"port": lambda _, s: ok(str(s.port))})
    assert (first.name, first.state, first.mend) == ("settings", "failed", "Correct it.")
    assert port.found == "9090"


def test_a_finding_that_is_not_well_must_say_why_and_what_to_do():
    assert Finding("ok", "fine").mend == ""
    for lacking in (("why", ""), ("", "mend")):
        with pytest.raises(ValueError, match="why, mend"):
            failed("found", *lacking)


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """An empty folder, no settings, nothing downloaded, a free port."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    monkeypatch.setenv("PORT", str(number))
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    return monkeypatch


def run(*arguments):
    """The command in a process of its own: it sets up logging for good."""
    lines = "import typer; from prelabel.cli.doctor import doctor; typer.run(doctor)"
    command = [sys.executable, "-c", lines, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_this_machine_knows_what_it_runs(environment):
    machine = this_machine()
    assert isinstance(machine, Machine)
    assert "typer" in machine.packages
    assert "MODEL_DIR" in machine.names
    assert machine.run("print(6 * 7)").said == "42"
    assert machine.run("import os; os._exit(3)").said == "it ended with 3"
    assert not machine.run("import no_such_module").ok


def test_the_command_prints_a_line_for_each_check_and_what_mends_it(environment):
    result = run()
    for name in CHECKS:
        assert f" {name} " in result.stdout
    assert "LABEL_STUDIO_URL is not set" in result.stdout
    assert "mend  Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY." in result.stdout


def test_a_failed_check_is_exit_code_5_and_no_secret_is_printed(environment):
    environment.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    environment.setenv("LABEL_STUDIO_API_KEY", NEVER_SHOWN)
    environment.setenv("BASIC_AUTH_USER", "ann")
    environment.setenv("BASIC_AUTH_PASS", NEVER_SHOWN)
    result = run("--json")
    assert result.returncode == 5
    answer = json.loads(result.stdout)
    assert answer["ok"] is False
    states = {finding["name"]: finding["state"] for finding in answer["findings"]}
    assert states["Label Studio"] == "failed"
    assert states["settings"] == "ok"
    assert NEVER_SHOWN not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "text"), [(".env", "PORT=many"), ("prelabel.toml", "port = = 9090")]
)
def test_settings_that_cannot_be_read_are_exit_code_5(environment, tmp_path, file, text):
    environment.delenv("PORT")
    (tmp_path / file).write_text(text)
    result = run("--json")
    assert result.returncode == 5
    assert json.loads(result.stdout)["findings"][0]["state"] == "failed"
