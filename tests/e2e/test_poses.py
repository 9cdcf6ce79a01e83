"""A real Label Studio stores people with their keypoints, and gives one back for a smart tool."""

import numpy as np
import pytest

from prelabel import keypoints
from prelabel.labelstudio.config import parse
from prelabel.labelstudio.regions.read import read
from prelabel.labelstudio.templates import boxes_config, pose_config
from prelabel.predictors.body_parts import covering_part, named_by_parts
from prelabel.predictors.pose_parts import parts_of

pytestmark = pytest.mark.e2e

BOTH = boxes_config().replace("</View>", "") + pose_config("133").partition("/>\n")[2]
"""One image with boxes of distortions, persons and their keypoints."""
BOTH_PORTRAITS = "frame_0006.jpg"


@pytest.fixture
def poses(new_project):
    """A project with all 133 keypoints."""
    return new_project(pose_config("133"))


@pytest.fixture
def two_people(poses, demo_frames):
    """A task that shows two people, and their poses."""
    [task_id] = poses.upload([demo_frames.path(BOTH_PORTRAITS)])
    poses.retrieve()
    [[prediction]] = poses.predictions([task_id])
    people = read(prediction["result"], parse(poses.label_config)).people
    assert len(people) == 2
    return task_id, people


def drawn(kind, name, label, **value):
    """What an annotator drew with a smart tool."""
    return {
        "id": "drawn",
        "from_name": name,
        "to_name": "image",
        "type": kind,
        "original_width": 640,
        "original_height": 480,
        "value": {**value, kind: [label]},
    }


def only_person(result, project):
    """The one person of a result, as its box, keypoints and scores."""
    people = read(result, parse(project.label_config)).people
    assert len(people) == 1
    return people.boxes_xyxy[0], people.keypoints_xy[0], people.keypoint_scores[0]


def test_every_photo_gets_the_people_it_shows_and_a_second_click_adds_none(poses, demo_photos):
    task_ids = poses.upload(demo_photos.paths)
    poses.retrieve()
    verdicts = poses.verdicts_on_poses(demo_photos)
    assert {verdict.name: verdict.faults for verdict in verdicts if verdict.faults} == {}
    assert sum(verdict.expected for verdict in verdicts) == 3
    first = poses.predictions(task_ids)

    poses.retrieve()
    assert poses.predictions(task_ids) == first


def test_a_config_with_the_body_alone_gets_no_other_points(new_project, demo_photos):
    project = new_project(pose_config("17"))
    [task_id] = project.upload([demo_photos.path("astronaut.jpg")])
    project.retrieve()
    [[prediction]] = project.predictions([task_id])
    _, _, scores = only_person(prediction["result"], project)
    found = set(np.flatnonzero(scores))
    assert keypoints.INDEX["nose"] in found
    assert found <= set(keypoints.BODY)
    assert prediction["model_version"] == project.servers.model_version(project.label_config)


def test_boxes_and_people_share_a_prediction_and_the_pose_names_the_parts(new_project, demo_frames):
    project = new_project(BOTH)
    task_ids = project.upload(demo_frames.paths)
    project.retrieve()
    named = []
    for [prediction] in project.predictions(task_ids):
        assert prediction["model_version"].startswith("opencv-fallback+embedded-pose")
        found = read(prediction["result"], parse(BOTH))
        distorted = np.array([label == "body_distortion" for label in found.boxes.labels], bool)
        boxes = found.boxes.take(np.flatnonzero(distorted))
        if len(boxes) and len(found.people):
            parts = parts_of(found.people, found.image_hw)
            assert boxes.body_parts == named_by_parts(boxes, parts).body_parts
            named += [covering_part(box, parts) for box in boxes.boxes_xyxy]
    assert "face" in named


def test_a_smart_rectangle_is_answered_with_the_pose_of_the_person_inside(poses, two_people):
    task_id, people = two_people
    for person, (x1, y1, x2, y2) in enumerate(
        people.boxes_xyxy.astype(float) / (6.4, 4.8, 6.4, 4.8)
    ):
        place = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
        answer = poses.interactive(task_id, drawn("rectanglelabels", "person", "person", **place))
        box, points, scores = only_person(answer, poses)
        np.testing.assert_allclose(box, people.boxes_xyxy[person], atol=1)
        both = (scores > 0) & (people.keypoint_scores[person] > 0)
        assert both.sum() > 10
        # Not the same: what is stored was found in a box that reached beyond the image.
        away = np.linalg.norm(points[both] - people.keypoints_xy[person, both], axis=1)
        assert np.median(away) < 0.03 * np.linalg.norm(box[2:] - box[:2])


def test_a_smart_keypoint_is_answered_with_the_person_at_that_place(poses, two_people):
    task_id, people = two_people
    for person in range(2):
        x, y = people.keypoints_xy[person, keypoints.INDEX["nose"]].astype(float)
        place = {"x": x / 6.4, "y": y / 4.8, "width": 0.5}
        answer = poses.interactive(task_id, drawn("keypointlabels", "keypoints", "nose", **place))
        box, _, _ = only_person(answer, poses)
        np.testing.assert_allclose(box, people.boxes_xyxy[person], atol=1)
