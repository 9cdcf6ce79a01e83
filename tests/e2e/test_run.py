"""`prelabel run` and what belongs to it, against a real Label Studio."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from prelabel.labelstudio.templates import boxes_config, pose_config

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).resolve().parents[2]
PRELABEL = [str(Path(sysconfig.get_path("scripts")) / "prelabel")]
VERSION = "opencv-fallback"


@pytest.fixture
def environment(servers, tmp_path):
    given = {
        "DATA_DIR": str(tmp_path / "data"),
        "LABEL_STUDIO_URL": servers.label_studio_url,
        "LABEL_STUDIO_API_KEY": servers.token,
        "BOXES_PREDICTOR": "opencv-fallback",
        "POSES_PREDICTOR": "embedded-pose",
        "REQUEST_DELAY_SECONDS": "0",
        "MAX_BACKOFF_DELAY": "1",
    }
    return {**os.environ, **given}


@pytest.fixture
def call(environment, tmp_path):
    """Runs a command line to its end."""

    def run(*arguments, program=PRELABEL, **more):
        return subprocess.run(
            [*program, *map(str, arguments)],
            env={**environment, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def told(call):
    """Runs `prelabel run --json`; the exit code and what was said."""

    def run(*arguments, **more):
        done = call("run", *arguments, "--json", **more)
        assert done.stdout, done.stderr
        summary = json.loads(done.stdout)
        assert summary["exit_code"] == done.returncode
        return summary

    return run


@pytest.fixture
def bare_project(servers, request):
    """A project of shipped boxes with no backend, and tasks of some frames."""

    def make(paths, label_config=None):
        title = f"run {request.node.name}"[:50]
        project = servers.client.create_project(title, label_config or boxes_config())["id"]
        return project, servers.client.upload_files(project, paths)

    return make


def versions(servers, project):
    """How many predictions of each version each task holds."""
    return {
        row["id"]: Counter(held["model_version"] for held in row["predictions"])
        for row in servers.client.tasks(project, annotations=True)
    }


def test_every_task_gets_one_prediction_and_a_second_run_has_nothing_to_do(
    servers, bare_project, told, demo_frames
):
    project, ids = bare_project(demo_frames.paths)
    first = told("--project", project)
    assert (first["exit_code"], first["counts"]["pushed"]) == (0, len(ids))
    assert first["counts"]["predicted"] == len(demo_frames.known)
    assert {stage["name"]: stage["items"] for stage in first["stages"]}["predict"] == len(ids)
    assert versions(servers, project) == {task: {VERSION: 1} for task in ids}
    assert Path(first["report"]).is_file()
    second = told("--project", project)
    assert (second["exit_code"], second["counts"]["skipped"]) == (0, len(ids))
    assert versions(servers, project) == {task: {VERSION: 1} for task in ids}


def test_keypoints_are_pushed_in_bulk_and_nothing_is_dropped(
    servers, bare_project, told, demo_photos
):
    project, ids = bare_project(demo_photos.paths, pose_config("133"))
    summary = told("--project", project)
    assert (summary["exit_code"], summary["counts"]["pushed"]) == (0, len(ids))
    assert set(versions(servers, project)) == set(ids)


def test_a_picture_that_is_gone_costs_only_its_own_task(
    servers, bare_project, told, demo_frames, call
):
    project, ids = bare_project(demo_frames.paths[:3])
    gone = servers.client.import_tasks(project, [{"data": {"image": "http://127.0.0.1:9/x.png"}}])
    summary = told("--project", project, "--only-unannotated")
    assert summary["exit_code"] == 3
    assert [failure["task_id"] for failure in summary["failures"]] == gone
    assert set(versions(servers, project)) == {*ids, *gone}
    spoken = call("run", "--project", project, "--retry-failed")
    assert spoken.returncode == 3
    assert "--retry-failed" in spoken.stdout


def test_limits_views_filters_and_ids_choose(servers, bare_project, told, demo_frames):
    project, ids = bare_project(demo_frames.paths[:8])
    first = told("--project", project, "--limit", 2)
    assert (first["counts"]["pushed"], first["counts"]["left"]) == (2, 6)
    assert told("--project", project, "--start-task-id", ids[7])["counts"]["pushed"] == 1
    assert told("--project", project, "--ids", f"{ids[2]},{ids[0]}")["counts"]["pushed"] == 1
    filtered = told("--project", project, "--filter", f"id<={ids[3]}")
    assert filtered["counts"]["pushed"] == 1
    behind = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number"}
    items = [{**behind, "value": ids[5]}, {**behind, "value": ids[6]}]
    view = servers.client.object(
        "POST",
        "/api/dm/views/",
        json={
            "project": project,
            "data": {"title": "some", "filters": {"conjunction": "or", "items": items}},
        },
    )
    assert told("--project", project, "--view", view["id"])["counts"]["pushed"] == 1
    assert told("--project", project)["counts"]["pushed"] == 2
    assert versions(servers, project) == {task: {VERSION: 1} for task in ids}


def test_keep_replace_and_force_do_what_they_say(servers, bare_project, told, demo_frames):
    project, ids = bare_project(demo_frames.paths[:3])
    rows = [{"task": ids[0], "result": [], "score": 0.0, "model_version": "old"}]
    servers.client.object("POST", f"/api/projects/{project}/import/predictions", json=rows)
    told("--project", project, "--keep")
    assert versions(servers, project)[ids[0]] == {"old": 1}
    told("--project", project, "--replace")
    assert versions(servers, project) == {task: {VERSION: 1} for task in ids}
    before = {row["id"] for task in ids for row in servers.client.predictions(task)}
    assert told("--project", project, "--force")["counts"]["pushed"] == 3
    after = {row["id"] for task in ids for row in servers.client.predictions(task)}
    assert versions(servers, project) == {task: {VERSION: 1} for task in ids}
    assert not before & after


def test_a_dry_run_leaves_no_trace_but_a_report(servers, bare_project, told, demo_frames, tmp_path):
    project, _ = bare_project(demo_frames.paths[:3])
    report = tmp_path / "dry.html"
    summary = told("--project", project, "--dry-run", "--report", report)
    assert (summary["exit_code"], summary["counts"]["pushed"]) == (0, 0)
    assert report.read_text("utf-8").startswith("<!doctype html>")
    assert not any(versions(servers, project).values())


def test_versions_are_listed_and_deleted(servers, bare_project, call, told, demo_frames):
    project, ids = bare_project(demo_frames.paths[:3])
    told("--project", project)
    listed = call("predictions", "list", "--project", project, "--json")
    assert json.loads(listed.stdout) == {VERSION: 3}
    delete = ("predictions", "delete", "--project", project, "--model-version", VERSION)
    assert "would delete 3" in call(*delete, "--dry-run").stdout
    assert versions(servers, project)[ids[0]] == {VERSION: 1}
    assert "deleted 3" in call(*delete, "--yes").stdout
    assert not any(versions(servers, project).values())
    assert call(*delete, "--yes").returncode == 2
    assert told("--project", project)["counts"]["pushed"] == 3


def test_create_predictions_does_one_task_unless_told_otherwise(
    servers, bare_project, call, demo_frames
):
    project, ids = bare_project(demo_frames.paths[:4])
    program = [sys.executable, str(REPOSITORY / "create_predictions.py")]
    one = call(program=program, PROJECT_ID=str(project))
    assert one.returncode == 0, one.stderr
    assert "3 tasks" in one.stdout
    rest = call(program=program, PROJECT_ID=str(project), TASK_LIMIT="all")
    assert rest.returncode == 0, rest.stderr
    assert versions(servers, project) == {task: {VERSION: 1} for task in ids}


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "says"),
    [
        ((), {}, 2, "--project"),
        (("--project", "1", "--keep", "--replace"), {}, 2, "exclude each other"),
        (("--project", "1", "--filter", "left"), {}, 2, "no filter"),
        (("--project", "1", "--limit", "few"), {}, 2, "TASK_LIMIT"),
        (("--project", "1"), {"LABEL_STUDIO_URL": "http://127.0.0.1:9"}, 4, "no connection"),
        (("--project", "1"), {"LABEL_STUDIO_API_KEY": "f" * 40}, 4, "token"),
        (("--project", "999999"), {}, 5, "999999"),
    ],
)
def test_what_cannot_begin_says_why_and_has_its_own_exit_code(
    call, arguments, settings, code, says
):
    done = call("run", *arguments, **settings, MAX_RETRIES="0")
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


def test_a_project_with_nothing_to_fill_is_refused(servers, bare_project, call):
    config = (
        '<View><Text name="t" value="$text"/><Choices name="c" toName="t"><Choice value="a"/>'
        "</Choices></View>"
    )
    project, _ = bare_project([], config)
    done = call("run", "--project", project)
    assert done.returncode == 5
    assert "nothing that prelabel fills" in done.stderr


@contextmanager
def begun(project, environment, servers):
    """A run that has made its first push."""
    command = [*PRELABEL, "run", "--project", str(project), "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        while not servers.client.model_versions(project).get(VERSION):
            assert process.poll() is None, "it was done before anything could happen to it"
            time.sleep(0.05)
        yield process


def test_an_interrupted_run_ends_in_order_and_the_same_command_goes_on(
    servers, bare_project, environment, told, demo_frames
):
    project, ids = bare_project(demo_frames.paths * 12)
    with begun(project, environment, servers) as process:
        process.send_signal(signal.SIGINT)
        summary = json.loads(process.stdout.read())
    assert (process.returncode, summary["interrupted"]) == (130, True)
    held = {task for task, held in versions(servers, project).items() if held}
    assert len(held) == summary["counts"]["pushed"] < len(ids)
    assert summary["counts"]["left"] == len(ids) - len(held)
    assert told("--project", project)["exit_code"] == 0
    assert versions(servers, project) == {task: {VERSION: 1} for task in ids}


def test_a_second_run_is_refused_until_the_first_is_gone(
    servers, bare_project, environment, call, told, demo_frames
):
    project, ids = bare_project(demo_frames.paths * 2)
    slow = {**environment, "REQUEST_DELAY_SECONDS": "300"}
    with begun(project, slow, servers) as process:
        refused = call("run", "--project", project)
        process.kill()
    assert refused.returncode == 5
    assert "another process" in refused.stderr
    summary = told("--project", project)
    assert summary["counts"]["resumed"] > 0
    assert versions(servers, project) == {task: {VERSION: 1} for task in ids}


def test_what_was_learnt_from_annotations_answers_in_a_run_too(
    servers, bare_project, call, told, tmp_path
):
    paths = [tmp_path / f"still_{frame:04}.jpg" for frame in range(20)]
    for path in paths:
        assert cv2.imwrite(str(path), np.full((180, 320, 3), 90, np.uint8))
    project, ids = bare_project(paths)
    size = {"original_width": 320, "original_height": 180, "image_rotation": 0}
    box = {"x": 30.0, "y": 30.0, "width": 20.0, "height": 30.0, "rotation": 0}
    value = {**box, "rectanglelabels": ["body_distortion"]}
    names = {"from_name": "label", "to_name": "image", "type": "rectanglelabels"}
    for task in ids[::2]:
        region = {"id": f"drawn{task}", **names, **size, "value": value}
        path = f"/api/tasks/{task}/annotations/"
        servers.client.object("POST", path, json={"result": [region]})
    trained = call("train", "--project", project)
    assert trained.returncode == 0, trained.stderr
    summary = told("--project", project)
    assert summary["model_version"] == f"{VERSION}.seq1"
    assert (summary["counts"]["pushed"], summary["counts"]["empty"]) == (20, 0)


def test_a_backend_elsewhere_predicts_on_smaller_images(servers, bare_project, told, demo_photos):
    project, ids = bare_project(demo_photos.paths[:2], pose_config("133"))
    summary = told(
        "--project", project, "--backend", servers.backend_url, REMOTE_LONGEST_SIDE="320"
    )
    assert (summary["exit_code"], summary["counts"]["pushed"]) == (0, len(ids))
    regions = [
        region
        for task in ids
        for held in servers.client.predictions(task)
        for region in held["result"]
    ]
    assert regions
    assert all(max(region["original_width"], region["original_height"]) > 320 for region in regions)
