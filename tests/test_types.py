"""Value types refuse what is not what they say."""

import numpy as np
import pytest

from prelabel.types import Detections, Image, Phrase, Poses


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


def scores(*values):
    return np.array(values, np.float32)


def test_nothing_found_is_an_ordinary_value():
    assert len(Detections.none("test")) == 0
    assert Poses.none(133, "test").keypoints_xy.shape == (0, 133, 2)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ((boxes([0, 0, 1, 1]).astype(np.float64), scores(0.5), ("a",), (None,)), "boxes_xyxy"),
        ((boxes(), scores(0.5), ("a",), (None,)), "boxes_xyxy"),
        ((boxes([0, 0, 1, 1]), scores(), ("a",), (None,)), "scores"),
        ((boxes([0, 0, 1, 1]), scores(0.5), ("a",), ()), "body_parts"),
        ((boxes([0, 0, np.nan, 1]), scores(0.5), ("a",), (None,)), "finite"),
        ((boxes([1, 0, 1, 1]), scores(0.5), ("a",), (None,)), "x2 > x1"),
        ((boxes([0, 0, 1, 1]), scores(1.5), ("a",), (None,)), "0..1"),
    ],
)
def test_detections_name_the_field_that_is_wrong(given, field):
    with pytest.raises(ValueError, match=field):
        Detections(*given, "test")


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
)
def test_an_image_is_three_channels_of_bytes(pixels):
    with pytest.raises(ValueError, match="pixels_rgb: expected \\(any, any, 3\\) uint8"):
        Image(pixels)


def test_poses_are_finite():
    pose = Poses.none(2, "test")
    with pytest.raises(ValueError, match="keypoints_xy"):
        Poses(
            boxes([0, 0, 1, 1]), scores(1), np.full((1, 2, 2), np.inf, np.float32),
            np.zeros((1, 2), np.float32), pose.source,
        )  # fmt: skip


def test_a_phrase_has_words_and_a_known_part():
    with pytest.raises(ValueError, match="text"):
        Phrase(" ", "label")
    with pytest.raises(ValueError, match="body_part"):
        Phrase("tail", "label", "tail")
