"""OKS, pairs and PCK, computed by hand."""

import math

import numpy as np
import pytest

from prelabel import keypoints
from prelabel.evaluation.oks import PARTS, similarities
from prelabel.evaluation.poses import oks_of_people, pair, score_poses

BODY = PARTS["body"]


def only(*indices):
    return np.isin(np.arange(133), indices)[None]


def test_nobody_is_like_nobody(make):
    assert similarities(make.poses(), make.people(), BODY).shape == (0, 0)
    assert score_poses([]) == {}
    assert score_poses([make.scene()]) == {}


def test_the_same_pose_has_a_similarity_of_one(make):
    places = make.spread_out()

    for points in PARTS.values():
        assert similarities(make.poses(places), make.people(places), points) == pytest.approx(1)


def test_similarity_falls_with_distance_in_spreads_of_the_keypoint(make):
    nose, hip = keypoints.INDEX["nose"], keypoints.INDEX["left_hip"]
    places = make.spread_out()
    moved = places.copy()
    moved[0, [nose, hip], 0] += 10
    people = make.people(places, only(nose, hip), areas=[2500])

    (oks,) = similarities(make.poses(moved), people, BODY).ravel()

    by_hand = [math.exp(-100 / (2 * 2500 * (2 * sigma) ** 2)) for sigma in (0.026, 0.107)]
    assert oks == pytest.approx(sum(by_hand) / 2, abs=1e-5)


def test_only_annotated_keypoints_count(make):
    places = make.spread_out()
    elsewhere = make.spread_out(seed=1)
    elsewhere[0, 0] = places[0, 0]

    people = make.people(places, only(0))

    assert similarities(make.poses(elsewhere), people, BODY) == pytest.approx(1)


def test_a_keypoint_that_was_not_found_adds_nothing_wherever_it_lies(make):
    places = make.spread_out()
    scores = np.ones((1, 133))
    scores[0, 0] = 0

    oks = similarities(make.poses(places, scores), make.people(places, only(0, 1)), BODY)

    assert oks == pytest.approx(0.5)


def test_each_person_is_paired_with_the_pose_most_like_it(make):
    people = make.people(make.spread_out(count=2))
    near = people.keypoints_xy[::-1] + np.array([1.0, 3.0])[:, None, None]
    far = np.full((1, 133, 2), 5000.0)
    scene = make.scene(people, make.poses(np.concatenate([far, near])))

    assert pair(scene) == {0: 2, 1: 1}


def test_a_crowd_is_paired_with_nobody(make):
    places = make.spread_out()
    scene = make.scene(make.people(places, crowds=[True]), make.poses(places))

    assert pair(scene) == {}
    assert oks_of_people(scene, pair(scene), "body") == []


def test_a_person_without_a_body_is_paired_by_its_other_keypoints(make):
    places = make.spread_out()
    hand = only(*PARTS["left_hand"])
    scene = make.scene(make.people(places, hand), make.poses(places))

    assert pair(scene) == {0: 0}
    assert set(score_poses([scene])) == {"left_hand", "whole_body"}


def test_a_pose_in_a_given_box_stays_with_the_person_of_the_box(make):
    people = make.people(make.spread_out(count=2))
    scene = make.scene(people, make.poses(people.keypoints_xy), owners=np.array([1, 0]))

    assert pair(scene) == {1: 0, 0: 1}


def test_a_person_nobody_found_costs_oks_precision_and_pck(make):
    people = make.people(make.spread_out(count=2))
    scene = make.scene(people, make.poses(people.keypoints_xy[:1]))

    body = score_poses([scene])["body"]

    assert (body.precision.annotated, body.precision.found) == (2, 1)
    assert body.mean_oks == pytest.approx(0.5)
    assert body.pck == pytest.approx(0.5)
    assert body.precision.ar == pytest.approx(0.5)


def test_a_pose_without_a_part_counts_neither_for_nor_against_it(make):
    people = make.people(make.spread_out())
    handless = np.ones((2, 133))
    handless[0, list(PARTS["left_hand"])] = 0
    poses = make.poses(np.repeat(people.keypoints_xy, 2, 0), handless)

    scores = score_poses([make.scene(people, poses)])

    assert scores["body"].precision.predicted == 2
    assert scores["left_hand"].precision.predicted == 1
    assert scores["left_hand"].precision.ap == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "reach"),
    [
        ("nose", 0.05 * 200),  # of the longer side of the person's box
        ("left_heel", 0.05 * 200),
        ("face-5", 0.05 * 30),  # of the longer side around the annotated face
        ("left_hand_root", 0.2 * 10),  # and hand
    ],
)
def test_a_keypoint_within_reach_is_right_and_beyond_it_wrong(make, name, reach):
    index = keypoints.INDEX[name]
    places = np.full((1, 133, 2), 50.0)
    places[0, keypoints.FACE.start] = [80, 60]  # the face is 30 wide and 10 high
    places[0, keypoints.LEFT_HAND.stop - 1] = [52, 60]  # the hand 2 and 10
    people = make.people(places, boxes_xyxy=[[0, 0, 100, 200]])
    part = next(part for part, points in PARTS.items() if index in points)

    def pck(distance):
        moved = places.copy()
        moved[0, index, 0] += distance
        scene = make.scene(people, make.poses(moved), owners=np.array([0]))
        return score_poses([scene])[part].pck

    assert pck(reach - 0.01) == pytest.approx(1)
    assert pck(reach + 0.01) == pytest.approx(1 - 1 / len(PARTS[part]))


def test_the_only_keypoint_of_a_hand_has_the_reach_of_the_body(make):
    places = np.full((1, 133, 2), 50.0)
    people = make.people(places, only(keypoints.LEFT_HAND.start), boxes_xyxy=[[0, 0, 100, 200]])
    scenes = [
        make.scene(people, make.poses(places + moved), owners=np.array([0])) for moved in (7, 8)
    ]
    assert [score_poses([scene])["left_hand"].pck for scene in scenes] == [1, 0]
