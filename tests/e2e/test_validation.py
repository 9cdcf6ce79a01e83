"""Label Studio's own validation accepts what prelabel writes.

The validator comes from the SDK inside Label Studio's environment: ours does without its packages.
"""

import json
import subprocess

import numpy as np
import pytest

from prelabel import keypoints
from prelabel.labelstudio.config import parse
from prelabel.labelstudio.keypoint_labels import keypoint_labels
from prelabel.labelstudio.regions.write import (
    Page,
    PersonBox,
    PointLabels,
    box_regions,
    pose_regions,
)
from prelabel.labelstudio.templates import boxes_config, pose_config
from prelabel.plan import Predictors, make_plan
from prelabel.predictors import registry
from prelabel.types import Detections, Poses

VALIDATE = """
import json, sys
from label_studio_sdk.label_interface import LabelInterface
asked = json.load(sys.stdin)
print(LabelInterface(asked["config"]).validate_prediction(asked["prediction"], return_errors=True))
"""
OLDER = ("unexpected keyword argument 'return_errors'", "No module named 'label_studio_sdk")
"""What is said instead by releases up to 1.20."""

PAGE = Page(height=480, width=640)


def boxes():
    config = boxes_config()
    predictors = Predictors(
        registry.create("opencv-fallback", {}), registry.create("embedded-pose", {})
    )
    (step,) = make_plan(config, predictors).steps
    found = Detections(
        np.array([[0, 0, 640, 480], [10, 20, 30.5, 40.25]], np.float32),
        np.array([1.0, 0.5], np.float32),
        ("body_distortion", "body_distortion"),
        ("face", None),
        "test",
    )
    return config, box_regions(found, step.control, step.part_choice, PAGE)


def poses():
    config = pose_config("133")
    parsed = parse(config)
    control, person = parsed.control("keypoints"), parsed.control("person")
    count = len(keypoints.NAMES)
    everywhere = np.random.default_rng(0).uniform(0, 480, (2, count, 2)).astype(np.float32)
    found = Poses(
        np.array([[0, 0, 300, 480], [300, 0, 640, 480]], np.float32),
        np.array([0.9, 0.5], np.float32),
        everywhere,
        np.full((2, count), 0.5, np.float32),
        "test",
    )
    points = keypoint_labels(control.labels)
    return config, pose_regions(
        found, [PointLabels(control, points)], PersonBox(person, "person"), PAGE
    )


@pytest.mark.e2e
@pytest.mark.parametrize("make", [boxes, poses])
def test_label_studio_accepts_what_is_written(label_studio_program, make):
    config, result = make()
    asked = {"config": config, "prediction": {"result": result, "score": 0.5, "model_version": "v"}}
    answer = subprocess.run(
        [label_studio_program.parent / "python", "-W", "ignore", "-c", VALIDATE],
        input=json.dumps(asked), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if any(says in answer.stderr for says in OLDER):
        pytest.skip("the validator of this Label Studio does not say what is wrong")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"
