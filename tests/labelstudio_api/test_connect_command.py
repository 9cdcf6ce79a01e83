import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "setup_label_studio_ml_backend.py"
BACKEND = "http://127.0.0.1:9"  # nothing listens here; only the fake believes in it


@pytest.fixture
def connect(fake, tmp_path):
    """Runs the script under its old name, in a process without settings of its own."""
    fake.running_backends[BACKEND] = None

    def run(*arguments, **environment):
        plain = {name: value for name, value in os.environ.items() if "LABEL_STUDIO" not in name}
        return subprocess.run(
            [sys.executable, SCRIPT, "--url", fake.url, "--backend-url", BACKEND, *arguments],
            cwd=tmp_path,
            env={**plain, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_the_old_options_connect_and_try_a_prediction(fake, connect, tokens):
    login = ("--username", tokens.user, "--password", tokens.password)
    first = connect(*login, "--project-title", "hands")
    assert first.returncode == 0, first.stderr
    fake.tasks[1] = {"id": 1, "project": 1, "data": {}}
    fake.prediction = [{"result": [{}, {}], "model_version": "v1"}]
    second = connect(*login, "--project-title", "hands", "--test-predict")
    assert second.returncode == 0, second.stderr
    assert "project  found: hands (id 1)" in second.stdout
    assert f"backend  unchanged: {BACKEND}, model version v1" in second.stdout
    assert "test     task 1: 2 regions, model version v1" in second.stdout


@pytest.mark.parametrize("name", ["LABEL_STUDIO_API_KEY", "LABEL_STUDIO_API_TOKEN"])
def test_a_token_from_the_environment_and_json_for_programs(fake, connect, name):
    done = connect("--json", **{name: fake.personal_token})
    assert done.returncode == 0, done.stderr
    account = json.loads(done.stdout)
    assert (account["project_title"], account["backend_action"]) == ("Body distortion", "attached")
    assert account["trial"] is None
    assert fake.personal_token not in done.stdout + done.stderr


def test_a_typed_login_goes_before_a_token_in_the_environment(fake, connect, tokens):
    login = ("--username", tokens.user, "--password", tokens.password)
    assert connect(*login, LABEL_STUDIO_API_KEY="stale-token").returncode == 0
    assert fake.logins == 1


def test_refusals_are_one_line_and_an_exit_code_of_their_own(connect, tokens):
    nothing = connect()
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    wrong = connect("--username", tokens.user, "--password", "guess")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (4, 1)
    assert "guess" not in wrong.stderr
    missing = connect("--token", tokens.legacy, "--project-id", "9")
    assert (missing.returncode, missing.stderr.count("\n")) == (5, 1)
