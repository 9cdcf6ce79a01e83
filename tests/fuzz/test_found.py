"""What fuzzing found and was put right, each in its shortest form."""

import json

import pytest

from prelabel.labelstudio.config import parse
from prelabel.labelstudio.messages import EventRequest, project_number
from prelabel.labelstudio.regions.read import drawn_places, read
from prelabel.labelstudio.tasks import Task

from . import shapes
from .conftest import AUTH

CONFIG = parse(shapes.WHOLE_CONFIG)
STUDIO = {"User-Agent": "heartex/1.23.2"}


def box(identity="b", kind="rectanglelabels", **value):
    return {
        "id": identity, "type": kind, "from_name": "label", "to_name": "image",
        "original_width": 100, "original_height": 100,
        "value": {"x": 10, "y": 20, "width": 30, "height": 40, "rectanglelabels": ["person"],
                  **value},
    }  # fmt: skip


@pytest.mark.parametrize("project", ["9" * 5000, "9" * 30, 10**30, 2**31, "1." + "9" * 5000, "²"])
@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/predict", {"tasks": [{"id": 1, "data": {"image": "a.png"}}]}, 200),
        ("/setup", {"schema": shapes.WHOLE_CONFIG}, 200),
        ("/webhook", {"action": "START_TRAINING"}, 201),
        ("/train", {}, 201),
    ],
)
def test_a_project_of_any_number_is_answered(served, session, path, body, status, project):
    content = json.dumps({**body, "project": project}, ensure_ascii=False).encode()
    answer = session.post(served + path, data=content, headers=AUTH | STUDIO, timeout=30)
    assert answer.status_code == status


@pytest.mark.parametrize("task_id", [2**63, -1, 10**30])
def test_a_task_of_a_number_that_no_database_holds_is_answered(served, session, task_id):
    body = {
        "tasks": [{"id": task_id, "data": {"image": "a.png"}}],
        "project": "1.1700000000",
        "label_config": shapes.WHOLE_CONFIG,
    }
    answer = session.post(f"{served}/predict", json=body, headers=AUTH | STUDIO, timeout=30)
    assert (answer.status_code, answer.json()) == (200, {"results": [[]]})
    assert Task(id=task_id).number is None


@pytest.mark.parametrize(
    ("project", "number"),
    [(7, 7), ("7", 7), ("7.x", None), (2**31 - 1, 2**31 - 1), (2**31, None), (-1, None),
     ("", None), (None, None), ("٣", None)],
)  # fmt: skip
def test_only_what_label_studio_gives_is_the_number_of_a_project(project, number):
    assert project_number(project) == number


def test_the_name_of_a_project_is_kept_to_a_sane_length():
    request = EventRequest.read(json.dumps({"action": "a", "project": "x" * 10_000}).encode())
    assert request.project == "x" * 100


@pytest.mark.parametrize(
    "broken",
    [
        None, 3, {}, {"original_width": 100}, {"original_width": "100", "value": None},
        box(["b"]), box({}), box(x="1"), box(x=None), box(width=float("nan")), box(x=10**400),
        box(rotation="12"), box(rotation=10**400), box(rectanglelabels=None, choices=3),
        {**box(), "original_height": None}, {**box(), "original_width": 10**400},
        {**box(kind="keypointlabels", keypointlabels=[["nose"]]), "from_name": "keypoints"},
        {**box(kind="keypointlabels", keypointlabels=["nose"], x="1"), "from_name": "keypoints"},
        {**box(), "score": "high"}, {**box(), "score": 7},
    ],
    ids=range(20),
)  # fmt: skip
def test_a_broken_region_is_passed_over_and_costs_no_other(broken):
    drawn = read([broken, box("whole")], CONFIG)
    assert [10, 20, 40, 60] in drawn.boxes.boxes_xyxy.tolist()
    assert drawn.image_hw == (100, 100)
    assert drawn_places([broken, box("whole")])[0][-1] == (10, 20, 40, 60)


def test_a_rectangle_that_names_a_keypoint_too_is_not_a_person_besides():
    both = box(keypointlabels=["nose"]) | {"from_name": "keypoints"}
    drawn = read([both], CONFIG)
    assert (len(drawn.boxes), len(drawn.people)) == (1, 0)


@pytest.mark.parametrize("rotation", ["1", "nan", 10**400, float("nan"), [1], {}])
def test_a_box_drawn_at_an_angle_that_is_none_is_passed_over(rotation):
    assert drawn_places([box(rotation=rotation)]) == ((), ())
