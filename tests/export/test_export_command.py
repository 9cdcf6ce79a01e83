"""`prelabel export` from a file, and from a Label Studio on a port of its own."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from prelabel.cli.export import export
from prelabel.errors import RequestRefused, SettingsError

PICTURE = cv2.imencode(".png", np.zeros((480, 640, 3), np.uint8))[1].tobytes()


def run(*arguments, **environment):
    app = typer.Typer()
    app.command()(export)
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, words, env={"LABEL_STUDIO_API_KEY": "", **environment})


@pytest.fixture
def project(draw):
    """Two persons on one image, nothing on a second, a third that nobody looked at."""
    made = draw.pose_project()
    persons = draw.people({0: (100, 50), 5: (80, 120)}, {0: (400, 60)})
    made.add(made.drawn(persons))
    made.add([], predictions=[{"result": made.drawn(persons)}])
    made.add()
    return made


@pytest.fixture
def file(project, tmp_path):
    """The options that name the project's export and its label config."""
    (tmp_path / "export.json").write_text(json.dumps(project.tasks))
    (tmp_path / "config.xml").write_text(project.xml)
    return "--input", tmp_path / "export.json", "--label-config", tmp_path / "config.xml"


@pytest.fixture
def label_studio(project):
    """The address of a Label Studio that has the project as number 7, two tasks a page.

    As 1.23.2 does it: annotations come with fields=all only, and an `include` would leave nothing
    of each but its id.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            address = urlsplit(self.path)
            params = {key: values[0] for key, values in parse_qs(address.query).items()}
            assert self.headers["Authorization"] == f"Token {'0' * 40}"
            if address.path == "/api/projects/7/":
                self.answer(200, {"id": 7, "label_config": project.xml})
            elif address.path == "/api/tasks/" and params["project"] == "7":
                self.answer(200, self.page(params))
            elif address.path.startswith("/data/upload/1/"):
                self.answer(200, PICTURE)
            else:
                self.answer(404, {"detail": "No Project matches the given query."})

        def page(self, params):
            assert (params["fields"], params["resolve_uri"]) == ("all", "false")
            assert "include" not in params
            [item] = json.loads(params["query"])["filters"]["items"]
            left = [task for task in project.tasks if task["id"] > item["value"]]
            return {"total": len(left), "tasks": left[:2]}

        def answer(self, status, body):
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_becomes_a_dataset_and_the_figures_are_printed(file, tmp_path):
    result = run("--format", "coco-wholebody", "--out", tmp_path / "out", *file)
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "images   2",
        "persons  2, with 3 points",
        "skipped  1: not annotated (tasks 3)",
    ]
    assert (tmp_path / "out" / "annotations.json").is_file()


def test_a_project_becomes_the_same_dataset_as_its_export(file, label_studio, tmp_path):
    token = ("--url", label_studio, "--token", "0" * 40)
    live = run("--format", "coco-wholebody", "--out", tmp_path / "live", "--project", "7", *token)
    assert live.exit_code == 0
    run("--format", "coco-wholebody", "--out", tmp_path / "file", *file)
    written = [tmp_path / folder / "annotations.json" for folder in ("live", "file")]
    assert written[0].read_text() == written[1].read_text()


def test_address_and_token_may_come_from_the_environment(label_studio, tmp_path):
    environment = {"LABEL_STUDIO_URL": label_studio, "LABEL_STUDIO_API_KEY": "0" * 40}
    result = run(
        "--format", "yolo-pose", "--out", tmp_path / "out", "--project", "7", **environment
    )
    assert result.exit_code == 0
    assert len(list((tmp_path / "out" / "labels").iterdir())) == 2


def test_images_are_fetched_from_label_studio(file, label_studio, tmp_path):
    token = ("--url", label_studio, "--token", "0" * 40)
    out = ("--out", tmp_path / "out", "--copy-images")
    for source in (("--project", "7"), file):
        result = run("--format", "coco-boxes", *out, *source, *token)
        assert result.exit_code == 0
        copies = sorted((tmp_path / "out" / "images").iterdir())
        assert [copy.name for copy in copies] == ["00000001-photo.png", "00000002-photo.png"]
        assert {copy.read_bytes() for copy in copies} == {PICTURE}
        for copy in copies:
            copy.unlink()


def test_a_project_that_is_not_there_is_refused(label_studio, tmp_path):
    token = ("--url", label_studio, "--token", "0" * 40)
    result = run("--format", "coco-boxes", "--out", tmp_path / "out", "--project", "8", *token)
    assert isinstance(result.exception, RequestRefused)
    assert not (tmp_path / "out").exists()


def test_a_source_is_needed_and_only_one(file, tmp_path):
    wanted = ("--format", "coco-boxes", "--out", tmp_path / "out")
    for given in ((), (*file, "--project", "7"), file[:2], file[2:]):
        result = run(*wanted, *given)
        assert isinstance(result.exception, SettingsError)
        assert "--input FILE with --label-config FILE" in str(result.exception)


def test_of_many_tasks_left_out_for_a_reason_the_first_are_named(draw, project, file, tmp_path):
    for _ in range(6):
        project.add()
    (tmp_path / "export.json").write_text(json.dumps(project.tasks))
    result = run("--format", "coco-boxes", "--out", tmp_path / "out", *file)
    assert result.output.splitlines()[1:] == [
        "boxes    2",
        "skipped  7: not annotated (tasks 3, 4, 5, 6, 7, …)",
    ]
