"""One answer out of two: what a model found on a frame, and what was learnt from its neighbours.

The rule: findings of one label (people, for poses) are matched to carried marks, one to one, so
that their boxes overlap most, and at least by half.

- Matched: the geometry of the carried mark where it is trusted (`TRUSTED`), else the model's; the
  attributes that people chose; the score of two witnesses, 1 - (1 - a)(1 - b), at most `MOST_SURE`.
- Carried without a match: as it is. People saw the object on the frames around.
- Found without a match: as it is. People looked at other frames, not at this one.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from prelabel.geometry import around_turned, pairwise_iou
from prelabel.types import Attributes, Detections, Float32Array, Poses

MATCHING_IOU = 0.5
TRUSTED = 0.6
"""From this confidence on, what was learnt says better where an object is than what was found."""
MOST_SURE = 0.99


def fuse_boxes(found: Detections, carried: Detections) -> Detections:
    """Boxes of a model and of the learner, both pixels of the same image, by the module's rule.

    Args:
        found: What the model found.
        carried: What was learnt; its scores are confidences, its `attributes` what people chose.
    """
    if len(carried) == 0:
        return found
    alike = np.array([[a == b for b in carried.labels] for a in found.labels], bool)
    seen = around_turned(carried.boxes_xyxy, carried.turns or 0.0)
    rows, others = _matched(found.boxes_xyxy, seen, alike)
    trusted = carried.scores[others] >= TRUSTED
    boxes = np.where(trusted[:, None], carried.boxes_xyxy[others], found.boxes_xyxy[rows])
    both = Detections(
        boxes,
        _two_witnesses(found.scores[rows], carried.scores[others]),
        tuple(found.labels[row] for row in rows.tolist()),
        tuple(found.body_parts[row] for row in rows.tolist()),
        found.source,
        tuple(f"{carried.source}+{found.source_of(row)}" for row in rows.tolist()),
        tuple(_attributes(carried, other) for other in others.tolist()),
        tuple(
            carried.turn_of(other) if trust else found.turn_of(row)
            for row, other, trust in zip(rows, others, trusted, strict=True)
        ),
    )
    return _joined_boxes(both, carried.take(_rest(others, carried)), found.take(_rest(rows, found)))


def fuse_poses(found: Poses, carried: Poses) -> Poses:
    """People of a model and of the learner, by the module's rule.

    Keypoints go with the box: of a trusted carried person those that people drew, and where they
    drew none, the model's.
    """
    if len(carried) == 0:
        return found
    alike = np.ones((len(found), len(carried)), bool)
    rows, others = _matched(found.boxes_xyxy, carried.boxes_xyxy, alike)
    trusted = carried.box_scores[others] >= TRUSTED
    drawn = trusted[:, None] & (carried.keypoint_scores[others] > 0)
    both = Poses(
        np.where(trusted[:, None], carried.boxes_xyxy[others], found.boxes_xyxy[rows]),
        _two_witnesses(found.box_scores[rows], carried.box_scores[others]),
        np.where(drawn[..., None], carried.keypoints_xy[others], found.keypoints_xy[rows]),
        np.where(drawn, carried.keypoint_scores[others], found.keypoint_scores[rows]),
        found.source,
        tuple(f"{carried.source}+{found.source_of(row)}" for row in rows.tolist()),
        tuple(_attributes(carried, other) for other in others.tolist()),
    )
    alone = carried.take(_rest(others, carried))
    return _joined_poses(both, alone, found.take(_rest(rows, found)))


def _matched(
    boxes_xyxy: Float32Array, others_xyxy: Float32Array, alike: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and others of the pairs of highest total overlap, each at least `MATCHING_IOU`."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - heavy, and only for learners

    if not len(boxes_xyxy):
        nothing = np.zeros(0, np.int64)
        return nothing, nothing
    iou = pairwise_iou(boxes_xyxy, others_xyxy)
    overlap = np.where(alike & (iou >= MATCHING_IOU), iou, 0.0)
    rows, others = linear_sum_assignment(overlap, maximize=True)
    good = overlap[rows, others] > 0
    return rows[good], others[good]


def _two_witnesses(found: Float32Array, carried: Float32Array) -> Float32Array:
    scores: Float32Array = np.minimum(1 - (1 - found) * (1 - carried), np.float32(MOST_SURE))
    return scores


def _rest(taken: NDArray[np.int64], of: Detections | Poses) -> NDArray[np.int64]:
    return np.setdiff1d(np.arange(len(of)), taken)


def _attributes(of: Detections | Poses, row: int) -> Attributes:
    return of.attributes[row] if of.attributes else {}


def _joined_boxes(*parts: Detections) -> Detections:
    """All rows, best first, as one value of the first part's source."""
    first = parts[0]
    joined = replace(
        first,
        boxes_xyxy=np.concatenate([part.boxes_xyxy for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        labels=tuple(label for part in parts for label in part.labels),
        body_parts=tuple(name for part in parts for name in part.body_parts),
        sources=_sources(*parts),
        attributes=tuple(_attributes(part, row) for part in parts for row in range(len(part))),
        turns=tuple(part.turn_of(row) for part in parts for row in range(len(part))),
    )
    return joined.take(np.argsort(-joined.scores, kind="stable"))


def _joined_poses(*parts: Poses) -> Poses:
    first = parts[0]
    joined = replace(
        first,
        boxes_xyxy=np.concatenate([part.boxes_xyxy for part in parts]),
        box_scores=np.concatenate([part.box_scores for part in parts]),
        keypoints_xy=np.concatenate([part.keypoints_xy for part in parts]),
        keypoint_scores=np.concatenate([part.keypoint_scores for part in parts]),
        sources=_sources(*parts),
        attributes=tuple(_attributes(part, row) for part in parts for row in range(len(part))),
    )
    return joined.take(np.argsort(-joined.box_scores, kind="stable"))


def _sources(*parts: Detections | Poses) -> tuple[str, ...]:
    return tuple(part.source_of(row) for part in parts for row in range(len(part)))
