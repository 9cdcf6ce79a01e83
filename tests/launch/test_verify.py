"""The verdict on a picture: right only when everything about its prediction is."""

import copy

import numpy as np
import pytest

from prelabel.labelstudio.config import parse
from prelabel.labelstudio.templates import pose_config
from prelabel.launch.verify import (
    Stored,
    VisiblePerson,
    same_place,
    table,
    verdict_on_boxes,
    verdict_on_poses,
)

CONFIG = parse(
    """<View><Image name="image" value="$image"/>
    <RectangleLabels name="label" toName="image"><Label value="body_distortion"/></RectangleLabels>
    <Choices name="body_part" toName="image" perRegion="true" whenTagName="label">
      <Choice value="hand"/><Choice value="other"/></Choices></View>"""
)
HW = (400, 1000)
PLANTED = (100.0, 100.0, 200.0, 200.0)
VALUE = {"x": 10.0, "y": 25.0, "width": 10.0, "height": 25.0, "rotation": 0}


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


def region(kind, name, **value):
    return {
        "id": "a",
        "type": kind,
        "from_name": name,
        "to_name": "image",
        "original_height": HW[0],
        "original_width": HW[1],
        "image_rotation": 0,
        "value": {**VALUE, **value},
    }


def right_prediction():
    return {
        "model_version": "v1",
        "result": [
            {
                **region("rectanglelabels", "label", rectanglelabels=["body_distortion"]),
                "score": 0.5,
            },
            region("choices", "body_part", choices=["hand"]),
        ],
    }


def verdict(*predictions, planted=(PLANTED,)):
    stored = Stored("frame_0001.jpg", HW, predictions)
    return verdict_on_boxes(stored, boxes(*planted), "v1", CONFIG)


def test_a_frame_with_everything_right_has_no_fault():
    got = verdict(right_prediction())
    assert (got.expected, got.found, got.drawn, got.faults) == (1, 1, 1, ())


def test_a_clean_frame_may_have_an_empty_prediction():
    assert verdict({"model_version": "v1", "result": []}, planted=()).faults == ()


@pytest.mark.parametrize(("count", "fault"), [(0, "0 predictions"), (2, "2 predictions")])
def test_none_or_two_predictions_are_a_fault(count, fault):
    assert fault in verdict(*[right_prediction()] * count).faults[0]


def test_damage_without_a_box_is_a_fault():
    got = verdict({"model_version": "v1", "result": []})
    assert got.found == 0
    assert "no box over the damage at [100, 100, 200, 200]" in got.faults


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda p: p.update(model_version="v2"), "model_version 'v2'"),
        (lambda p: p["result"][0]["value"].update(rectanglelabels=["cat"]), "['cat']"),
        (lambda p: p["result"].pop(1), "body_part []"),
        (lambda p: p["result"][1]["value"].update(choices=["tail"]), "['tail']"),
        (lambda p: p["result"][0]["value"].update(x=101.0), "x 101.0 is not a percentage"),
        (lambda p: p["result"][0].update(original_width=500), "(400, 500) is not (400, 1000)"),
    ],
)
def test_each_spoilt_detail_is_a_fault(spoil, fault):
    prediction = copy.deepcopy(right_prediction())
    spoil(prediction)
    assert any(fault in found for found in verdict(prediction).faults)


def test_no_boxes_lie_on_no_spots():
    assert same_place(boxes(), boxes()).shape == (0, 0)
    assert same_place(boxes(PLANTED), boxes()).shape == (1, 0)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((100, 100, 200, 200), True),
        ((120, 120, 220, 220), True),  # IoU 0.47
        ((190, 190, 290, 290), False),  # touches
        ((110, 110, 160, 160), True),  # inside, a quarter
        ((140, 140, 150, 150), False),  # inside, but a speck
        ((50, 50, 300, 250), True),  # around, five times
        ((0, 0, 1000, 400), False),  # around, but the whole picture
    ],
)
def test_a_box_lies_on_a_spot_by_overlap_or_by_holding_it_closely(box, expected):
    assert same_place(boxes(PLANTED), boxes(box)).item() is expected


POSES = parse(pose_config("17"))
PERSON = VisiblePerson(
    np.array((100, 100, 200, 200), np.float32), {"nose": (150, 110), "left_eye": (155, 105)}
)


def point(label, x, y, parent="a"):
    located = region("keypointlabels", "keypoints", keypointlabels=[label])
    located["value"] = {"keypointlabels": [label], "x": x / 10, "y": y / 4, "width": 0.5}
    return {**located, "id": label, "score": 0.9, "parentID": parent}


def right_pose():
    box = region("rectanglelabels", "person", rectanglelabels=["person"])
    points = [point("nose", 152.0, 112.0), point("left_eye", 155.0, 105.0)]
    return {"model_version": "v1", "result": [{**box, "score": 0.5}, *points]}


def pose_verdict(*predictions, people=(PERSON,)):
    return verdict_on_poses(Stored("photo.jpg", HW, predictions), people, "v1", POSES)


def test_a_photo_of_nobody_needs_an_empty_prediction():
    assert pose_verdict({"model_version": "v1", "result": []}, people=()).faults == ()
    assert "1 people instead of 0" in pose_verdict(right_pose(), people=()).faults


def test_a_person_with_every_visible_keypoint_in_its_place_has_no_fault():
    got = pose_verdict(right_pose())
    assert (got.expected, got.found, got.drawn, got.faults) == (1, 1, 1, ())


@pytest.mark.parametrize("count", [0, 2])
def test_none_or_two_predictions_of_a_photo_are_a_fault(count):
    assert f"{count} predictions" in pose_verdict(*[right_pose()] * count).faults[0]


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda p: p.update(model_version="v2"), "model_version 'v2'"),
        (lambda p: p.update(result=[]), "no person at [100, 100, 200, 200]"),
        (lambda p: p["result"].pop(1), "no nose"),
        (lambda p: p["result"][1]["value"].update(x=18.0), "nose lies 30 pixels"),
        (lambda p: p["result"][1]["value"].update(height=0.5), "'height'"),
        (lambda p: p["result"][1].update(parentID="gone"), "parent 'gone' is not in the result"),
        (lambda p: p["result"][1].pop("parentID"), "keypoints under no person: nose"),
        (lambda p: p["result"].append({**p["result"][0], "id": "b"}), "1 boxes without keypoints"),
        (lambda p: p["result"][0]["value"].update(x=50.0), "no person at"),
        (lambda p: p["result"][0].update(original_width=500), "(400, 500) is not (400, 1000)"),
    ],
)
def test_each_spoilt_detail_of_a_pose_is_a_fault(spoil, fault):
    prediction = copy.deepcopy(right_pose())
    spoil(prediction)
    assert any(fault in found for found in pose_verdict(prediction).faults)


def test_the_table_names_each_fault_below_its_picture():
    title, _, *lines = table("boxes", [verdict(right_prediction()), verdict()]).splitlines()
    assert title == "boxes"
    assert lines[0].split() == ["frame_0001.jpg", "1", "1", "1", "right"]
    assert lines[1].endswith("WRONG")
    assert lines[2].strip() == "0 predictions instead of 1"
    assert lines[3].startswith("1 of 2 pictures")
