"""How well poses agree with annotated people: OKS, its average precision, and PCK, part by part."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prelabel.evaluation.average_precision import (
    AveragePrecision,
    Matches,
    average_precision,
    match,
)
from prelabel.evaluation.oks import PARTS, similarities
from prelabel.evaluation.scenes import AnnotatedPeople, BoolArray, Float64Array, Scene
from prelabel.types import Poses

MOST_PEOPLE = 20
"""Poses of one image that count for average precision, best first; COCO's number."""

MIN_OKS_OF_A_PAIR = 0.01
"""Under it, a pose and an annotated person have nothing to do with each other."""

Pairs = dict[int, int]
"""Which pose belongs to which annotated person: index of the pose by index of the person."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a keypoint may lie from its annotated place to be right for PCK.

    Attributes:
        share: The distance as a share of the longer side of a box.
        of_person: Whether that is the person's box, or the one around the part's own annotated
            keypoints. A part of one keypoint has none, and the reach of the body.
    """

    share: float
    of_person: bool


REACH = {
    "body": Reach(0.05, of_person=True),
    "feet": Reach(0.05, of_person=True),
    "face": Reach(0.05, of_person=False),
    "left_hand": Reach(0.2, of_person=False),
    "right_hand": Reach(0.2, of_person=False),
}


@dataclass(frozen=True, slots=True)
class PartScore:
    """How well one part was predicted.

    Attributes:
        precision: Its average precision with OKS as similarity.
        mean_oks: Mean over the annotated people of the OKS of the pose paired with each; a person
            without one has 0.
        pck: Share of the annotated keypoints that were found within `REACH`.
    """

    precision: AveragePrecision
    mean_oks: float
    pck: float


def score_poses(scenes: Sequence[Scene]) -> dict[str, PartScore]:
    """Scores of each part that is annotated on anybody.

    A pose's score is its box score times the mean score of its found keypoints. A pose that has
    no keypoint of a part counts neither for nor against that part.
    """
    pairs = [pair(scene) for scene in scenes]
    return {
        part: _score(part, scenes, pairs)
        for part, points in PARTS.items()
        if any(_to_be_found(scene.people, points).any() for scene in scenes)
    }


def people_scores(poses: Poses) -> Float64Array:
    """The score of each person: of the box, times the mean of the found keypoints'."""
    found = poses.keypoint_scores > 0
    sums = poses.keypoint_scores.astype(np.float64).sum(1)
    scores: Float64Array = poses.box_scores * sums / np.maximum(found.sum(1), 1)
    return scores


def pair(scene: Scene) -> Pairs:
    """Pair poses and annotated people, each at most once: the most similar first.

    People are compared by their bodies, or by all keypoints where no body is annotated.
    """
    if scene.owners is not None:
        return {int(person): pose for pose, person in enumerate(scene.owners)}
    people = scene.people
    similarity = np.where(
        _annotated(people, PARTS["body"]).any(1),
        similarities(scene.poses, people, PARTS["body"]),
        similarities(scene.poses, people, PARTS["whole_body"]),
    )
    similarity[:, ~_to_be_found(people, PARTS["whole_body"])] = 0
    pairs: Pairs = {}
    while similarity.size and similarity.max() >= MIN_OKS_OF_A_PAIR:
        pose, person = np.unravel_index(similarity.argmax(), similarity.shape)
        pairs[int(person)] = int(pose)
        similarity[pose], similarity[:, person] = 0, 0
    return pairs


def oks_of_people(scene: Scene, pairs: Pairs, part: str) -> list[float]:
    """OKS of each person that has this part annotated: of the pose paired with it, else 0."""
    similarity = similarities(scene.poses, scene.people, PARTS[part])
    return [
        float(similarity[pairs[person], person]) if person in pairs else 0.0
        for person in _people_with(part, scene)
    ]


def _score(part: str, scenes: Sequence[Scene], pairs: Sequence[Pairs]) -> PartScore:
    paired = list(zip(scenes, pairs, strict=True))
    agreement = [oks for scene, known in paired for oks in oks_of_people(scene, known, part)]
    hits = [
        _hits(scene, known.get(person), person, part)
        for scene, known in paired
        for person in _people_with(part, scene)
    ]
    return PartScore(
        average_precision([_matches(scene, part) for scene in scenes]),
        float(np.mean(agreement)),
        float(np.concatenate(hits).mean()),
    )


def _matches(scene: Scene, part: str) -> Matches:
    points = PARTS[part]
    shown = (scene.poses.keypoint_scores[:, points.start : points.stop] > 0).any(1)
    return match(
        similarities(scene.poses, scene.people, points)[shown],
        people_scores(scene.poses)[shown],
        scene.people.crowds,
        ~_to_be_found(scene.people, points),
        MOST_PEOPLE,
    )


def _annotated(people: AnnotatedPeople, points: range) -> BoolArray:
    return people.annotated[:, points.start : points.stop]


def _to_be_found(people: AnnotatedPeople, points: range) -> BoolArray:
    """Which people are single ones with any of these keypoints annotated."""
    return _annotated(people, points).any(1) & ~people.crowds


def _people_with(part: str, scene: Scene) -> list[int]:
    return [int(person) for person in np.flatnonzero(_to_be_found(scene.people, PARTS[part]))]


def _hits(scene: Scene, pose: int | None, person: int, part: str) -> BoolArray:
    """Which of the annotated keypoints of a person's part the pose has in the right place."""
    people, poses = scene.people, scene.poses
    points = [point for point in PARTS[part] if people.annotated[person, point]]
    if pose is None:
        return np.zeros(len(points), bool)
    offsets = poses.keypoints_xy[pose, points] - people.keypoints_xy[person, points]
    near = np.hypot(offsets[:, 0], offsets[:, 1]) <= _reaches(people, person)[points]
    hits: BoolArray = near & (poses.keypoint_scores[pose, points] > 0)
    return hits


def _reaches(people: AnnotatedPeople, person: int) -> Float64Array:
    """How far each keypoint (K,) of a person may lie from its annotated place, in pixels."""
    box = people.boxes_xyxy[person]
    reaches = np.zeros(people.annotated.shape[1])
    for part, own_reach in REACH.items():
        points = list(PARTS[part])
        own = people.keypoints_xy[person, points][people.annotated[person, points]]
        reach = own_reach if len(own) > 1 else REACH["body"]
        sides = box[2:] - box[:2] if reach.of_person else np.ptp(own, axis=0)
        reaches[points] = reach.share * sides.max()
    return reaches
