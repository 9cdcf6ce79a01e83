"""All checks together, and the command."""

import json
import socket
import subprocess
import sys
import threading

import pytest
from pydantic import SecretStr

from prelabel.doctor.checks import CHECKS
from prelabel.doctor.diagnosis import Diagnosis, failure, ok, skipped, warning
from prelabel.doctor.examination import Check, examine
from prelabel.doctor.machine import Machine, this_machine
from prelabel.errors import SettingsError, WeightsUnavailable
from prelabel.settings import Settings

NEVER_SHOWN = "f00dfeedf00dfeedf00dfeedf00dfeedf00dfeed"


def checks(**looks):
    """A table of checks by name; each answers what is given, or does what is given."""
    return [
        Check(name, "group", look if callable(look) else lambda _, said=look: said, limit_s=5)
        for name, look in looks.items()
    ]


def test_no_checks_leave_the_settings_alone_to_be_looked_at(machine, settings):
    assert [one.name for one in examine(machine(), [], settings)] == ["settings"]


def test_each_diagnosis_has_the_name_of_its_check(machine, settings):
    table = checks(first=ok("a"), second=warning("b", "because", "do"), third=skipped("c"))
    made = list(examine(machine(), table, settings))[1:]
    assert [(one.name, one.status) for one in made] == [
        ("first", "ok"), ("second", "warning"), ("third", "skipped")
    ]  # fmt: skip


def test_a_check_that_raises_has_failed_and_the_others_are_made(machine, settings):
    def raising(_):
        raise WeightsUnavailable("model.onnx", "it is damaged", "Install it again.")

    table = checks(broken=raising, other=ok("fine"))
    _, broken, other = examine(machine(), table, settings)
    assert (broken.status, broken.finding) == ("failure", "model.onnx: it is damaged")
    assert broken.mend == "Install it again."
    assert other.status == "ok"


def test_a_check_with_a_defect_says_that_it_failed_itself(machine, settings):
    def defective(_):
        raise KeyError("release")

    _, broken, other = examine(machine(), checks(broken=defective, other=ok("fine")), settings)
    assert (broken.status, broken.finding) == ("failure", "the check itself failed (KeyError)")
    assert other.status == "ok"


def test_a_check_that_takes_too_long_is_left_behind(machine, settings):
    end = threading.Event()
    slow = Check("slow", "group", lambda _: ok(str(end.wait(30))), limit_s=0.05)
    _, slow_one, other = examine(machine(), [slow, *checks(other=ok("fine"))], settings)
    end.set()
    assert (slow_one.status, slow_one.finding) == ("failure", "no answer within 0.05 s")
    assert other.status == "ok"


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (ok("a"), "ok"),
        (warning("a", "because", "do"), "ok"),
        (failure("a", "because", "do"), "skipped"),
        (skipped("a"), "skipped"),
    ],
)
def test_what_needs_another_check_is_skipped_where_that_one_says_nothing(
    machine, settings, first, status
):
    later = [
        Check("second", "group", lambda _: ok("b"), ("first",)),
        Check("third", "group", lambda _: ok("c"), ("second",)),
    ]
    made = list(examine(machine(), [*checks(first=first), *later], settings))
    assert [one.status for one in made[2:]] == [status, status]


def test_settings_that_cannot_be_read_fail_and_the_checks_go_by_the_defaults(machine):
    def unreadable():
        raise SettingsError("PORT", "it is no number", "Correct it.")

    table = checks(port=lambda case: ok(str(case.settings.port)))
    first, port = examine(machine(), table, unreadable)
    assert (first.name, first.status, first.mend) == ("settings", "failure", "Correct it.")
    assert port.finding == "9090"


def test_a_secret_that_another_program_quotes_is_not_shown(machine, settings):
    address = SecretStr(f"postgresql://ann:{NEVER_SHOWN}@db/prelabel")
    chosen = settings(database_url=address, api_token=SecretStr(""))
    told = failure(f"cannot open {NEVER_SHOWN}", f"{NEVER_SHOWN}!", f"mend {NEVER_SHOWN}")
    _, made = examine(machine(), checks(database=told), lambda: chosen)
    assert (made.finding, made.why, made.mend) == ("cannot open ***", "***!", "mend ***")


def test_what_asks_for_action_must_say_why_and_what_to_do():
    assert Diagnosis("a", "ok", "fine").mend == ""
    for lacking in (("why", ""), ("", "mend")):
        with pytest.raises(ValueError, match="why, mend"):
            failure("found", *lacking)


def test_checks_come_after_those_that_they_need_and_in_one_piece_per_group():
    seen = set()
    groups = []
    for check in CHECKS:
        assert set(check.needs) <= seen, check.name
        assert check.name not in seen
        seen.add(check.name)
        groups += [check.group] if check.group not in groups[-1:] else []
    assert len(groups) == len(set(groups))
    assert len(CHECKS) >= 15


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
    assert machine.cores >= 1
    assert machine.memory_bytes > 100_000_000


def test_the_command_prints_a_line_for_each_check_and_what_mends_it_last(environment):
    result = run()
    for check in CHECKS:
        assert f" {check.name} " in result.stdout
        assert f"{check.group}\n" in result.stdout
    assert "LABEL_STUDIO_URL is not set" in result.stdout
    lists, to_do = result.stdout.split("\nwarning ", 1)
    assert "→ Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY." in to_do
    assert "→" not in lists
    assert "\x1b" not in result.stdout
    assert (result.returncode, result.stderr) == (0, "")


def test_a_failed_check_is_exit_code_5_and_no_secret_is_printed(environment):
    environment.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    environment.setenv("LABEL_STUDIO_API_KEY", NEVER_SHOWN)
    environment.setenv("BASIC_AUTH_USER", "ann")
    environment.setenv("BASIC_AUTH_PASS", NEVER_SHOWN)
    result = run("--json", "--project", "3")
    assert result.returncode == 5
    answer = json.loads(result.stdout)
    assert {tuple(one) for one in answer} == {("name", "status", "finding", "why", "mend")}
    statuses = {one["name"]: one["status"] for one in answer}
    assert statuses["settings"] == "ok"
    assert statuses["Label Studio"] == "failure"
    assert statuses["images"] == "skipped"
    assert NEVER_SHOWN not in result.stdout + result.stderr


def test_a_project_on_which_all_is_well_is_exit_code_0(environment, studio, signed_in, picture):
    studio.tasks = [{"id": 1, "data": {"image": "/data/upload/1/1.png"}}]
    studio.files = {"/data/upload/1/1.png": picture}
    studio.attach("http://127.0.0.1:9090")
    environment.setenv("LABEL_STUDIO_URL", studio.url)
    token = signed_in().label_studio_api_key.get_secret_value()
    environment.setenv("LABEL_STUDIO_API_KEY", token)
    result = run("--project", "1")
    assert "1 “Frames”: 1 tasks" in result.stdout
    assert "http://127.0.0.1:9090 is connected" in result.stdout
    assert "0 failure" in result.stdout
    assert result.returncode == 0


@pytest.mark.parametrize(
    ("file", "text"), [(".env", "PORT=many"), ("prelabel.toml", "port = = 9090")]
)
def test_settings_that_cannot_be_read_are_exit_code_5(environment, tmp_path, file, text):
    environment.delenv("PORT")
    (tmp_path / file).write_text(text)
    result = run("--json")
    assert result.returncode == 5
    assert json.loads(result.stdout)[0]["status"] == "failure"
