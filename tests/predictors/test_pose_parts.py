"""Boxes of body parts, read off keypoints."""

import cv2
import numpy as np
import pytest

from prelabel import keypoints
from prelabel.errors import ModelError
from prelabel.predictors.pose_parts import PosePartLocator, parts_of
from prelabel.predictors.wholebody import build_embedded
from prelabel.types import BODY_PARTS, Image, Poses

IMAGE_HW = (400, 300)


def poses(**points):
    """One person with these keypoints only, named without hyphens."""
    places = np.zeros((1, 133, 2), np.float32)
    scores = np.zeros((1, 133), np.float32)
    for name, place in points.items():
        places[0, keypoints.INDEX[name]] = place
        scores[0, keypoints.INDEX[name]] = 0.8
    box = np.array([[20, 10, 280, 390]], np.float32)
    return Poses(box, np.array([0.9], np.float32), places, scores, "test")


def boxes_of(found, part):
    return [
        box for box, name in zip(found.boxes_xyxy, found.body_parts, strict=True) if name == part
    ]


def with_face(pose, rotation):
    """The pose with a face 60 wide and 80 high around (150, 150), turned by degrees."""
    turn = np.deg2rad(rotation)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    jaw = [(np.cos(a) * -30, np.sin(a) * 50) for a in np.linspace(0, np.pi, 17)]
    brows = [(x, -30) for x in np.linspace(-25, 25, 10)]
    rest = [(0, 0)] * (68 - 27)
    places = np.array([*jaw, *brows, *rest]) @ matrix.T + (150, 150)
    pose.keypoints_xy[0, list(keypoints.FACE)] = places
    pose.keypoint_scores[0, list(keypoints.FACE)] = 0.7
    return pose


def test_nobody_has_no_parts():
    assert len(parts_of(Poses.none(133, "test"), IMAGE_HW)) == 0


def test_a_person_without_keypoints_is_a_full_body():
    found = parts_of(poses(), IMAGE_HW)

    assert found.body_parts == ("full_body",)
    assert found.boxes_xyxy.tolist() == [[20, 10, 280, 390]]
    assert found.scores == pytest.approx([0.9])


def test_an_arm_runs_from_shoulder_to_wrist_and_is_wider_than_its_line():
    found = parts_of(
        poses(left_shoulder=(100, 100), left_elbow=(100, 150), left_wrist=(100, 200)), IMAGE_HW
    )

    (arm,) = boxes_of(found, "arm")
    assert arm == pytest.approx([85, 85, 115, 215])


def test_one_joint_is_not_an_arm():
    assert boxes_of(parts_of(poses(left_elbow=(100, 150)), IMAGE_HW), "arm") == []


def test_left_and_right_legs_are_two_boxes():
    legs = {f"{side}_{joint}": (x, y) for side, x in (("left", 100), ("right", 200))
            for joint, y in (("hip", 200), ("knee", 280), ("ankle", 350))}  # fmt: skip

    assert len(boxes_of(parts_of(poses(**legs), IMAGE_HW), "leg")) == 2


def test_a_torso_lies_between_shoulders_and_hips():
    corners = {
        "left_shoulder": (200, 100),
        "right_shoulder": (100, 100),
        "left_hip": (190, 250),
        "right_hip": (110, 250),
    }

    (torso,) = boxes_of(parts_of(poses(**corners), IMAGE_HW), "torso")

    assert torso == pytest.approx([85, 85, 215, 265])


def test_a_torso_without_hips_reaches_down_to_the_end_of_the_person():
    shoulders = {"left_shoulder": (200, 100), "right_shoulder": (100, 100)}

    (torso,) = boxes_of(parts_of(poses(**shoulders), IMAGE_HW), "torso")

    assert torso[3] == 400


@pytest.mark.parametrize(
    ("rotation", "axis", "direction"),
    [(0, 1, -1), (90, 0, 1), (180, 1, 1), (270, 0, -1)],
    ids=["upright", "lying to the right", "upside down", "lying to the left"],
)
def test_hair_lies_beyond_the_eyebrows_whichever_way_the_head_is_held(rotation, axis, direction):
    found = parts_of(with_face(poses(), rotation), IMAGE_HW)

    (face,), (hair,) = boxes_of(found, "face"), boxes_of(found, "hair")
    face_middle, hair_middle = (face[:2] + face[2:]) / 2, (hair[:2] + hair[2:]) / 2
    away = (hair_middle - face_middle)[axis] * direction
    assert away > 40
    assert (hair_middle - face_middle)[1 - axis] == pytest.approx(0, abs=2)


def test_a_part_outside_the_image_is_left_out():
    found = parts_of(poses(left_shoulder=(500, 100), left_elbow=(520, 150)), IMAGE_HW)

    assert boxes_of(found, "arm") == []


def test_parts_come_surest_first():
    scores = parts_of(with_face(poses(), 0), IMAGE_HW).scores

    assert scores.tolist() == sorted(scores.tolist(), reverse=True)


def test_the_skier_has_every_part_but_hands(shared_data):
    pytest.importorskip("onnxruntime", reason="pip install 'prelabel[pose]'")
    path = shared_data / "images" / "000000000785.jpg"
    skier = Image(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))

    found = PosePartLocator(build_embedded({})).locate(skier)

    assert set(found.body_parts) == set(BODY_PARTS) - {"hand", "other"}
    (face,) = boxes_of(found, "face")
    assert face == pytest.approx([353, 66, 389, 100], abs=8)
    (full_body,) = boxes_of(found, "full_body")
    assert full_body == pytest.approx([280, 45, 494, 383], abs=8)


def test_a_failure_of_the_model_is_a_failure_to_locate():
    class Failing:
        def predict(self, images, ask):
            return [ModelError("model", "it failed", "Look at the image.") for _ in images]

    with pytest.raises(ModelError):
        PosePartLocator(Failing()).locate(Image(np.zeros((4, 4, 3), np.uint8)))
