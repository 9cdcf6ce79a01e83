"""The command `prelabel evaluate`."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from prelabel.cli.evaluate import evaluate
from prelabel.errors import SettingsError, WeightsUnavailable

CONFIG = """<View><Image name="image" value="$image"/>
<RectangleLabels name="box" toName="image"><Label value="[hat]"/></RectangleLabels></View>"""


def run(*arguments):
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments])


def printed(*arguments):
    """What a process of its own writes to standard output."""
    program = "from prelabel.cli.evaluate import evaluate; evaluate()"
    command = [sys.executable, "-c", program, *(str(argument) for argument in arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def region(x, **more):
    return {
        "id": "r",
        "from_name": "box",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": 100,
        "original_height": 100,
        "value": {"x": x, "y": 0, "width": 10, "height": 10, "rectanglelabels": ["[hat]"]},
        **more,
    }


TASK = {
    "id": 7,
    "data": {"image": "https://example.org/a.jpg"},
    "annotations": [{"id": 1, "result": [region(0), region(50)]}],
    "predictions": [{"id": 1, "model_version": "v1", "result": [region(0, score=0.5)]}],
}


@pytest.fixture
def exported(tmp_path):
    export, config = tmp_path / "export.json", tmp_path / "config.xml"
    config.write_text(CONFIG)
    export.write_text(json.dumps([TASK]))
    return "--export", export, "--label-config", config


@pytest.fixture
def label_studio():
    """The address of a Label Studio whose project 3 has the task.

    As 1.23.2, it lists annotations and predictions where `fields=all` asks for them only.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            full = "fields=all" in self.path
            bare = {name: TASK[name] for name in ("id", "data")}
            answers = {
                "/api/projects/3/": {"id": 3, "label_config": CONFIG},
                "/api/tasks/": {"total": 1, "tasks": [TASK if full else bare]},
            }
            body = json.dumps(answers[self.path.partition("?")[0]]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_tables_show_each_label_as_it_is_written(exported):
    result = run("project", *exported, "--each")

    assert result.exit_code == 0, result.output
    assert "model versions: 1 v1" in result.output
    (row,) = (line for line in result.output.splitlines() if "[hat]" in line)
    assert row.split() == ["[hat]", "2", "1", "1", "0.505", "0.505", "0.505", "0.500"]
    assert "task 7" in result.output


def test_json_is_one_object_with_every_image(exported):
    result = run("project", *exported, "--json")

    report = json.loads(result.output)
    assert report["boxes"]["[hat]"]["ap"] == pytest.approx(51 / 101)
    assert report["subject"]["model_versions"] == {"v1": 1}
    assert [image["name"] for image in report["images"]] == ["task 7"]


def test_a_project_scores_as_its_export_does(exported, label_studio):
    options = ("--project", 3, "--url", label_studio, "--token", "0" * 40)

    here = json.loads(run("project", *options, "--json").output)
    there = json.loads(run("project", *exported, "--json").output)

    assert here["subject"].pop("tasks") == f"project 3 of {label_studio}"
    there["subject"].pop("tasks")
    assert here == there


def test_one_source_is_needed(exported):
    for arguments in ((), exported[:2], ("--project", 1, *exported)):
        assert isinstance(run("project", *arguments).exception, SettingsError)


def test_images_are_looked_at_by_the_predictor_that_is_named(tmp_path):
    pytest.importorskip("onnxruntime", reason="pip install 'prelabel[pose]'")
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((60, 80, 3), 128, np.uint8))
    annotations = tmp_path / "annotations.json"
    nose = [40, 30, 2] + [0] * 48
    person = {"image_id": 1, "category_id": 1, "bbox": [20, 10, 40, 40], "keypoints": nose}
    annotations.write_text(
        json.dumps({
            "images": [{"id": 1, "file_name": "grey.png"}],
            "annotations": [person],
            "categories": [{"id": 1, "name": "person"}],
        })
    )  # fmt: skip
    arguments = ("coco", annotations, "--images", tmp_path, "--predictor", "embedded-pose")

    # Each in a process of its own: the command sets up how that process logs.
    detected = json.loads(printed(*arguments, "--json"))
    given = json.loads(printed(*arguments, "--boxes", "annotated", "--json"))

    assert detected["subject"]["predictor"] == "embedded-pose"
    assert detected["images"][0]["people_predicted"] == 0
    assert given["images"][0]["people_predicted"] == 1
    assert detected["poses"]["body"]["mean_oks"] == 0


def test_without_weights_it_names_the_model_that_needs_none(tmp_path, monkeypatch):
    annotations = tmp_path / "annotations.json"
    image = {"id": 1, "file_name": "empty.png", "height": 8, "width": 8}
    person = {"id": 1, "name": "person"}
    annotations.write_text(
        json.dumps({"images": [image], "annotations": [], "categories": [person]})
    )
    cv2.imwrite(str(tmp_path / "empty.png"), np.zeros((8, 8, 3), np.uint8))
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("ALLOW_DOWNLOADS", "false")

    result = run("coco", annotations, "--images", tmp_path)

    assert isinstance(result.exception, WeightsUnavailable)
    assert "--predictor embedded-pose" in result.exception.next_step
