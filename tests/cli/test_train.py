"""The commands `prelabel train` and `prelabel learned`, on a Label Studio of their own."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from prelabel.cli import app
from prelabel.errors import (
    LabelStudioUnreachable,
    LoginRefused,
    NoSuchVersion,
    SettingsError,
    consequence_of,
)

TOKEN = "a" * 40
CONFIG = """<View><Image name="image" value="$image"/>
<RectangleLabels name="label" toName="image"><Label value="car"/></RectangleLabels></View>"""


def annotated_task(frame, x=None):
    """A frame of a car that drives to the right, or is somewhere else."""
    shape = {"x": 5 + 0.5 * frame if x is None else x, "y": 40, "width": 10, "height": 12}
    drawn = {
        "id": f"r{frame}",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": 640,
        "original_height": 480,
        "value": {**shape, "rotation": 0, "rectanglelabels": ["car"]},
    }
    return {
        "id": frame + 1,
        "inner_id": frame + 1,
        "data": {"image": f"/data/upload/1/drive_{frame:05}.jpg"},
        "annotations": [
            {
                "id": frame,
                "result": [drawn],
                "was_cancelled": False,
                "updated_at": "2026-01-02T03:04:05.000000Z",
            }
        ],
    }


@pytest.fixture
def tasks():
    """What is annotated in project 7: every fifth of 60 frames."""
    return [annotated_task(frame) for frame in range(0, 60, 5)]


@pytest.fixture
def label_studio(tasks):
    """The address of a Label Studio with one project."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            address = urlsplit(self.path)
            if self.headers["Authorization"] != f"Token {TOKEN}":
                return self.answer(401, {"detail": "Invalid token."})
            if address.path == "/api/projects/7/":
                project = {
                    "id": 7,
                    "label_config": CONFIG,
                    "created_at": "2026-01-02T03:04:05.678901Z",
                }
                return self.answer(200, project)
            if address.path == "/api/tasks/":
                [query] = parse_qs(address.query)["query"]
                (*_, least) = json.loads(query)["filters"]["items"]
                known = {("filter:tasks:total_annotations", 0), ("filter:tasks:id", 0)}
                assert (least["filter"], least["value"]) in known
                rows = sorted(tasks, key=lambda task: task["id"])
                return self.answer(200, {"total": len(rows), "tasks": rows})
            return self.answer(404, {"detail": "No Project matches the given query."})

        def answer(self, status, body):
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def run(label_studio, tmp_path, monkeypatch):
    """Runs a command in a folder without settings of its own."""
    monkeypatch.chdir(tmp_path)
    # It would have loggers of later tests write into the output of this one.
    monkeypatch.setattr("prelabel.logs.configure", lambda *_: None)
    for name in ("API_TOKEN", "ACCESS_TOKEN", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"LABEL_STUDIO_{name}", raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LABEL_STUDIO_URL", label_studio)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)

    def invoke(*arguments):
        return CliRunner().invoke(app, arguments)

    return invoke


@pytest.mark.parametrize("command", ["list", "show", "rollback"])
def test_where_nothing_was_learnt_the_command_that_learns_is_named(run, command):
    result = run("learned", command, "--project", "7")
    assert isinstance(result.exception, NoSuchVersion)
    assert "Run `prelabel train --project 7`" in str(result.exception)


def test_too_few_annotations_end_with_their_own_exit_code(run, tasks):
    del tasks[3:]
    result = run("train", "--project", "7")
    assert result.exit_code == 3
    assert "insufficient-data: One label needs 8 annotated objects" in result.stdout
    assert "(needed: 8)" in result.stdout


def test_a_project_is_trained_with_progress_and_its_figures(run):
    result = run("train", "--project", "7")
    assert result.exit_code == 0, result.output
    assert "fetching annotated task 1 of 12" in result.stderr
    assert "learning from 12 annotated frames" in result.stderr
    assert "trained: Version 1 answers" in result.stdout
    for way in ("learner", "nearest frame copied", "linear interpolation"):
        assert way in result.stdout
    again = run("train", "--project", "7")
    assert again.exit_code == 0
    assert "unchanged: " in again.stdout


def test_json_is_for_programs(run):
    result = run("train", "--project", "7", "--json")
    outcome = json.loads(result.stdout)
    assert (outcome["status"], outcome["version"], outcome["annotated_tasks"]) == ("trained", 1, 12)
    assert set(outcome["figures"]) >= {"leave_one_out", "leave_a_gap_out"}
    (listed,) = json.loads(run("learned", "list", "--project", "7", "--json").stdout)
    assert (listed["version"], listed["active"], listed["figures"]) == (1, True, outcome["figures"])
    assert json.loads(run("learned", "show", "--project", "7", "--json").stdout) == listed


def test_a_version_can_be_gone_back_to(run, tasks):
    run("train", "--project", "7")
    tasks.append(annotated_task(7))
    run("train", "--project", "7")
    assert "annotated tasks: 13" in run("learned", "show", "--project", "7").stdout

    (newest, oldest) = json.loads(run("learned", "rollback", "--project", "7", "--json").stdout)
    assert (newest["active"], oldest["active"]) == (False, True)
    result = run("learned", "rollback", "--project", "7")
    assert isinstance(result.exception, NoSuchVersion)
    assert "none before it" in str(result.exception)

    forward = run("learned", "rollback", "--project", "7", "--to", "2")
    assert forward.exit_code == 0
    assert forward.stdout.splitlines()[1].split()[4] == "yes"
    result = run("learned", "rollback", "--project", "7", "--to", "9")
    assert "version 9 of project 7" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "error", "exit_code"),
    [
        (("train",), SettingsError, 2),
        (("train", "--project", "7", "--url", "http://127.0.0.1:9"), LabelStudioUnreachable, 4),
        (("train", "--project", "7", "--token", "b" * 40), LoginRefused, 4),
    ],
)
def test_what_is_missing_is_named(run, arguments, error, exit_code, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # between attempts to connect
    result = run(*arguments)
    assert isinstance(result.exception, error)
    assert consequence_of(result.exception).exit_code == exit_code


def test_without_a_login_the_settings_are_named(run, monkeypatch):
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    result = run("train", "--project", "7")
    assert isinstance(result.exception, SettingsError)
    assert "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY" in str(result.exception)
