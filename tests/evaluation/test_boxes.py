"""Average precision of boxes, computed by hand."""

import numpy as np
import pytest

from prelabel.evaluation.boxes import overlaps, score_boxes


def test_no_boxes_have_no_labels(make):
    assert score_boxes([]) == {}
    assert score_boxes([make.scene()]) == {}


def test_the_overlap_with_a_crowd_is_the_share_that_lies_in_it():
    box = np.array([[0.0, 0, 10, 10]])
    large = np.array([[5.0, 0, 105, 100]] * 2)

    shares = overlaps(box, large, np.array([False, True]))

    assert shares == pytest.approx(np.array([[50 / 10050, 0.5]]))


def test_of_three_boxes_two_right_give_this_precision(make):
    """Right, wrong, right: precision 1 up to a recall of a half, then two thirds."""
    annotated = [(0, 0, 10, 10, "face", False), (50, 0, 60, 10, "face", False)]
    predicted = [
        (0, 0, 10, 10, "face", 0.9),
        (90, 90, 99, 99, "face", 0.8),
        (50, 0, 60, 10, "face", 0.7),
    ]

    face = score_boxes([make.scene(annotated=annotated, predicted=predicted)])["face"]

    assert face.ap == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert (face.annotated, face.predicted, face.found) == (2, 3, 2)
    assert face.ar == pytest.approx(1)


def test_a_box_of_another_label_is_not_right(make):
    annotated = [(0, 0, 10, 10, "face", False)]
    predicted = [(0, 0, 10, 10, "hand", 0.9)]

    scores = score_boxes([make.scene(annotated=annotated, predicted=predicted)])

    assert scores["face"].ap == 0
    assert scores["hand"].ap is None  # nobody annotated a hand
    assert scores["hand"].predicted == 1
