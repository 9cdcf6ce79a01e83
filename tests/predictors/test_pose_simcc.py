"""Crops out, keypoints back: the arithmetic around a SimCC model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.predictors import simcc
from prelabel.predictors.planes import IMAGENET_RGB, planes

INPUT_HW = (256, 192)


def peaks(bins: np.ndarray, length: int, height: float = 1.0) -> np.ndarray:
    """Rows (N, K, length) with one bin of `height` in a slope of lower ones."""
    rows = np.arange(length, dtype=np.float32)
    return height - np.abs(rows - bins[..., None]).astype(np.float32) / length


boxes = st.tuples(
    st.floats(-50, 500), st.floats(-50, 500), st.floats(2, 600), st.floats(2, 600)
).map(lambda box: np.array([[box[0], box[1], box[0] + box[2], box[1] + box[3]]], np.float32))


@given(boxes, st.integers(0, 383), st.integers(0, 511))
def test_a_bin_comes_back_as_the_place_in_the_image_that_the_crop_showed_there(box, bin_x, bin_y):
    centres, sizes = simcc.crop_regions(box, INPUT_HW)
    x, y = peaks(np.array([[bin_x]]), 384), peaks(np.array([[bin_y]]), 512)

    found, _ = simcc.decode(x, y, centres, sizes, INPUT_HW)

    low = centres[0] - sizes[0] / 2
    expected = low + sizes[0] * np.array([bin_x / 384, bin_y / 512])
    assert found[0, 0] == pytest.approx(expected, abs=1e-2)


@given(boxes)
def test_a_crop_holds_the_whole_box_and_has_the_shape_of_the_input(box):
    centres, sizes = simcc.crop_regions(box, INPUT_HW)

    low, high = centres[0] - sizes[0] / 2, centres[0] + sizes[0] / 2
    assert (low <= box[0, :2]).all()
    assert (high >= box[0, 2:]).all()
    assert sizes[0, 0] / sizes[0, 1] == pytest.approx(192 / 256, rel=1e-4)


def test_what_lies_outside_the_image_is_black_in_the_crop():
    white = np.full((100, 100, 3), 255, np.uint8)
    centres, sizes = simcc.crop_regions(np.array([[50, 0, 150, 100]], np.float32), INPUT_HW)

    crop = simcc.crop(white, centres[0], sizes[0], INPUT_HW)

    assert crop[128, 60].tolist() == [255, 255, 255]
    assert crop[128, 180].tolist() == [0, 0, 0]


def test_a_keypoint_without_any_response_gets_no_score():
    flat = np.zeros((1, 2, 384), np.float32), np.zeros((1, 2, 512), np.float32)

    _, scores = simcc.decode(*flat, *np.ones((2, 1, 2), np.float32), INPUT_HW)

    assert scores.tolist() == [[0.0, 0.0]]


def test_rgb_and_bgr_inputs_differ_only_in_the_order_of_the_pixels():
    crop = np.zeros((2, 2, 3), np.uint8)
    crop[..., 0] = 200

    rgb = planes([crop], IMAGENET_RGB, swap=False)
    bgr = planes([crop], IMAGENET_RGB, swap=True)

    assert rgb[0, 0, 0, 0] == pytest.approx((200 - 123.675) / 58.395)
    assert bgr[0, 2, 0, 0] == pytest.approx((200 - 103.53) / 57.375)


@pytest.mark.parametrize("kind", ["unit", "logits"])
@given(st.lists(st.floats(-10, 50, width=32), min_size=0, max_size=5))
def test_mapped_scores_are_in_0_to_1_and_keep_their_order(kind, raw):
    mapped = simcc.unit_scores(np.array(raw, np.float32), kind)

    assert ((mapped >= 0) & (mapped <= 1)).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(mapped[order]) >= 0).all()


def test_scores_that_are_probabilities_already_stay_as_they_are():
    raw = np.array([0.0, 0.25, 1.0], np.float32)

    assert simcc.unit_scores(raw, "unit").tolist() == raw.tolist()


def test_the_usual_threshold_is_the_one_that_rtmlibs_demos_draw_with():
    assert simcc.unit_scores(np.array([0.43], np.float32), "logits")[0] == pytest.approx(
        0.3, abs=1e-3
    )
