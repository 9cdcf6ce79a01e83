"""Label configs for poses are filled by prelabel and accepted by Label Studio."""

import pytest

from prelabel import keypoints
from prelabel.labelstudio.config import parse
from prelabel.labelstudio.keypoint_labels import keypoint_labels
from prelabel.labelstudio.templates import pose_config


@pytest.mark.parametrize(
    ("points", "indices"),
    [("133", range(133)), ("17", range(17)), ("hands", range(91, 133))],
)
def test_every_label_is_one_of_the_keypoints(points, indices):
    config = parse(pose_config(points))
    control = config.control("keypoints")
    assert keypoint_labels(control.labels) == {i: keypoints.NAMES[i] for i in indices}
    assert config.control("person").labels[0].value == "person"


def test_model_indices_are_unique_and_start_at_0():
    control = parse(pose_config("hands")).control("keypoints")
    assert [label.attributes["model_index"] for label in control.labels] == [
        str(n) for n in range(42)
    ]
