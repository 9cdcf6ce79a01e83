"""The learning loop against a real Label Studio: annotate, press Start Training, retrieve."""

import math
import time
from pathlib import Path

import cv2
import httpx2
import numpy as np
import pytest

from prelabel.labelstudio.config import parse
from prelabel.labelstudio.regions.read import read
from prelabel.labelstudio.regions.turned import drawn_box, turned_rectangle

pytestmark = pytest.mark.e2e

FRAMES = 60
ANNOTATED = range(0, FRAMES, 5)
WIDTH, HEIGHT = 320, 180


def box_pct(frame):
    """Where the object is: it walks from left to right and grows a little."""
    return {
        "x": 5 + frame,
        "y": 30 + 0.2 * frame,
        "width": 12 + 0.05 * frame,
        "height": 25,
        "rotation": 0,
    }


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> list[Path]:
    """Frames in which the OpenCV detector finds nothing: nothing moves."""
    folder = tmp_path_factory.mktemp("walk")
    paths = [folder / f"walk_{frame:04}.jpg" for frame in range(FRAMES)]
    for path in paths:
        assert cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    return paths


def regions(frame):
    common = {
        "id": f"walk-{frame}",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
    }
    box = {"from_name": "label", "type": "rectanglelabels", "origin": "manual"}
    part = {"from_name": "body_part", "type": "choices", "origin": "manual"}
    geometry = box_pct(frame)
    return [
        {**common, **box, "value": {**geometry, "rectanglelabels": ["body_distortion"]}},
        {**common, **part, "value": {**geometry, "choices": ["hand"]}},
    ]


def annotate(project, task_id, result):
    servers = project.servers
    httpx2.post(
        f"{servers.label_studio_url}/api/tasks/{task_id}/annotations/",
        json={"result": result},
        auth=servers.client.auth,
        timeout=30,
    ).raise_for_status()


def trained(servers, project_id):
    """The project's newest training, when it has ended."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        report = httpx2.get(f"{servers.backend_url}/status").raise_for_status().json()
        jobs = [job for job in report["jobs"] if job["project"] == str(project_id)]
        if jobs and jobs[0]["status"] in ("done", "failed"):
            return jobs[0]
        time.sleep(0.2)
    raise AssertionError(f"no training of project {project_id} ended: {jobs}")


def version_of(project):
    [backend] = project.servers.client.ml_backends(project.id)
    return backend["model_version"]


def test_annotations_of_every_fifth_frame_spread_to_all_of_them(project, walk):
    client = project.servers.client
    task_ids = project.upload(walk)
    before = version_of(project)
    for frame in ANNOTATED:
        annotate(project, task_ids[frame], regions(frame))

    client.start_training(project.backend_id)
    job = trained(project.servers, project.id)
    assert job["status"] == "done", job

    after = version_of(project)
    assert after == f"{before}.seq1"
    project.retrieve()
    stored = project.predictions(task_ids)
    assert [[one["model_version"] for one in found] for found in stored] == [[after]] * FRAMES

    config = parse(project.label_config)
    for frame, [prediction] in enumerate(stored):
        if frame in ANNOTATED:
            assert [r["value"] for r in prediction["result"]] == [
                r["value"] for r in regions(frame)
            ]
        if frame <= ANNOTATED[-1]:
            (box,) = read(prediction["result"], config).boxes.boxes_xyxy.tolist()
            where = box_pct(frame)
            left, top = where["x"] / 100 * WIDTH, where["y"] / 100 * HEIGHT
            assert box == pytest.approx(
                [left, top, left + where["width"] / 100 * WIDTH, top + 0.25 * HEIGHT], abs=2
            )
            parts = [r for r in prediction["result"] if r["type"] == "choices"]
            assert [part["value"]["choices"] for part in parts] == [["hand"]]


def test_a_second_training_without_news_changes_nothing_and_with_news_the_version(project, walk):
    client = project.servers.client
    task_ids = project.upload(walk[:20])
    for frame in range(0, 20, 2):
        annotate(project, task_ids[frame], regions(frame))
    client.start_training(project.backend_id)
    trained(project.servers, project.id)
    first = version_of(project)

    client.start_training(project.backend_id)
    until = time.monotonic() + 10
    while time.monotonic() < until and version_of(project) == first:
        time.sleep(0.5)
    assert version_of(project) == first

    annotate(project, task_ids[5], regions(5))
    client.start_training(project.backend_id)
    until = time.monotonic() + 30
    while time.monotonic() < until and version_of(project) == first:
        time.sleep(0.2)
    assert version_of(project) == first.replace(".seq1", ".seq2")


def test_too_few_annotations_are_an_answer(project, walk):
    client = project.servers.client
    task_ids = project.upload(walk[:4])
    for frame in range(2):
        annotate(project, task_ids[frame], regions(frame))
    client.start_training(project.backend_id)
    job = trained(project.servers, project.id)
    assert job["status"] == "done"
    answer = httpx2.post(f"{project.servers.backend_url}/job_status", json={"job": job["job"]})
    told = answer.raise_for_status().json()
    assert told["status"] == "insufficient-data"
    assert (told["sample_count"], told["required_samples"]) == (2, 8)


def test_a_box_that_turns_lies_turned_on_the_frames_between(project, walk):
    """It turns by 9 degrees a frame, past 180, about a centre that walks to the right."""

    def at(frame):
        return np.array([100 + 4 * frame, 60, 160 + 4 * frame, 100], np.float32), 120 + 9 * frame

    task_ids = project.upload(walk[:20])
    for frame in range(0, 20, 2):
        (box, _part) = regions(frame)
        box["value"] |= turned_rectangle(*at(frame), (HEIGHT, WIDTH))
        annotate(project, task_ids[frame], [box])
    project.servers.client.start_training(project.backend_id)
    assert trained(project.servers, project.id)["status"] == "done"
    project.retrieve()
    for frame, [prediction] in zip(range(19), project.predictions(task_ids[:19]), strict=True):
        box, turn = drawn_box(prediction["result"][0]["value"], (HEIGHT, WIDTH))
        where, angle = at(frame)
        assert box == pytest.approx(where, abs=2)
        assert math.remainder(turn - angle, 360) == pytest.approx(0, abs=1)
