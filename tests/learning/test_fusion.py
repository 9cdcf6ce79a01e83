"""One answer out of what was found and what was learnt."""

from dataclasses import replace

import numpy as np
import pytest

from prelabel.learning.fusion import MOST_SURE, fuse_boxes, fuse_poses
from prelabel.learning.marks import CarriedMark, FrameAnswer, carried_boxes, carried_people
from prelabel.types import SEQUENCE, Detections, Mark, Poses

HERE, ALMOST_HERE, ELSEWHERE = (10, 10, 50, 50), (12, 12, 52, 52), (60, 60, 90, 90)


def boxes(*rows, source="model", attributes=()):
    """Rows of box, score and label."""
    return Detections(
        np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        tuple(label for _, _, label in rows),
        tuple("hand" if source == "model" else None for _ in rows),
        source,
        attributes=attributes,
    )


def test_with_nothing_learnt_the_model_has_its_say():
    found = boxes((HERE, 0.4, "a"))
    assert fuse_boxes(found, Detections.none(SEQUENCE)) is found


def test_with_nothing_found_what_was_learnt_stands_as_it_is():
    carried = boxes((HERE, 0.7, "a"), source=SEQUENCE, attributes=({"part": ("face",)},))
    fused = fuse_boxes(Detections.none("model"), carried)
    assert fused.boxes_xyxy.tolist() == [list(HERE)]
    assert fused.scores.tolist() == pytest.approx([0.7])
    assert fused.sources == (SEQUENCE,)
    assert fused.attributes == ({"part": ("face",)},)


@pytest.mark.parametrize(("confidence", "where"), [(0.59, ALMOST_HERE), (0.61, HERE)])
def test_a_match_lies_where_it_was_learnt_if_that_is_trusted(confidence, where):
    fused = fuse_boxes(
        boxes((ALMOST_HERE, 0.5, "a")), boxes((HERE, confidence, "a"), source=SEQUENCE)
    )
    assert fused.boxes_xyxy.tolist() == [list(where)]
    assert fused.scores.tolist() == pytest.approx([1 - 0.5 * (1 - confidence)])
    assert fused.sources == ("sequence+model",)
    assert fused.body_parts == ("hand",)


@pytest.mark.parametrize(("confidence", "turns"), [(0.7, (90.0,)), (0.55, (0.0,))])
def test_a_turned_box_matches_by_the_box_around_it(confidence, turns):
    upright = boxes(((20, 0, 40, 60), 0.5, "a"))
    flat = replace(boxes(((0, 20, 60, 40), confidence, "a"), source=SEQUENCE), turns=(90.0,))
    fused = fuse_boxes(upright, flat)
    assert (len(fused), fused.turns) == (1, turns)
    assert fuse_boxes(boxes((ELSEWHERE, 0.5, "a")), flat).turns == ((90.0, 0.0))


def test_two_sure_witnesses_are_not_quite_certain():
    fused = fuse_boxes(boxes((HERE, 1.0, "a")), boxes((HERE, 1.0, "a"), source=SEQUENCE))
    assert fused.scores.tolist() == pytest.approx([MOST_SURE])


@pytest.mark.parametrize(
    ("box", "label"), [(ELSEWHERE, "a"), (HERE, "b")], ids=["apart", "of another label"]
)
def test_what_does_not_match_stays_beside_each_other(box, label):
    fused = fuse_boxes(boxes((box, 0.5, label)), boxes((HERE, 0.9, "a"), source=SEQUENCE))
    assert fused.scores.tolist() == pytest.approx([0.9, 0.5])
    assert fused.sources == (SEQUENCE, "model")
    assert fused.labels == ("a", label)


def test_of_two_findings_the_better_fitting_one_is_the_match():
    found = boxes((ALMOST_HERE, 0.9, "a"), (HERE, 0.2, "a"))
    fused = fuse_boxes(found, boxes((HERE, 0.9, "a"), source=SEQUENCE))
    assert sorted(zip(fused.sources, fused.boxes_xyxy.tolist(), strict=True)) == [
        ("model", list(ALMOST_HERE)),
        ("sequence+model", list(HERE)),
    ]


def people(box, score, seen, at, source="model"):
    return Poses(
        np.array([box], np.float32),
        np.array([score], np.float32),
        np.full((1, 2, 2), at, np.float32),
        np.array([seen], np.float32),
        source,
    )


def test_a_person_has_the_points_that_people_drew_and_else_those_of_the_model():
    found = people(HERE, 0.5, (0.8, 0.7), 20)
    fused = fuse_poses(found, people(ALMOST_HERE, 0.9, (0.9, 0.0), 30, SEQUENCE))
    assert fused.keypoints_xy[0].tolist() == [[30, 30], [20, 20]]
    assert fused.keypoint_scores[0].tolist() == pytest.approx([0.9, 0.7])
    assert fused.sources == ("sequence+model",)


def test_two_people_apart_stay_two():
    fused = fuse_poses(people(HERE, 0.5, (1, 1), 20), people(ELSEWHERE, 0.9, (1, 1), 70, SEQUENCE))
    assert fused.boxes_xyxy.tolist() == [list(ELSEWHERE), list(HERE)]


def answer(*marks, image_hw=(100, 100)):
    return FrameAnswer(image_hw, tuple(CarriedMark(mark, 0.8) for mark in marks))


def mark(box=HERE, *, control="label", label="a", points=0):
    return Mark(
        control,
        label,
        np.array(box, np.float32),
        {"part": ("face",)},
        np.full((points, 2), 20, np.float32),
        np.arange(points) == 0,
    )


@pytest.mark.parametrize(
    ("carried", "count"),
    [
        ((), 0),
        ((mark(),), 1),
        ((mark(control="other"),), 0),
        ((mark(label="b"),), 0),
        ((mark((200, 200, 300, 300)),), 0),
    ],
    ids=["nothing", "one", "of another control", "of a label that is gone", "outside the image"],
)
def test_a_control_is_given_its_own_marks(carried, count):
    found = carried_boxes(answer(*carried), "label", {"a"}, (100, 100))
    assert len(found) == count
    assert found.source == SEQUENCE
    assert all(attributes == {"part": ("face",)} for attributes in found.attributes)


def test_marks_grow_with_the_image():
    found = carried_boxes(answer(mark(), image_hw=(100, 100)), "label", {"a"}, (200, 400))
    assert found.boxes_xyxy.tolist() == [[40, 20, 200, 100]]
    found = carried_people(answer(mark(points=2)), ["label"], 2, (200, 400))
    assert found.keypoints_xy[0].tolist() == [[80, 40], [80, 40]]
    assert found.keypoint_scores[0].tolist() == pytest.approx([0.8, 0])


def test_boxes_are_no_people():
    assert len(carried_people(answer(mark()), ["label"], 133, (100, 100))) == 0
