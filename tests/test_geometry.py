"""Functions on boxes, against their definitions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from prelabel.geometry import (
    box_areas,
    clip_boxes,
    intersections,
    non_maximum_suppression,
    pairwise_iou,
)

NONE = np.zeros((0, 4), np.float32)


@st.composite
def box_arrays(draw, most=6):
    count = draw(st.integers(0, most))
    corners = draw(arrays(np.float32, (count, 2), elements=st.integers(0, 50).map(float)))
    sides = draw(arrays(np.float32, (count, 2), elements=st.integers(1, 50).map(float)))
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


def test_no_boxes_have_no_overlaps():
    assert pairwise_iou(NONE, NONE).shape == (0, 0)
    kept = non_maximum_suppression(
        NONE, np.zeros(0, np.float32), np.zeros(0, np.int64), iou_within=0.5, iou_across=0.9
    )
    assert kept.shape == (0,)


@given(box_arrays())
def test_a_box_overlaps_itself_wholly(boxes):
    assert np.allclose(np.diag(pairwise_iou(boxes, boxes)), 1)
    assert np.allclose(np.diag(intersections(boxes, boxes)), box_areas(boxes))


@given(box_arrays(), box_arrays())
def test_overlap_is_symmetric_and_from_0_to_1(boxes, others):
    iou = pairwise_iou(boxes, others)
    assert np.allclose(iou, pairwise_iou(others, boxes).T)
    assert ((iou >= 0) & (iou <= 1)).all()


def test_clipped_boxes_lie_in_the_image():
    boxes = np.array([[-5, -5, 500, 500], [90, 40, 95, 45]], np.float32)
    assert clip_boxes(boxes, (50, 100)).tolist() == [[0, 0, 100, 50], [90, 40, 95, 45]]


@given(box_arrays(), st.data())
def test_suppression_keeps_no_two_duplicates_and_drops_nothing_else(boxes, data):
    count = len(boxes)
    scores = data.draw(arrays(np.float32, count, elements=st.floats(0, 1, width=16)))
    groups = data.draw(arrays(np.int64, count, elements=st.integers(0, 1)))
    kept = non_maximum_suppression(boxes, scores, groups, iou_within=0.5, iou_across=0.9)
    iou = pairwise_iou(boxes, boxes)

    def duplicates(one, other):
        return iou[one, other] > (0.5 if groups[one] == groups[other] else 0.9)

    assert list(scores[kept]) == sorted(scores[kept], reverse=True)
    assert not any(duplicates(a, b) for a in kept for b in kept if a != b)
    for dropped in set(range(count)) - set(kept.tolist()):
        assert any(duplicates(dropped, k) and scores[k] >= scores[dropped] for k in kept)
