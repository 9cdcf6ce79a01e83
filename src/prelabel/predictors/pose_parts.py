"""Where the parts of a body are, read off its keypoints: faces, hair, hands, arms, legs, torsos."""

from dataclasses import dataclass

import numpy as np

from prelabel import keypoints
from prelabel.errors import PrelabelError
from prelabel.geometry import clip_boxes
from prelabel.predictors.wholebody import WholeBody
from prelabel.types import Ask, Detections, Float32Array, Image, Poses

MIN_SIDE_PX = 2.0
MIN_SCORE = 0.4  # surer than for annotating: at 0.3 a tie passes for a hand


@dataclass(frozen=True, slots=True)
class Part:
    """How to draw a part's box.

    Attributes:
        body_part: One of `BODY_PARTS`.
        indices: The keypoints that lie in it.
        needed: How many of them must have been found.
        padding: What to add on each side, as a share of the longer side between the keypoints:
            a limb is wider than the line along its joints.
    """

    body_part: str
    indices: tuple[int, ...]
    needed: int
    padding: float


def _indices(*names: str) -> tuple[int, ...]:
    return tuple(keypoints.INDEX[name] for name in names)


def _limb(side: str, *joints: str) -> tuple[int, ...]:
    return _indices(*(f"{side}_{joint}" for joint in joints))


_FOOT = ("big_toe", "small_toe", "heel")
PARTS = (
    Part("face", tuple(keypoints.FACE), needed=20, padding=0.1),
    Part("hand", tuple(keypoints.LEFT_HAND), needed=8, padding=0.15),
    Part("hand", tuple(keypoints.RIGHT_HAND), needed=8, padding=0.15),
    Part("arm", _limb("left", "shoulder", "elbow", "wrist"), needed=2, padding=0.15),
    Part("arm", _limb("right", "shoulder", "elbow", "wrist"), needed=2, padding=0.15),
    Part("leg", _limb("left", "hip", "knee", "ankle", *_FOOT), needed=2, padding=0.1),
    Part("leg", _limb("right", "hip", "knee", "ankle", *_FOOT), needed=2, padding=0.1),
)
BROWS = tuple(keypoints.FACE[17:27])
TEMPLES = (keypoints.FACE[0], keypoints.FACE[16])
CHIN = keypoints.FACE[8]
SHOULDERS = _indices("left_shoulder", "right_shoulder")
HIPS = _indices("left_hip", "right_hip")
HAIR_OF_FACE = 0.7  # how far hair reaches above the eyebrows, in heights from chin to eyebrows

Located = tuple[str, Float32Array, float]


class PosePartLocator:
    """Locates body parts in an image with a whole-body pose; loads it when first asked."""

    def __init__(self, pose: WholeBody) -> None:
        self._pose = pose

    def locate(self, image: Image) -> Detections:
        """Boxes of the parts of everybody in the image, surest first, labelled by their part.

        Raises:
            OperatorError: The pose model cannot be loaded.
            ModelError: The pose model failed on this image.
        """
        answer = self._pose.predict([image], Ask(min_score=MIN_SCORE))[0]
        if isinstance(answer, PrelabelError):
            raise answer
        assert isinstance(answer, Poses)
        return parts_of(answer, (image.height, image.width))


def parts_of(poses: Poses, image_hw: tuple[int, int]) -> Detections:
    """Boxes of the body parts of everybody, surest first, labelled by their part.

    Args:
        poses: People with the 133 keypoints; a keypoint of score 0 was not found.
        image_hw: Height and width of their image; boxes are cut to it.

    Returns:
        One box per part that shows: its score is the mean of its keypoints', full_body's the
        person box's.
    """
    located = [
        part
        for person in range(len(poses))
        for part in _parts_of_person(
            poses.boxes_xyxy[person],
            float(poses.box_scores[person]),
            poses.keypoints_xy[person],
            poses.keypoint_scores[person],
        )
    ]
    if not located:
        return Detections.none(poses.source)
    boxes = clip_boxes(np.stack([box for _, box, _ in located]).astype(np.float32), image_hw)
    scores = np.array([score for _, _, score in located], np.float32)
    showing = (boxes[:, 2:] - boxes[:, :2]).min(1) >= MIN_SIDE_PX
    order = [int(row) for row in np.argsort(-scores, kind="stable") if showing[row]]
    names = tuple(located[row][0] for row in order)
    return Detections(boxes[order], scores[order], names, names, poses.source)


def _parts_of_person(
    box_xyxy: Float32Array, box_score: float, points: Float32Array, scores: Float32Array
) -> list[Located]:
    located: list[Located] = [("full_body", box_xyxy, box_score)]
    for part in PARTS:
        found = [index for index in part.indices if scores[index] > 0]
        if len(found) >= part.needed:
            box = _box_around(points[found], part.padding)
            located.append((part.body_part, box, float(scores[found].mean())))
    located += _hair(points, scores)
    located += _torso(box_xyxy, points, scores)
    return located


def _hair(points: Float32Array, scores: Float32Array) -> list[Located]:
    """Hair: from the temples and eyebrows away from the chin, whichever way the head is held."""
    edge = [*TEMPLES, *BROWS]
    if not scores[[*edge, CHIN]].all():
        return []
    up = points[list(BROWS)].mean(0) - points[CHIN]
    lifted = points[edge] + up * HAIR_OF_FACE
    box = _box_around(np.concatenate([points[list(BROWS)], lifted]), padding=0.05)
    return [("hair", box, float(scores[edge].mean()))]


def _torso(box_xyxy: Float32Array, points: Float32Array, scores: Float32Array) -> list[Located]:
    """Torso: shoulders and hips, or, where the picture ends above the hips, down to its edge."""
    if not scores[list(SHOULDERS)].all():
        return []
    found = [*SHOULDERS, *(index for index in HIPS if scores[index] > 0)]
    corners = points[found]
    if len(found) == len(SHOULDERS):
        corners = np.concatenate([corners, [[corners[:, 0].mean(), box_xyxy[3]]]])
    return [("torso", _box_around(corners, padding=0.1), float(scores[found].mean()))]


def _box_around(points: Float32Array, padding: float) -> Float32Array:
    """The box (4,) around points (n, 2), with a share of its longer side added on each side."""
    low, high = points.min(0), points.max(0)
    margin = (high - low).max() * padding
    box: Float32Array = np.concatenate([low - margin, high + margin]).astype(np.float32)
    return box
