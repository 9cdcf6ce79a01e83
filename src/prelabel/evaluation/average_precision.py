"""Average precision and recall over similarity thresholds, as COCO computes them.

The same for boxes (similarity: IoU) and poses (similarity: OKS). Definition:
https://cocodataset.org (detection evaluation), and `pycocotools`, which the tests compare with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prelabel.evaluation.scenes import BoolArray, Float64Array

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Similarities from which on a prediction is right; AP is the mean over them."""

_RECALLS = np.linspace(0, 1, 101)
_TINY = float(np.spacing(1))
_AT_50, _AT_75 = 0, 5
_ALMOST_1 = 1 - 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Which predictions of one image are right, at each of the T thresholds.

    Attributes:
        scores: (N,) best first.
        right: (T, N) bool.
        ignored: (T, N) bool: neither right nor wrong.
        annotated: How many annotations there were to find.
    """

    scores: Float64Array
    right: BoolArray
    ignored: BoolArray
    annotated: int


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """How precise predictions are, and how much of what was annotated they reach.

    Attributes:
        annotated: How many annotations there were to find.
        predicted: How many predictions counted.
        found: How many annotations were found at a similarity of 0.50.
        ap: Mean average precision over the thresholds; None where nothing was annotated.
        ap50: Average precision at 0.50.
        ap75: Average precision at 0.75.
        ar: Mean over the thresholds of the share that was found.
    """

    annotated: int
    predicted: int
    found: int
    ap: float | None
    ap50: float | None
    ap75: float | None
    ar: float | None


def match(
    similarity: Float64Array, scores: Float64Array, crowds: BoolArray, ignored: BoolArray, most: int
) -> Matches:
    """Give each prediction the most similar annotation that is free, best score first.

    Args:
        similarity: (N, M).
        scores: (N,) of the predictions.
        crowds: (M,) annotations that any number of predictions may take.
        ignored: (M,) annotations that nobody has to find; crowds among them. A prediction takes
            one only where no other is left, and then counts neither as right nor as wrong.
        most: How many predictions count, best first.
    """
    order = np.argsort(-scores, kind="stable")[:most]
    right = np.zeros((len(THRESHOLDS), len(order)), bool)
    excused = np.zeros_like(right)
    for level, threshold in enumerate(THRESHOLDS):
        free = np.ones(len(ignored), bool)
        for rank, row in enumerate(order):
            similar = similarity[row] >= min(threshold, _ALMOST_1)
            wanted = similar & free & ~ignored
            allowed = wanted if wanted.any() else similar & (free | crowds) & ignored
            if allowed.any():
                taken = _last_best(similarity[row], allowed)
                free[taken] = False
                right[level, rank] = not ignored[taken]
                excused[level, rank] = ignored[taken]
    return Matches(scores[order], right, excused, int((~ignored).sum()))


def average_precision(images: Sequence[Matches]) -> AveragePrecision:
    """Average precision over all images together; of equal scores, the earlier image goes first."""
    annotated = sum(matches.annotated for matches in images)
    predicted = sum(len(matches.scores) for matches in images)
    if not annotated:
        return AveragePrecision(0, predicted, 0, None, None, None, None)
    scores = np.concatenate([matches.scores for matches in images])
    order = np.argsort(-scores, kind="stable")
    right = np.concatenate([matches.right for matches in images], 1)[:, order]
    ignored = np.concatenate([matches.ignored for matches in images], 1)[:, order]
    hits, misses = right.cumsum(1), (~right & ~ignored).cumsum(1)
    precisions = np.array(
        [
            _interpolated(hit / annotated, hit / (hit + miss + _TINY))
            for hit, miss in zip(hits, misses, strict=True)
        ]
    ).mean(1)
    return AveragePrecision(
        annotated=annotated,
        predicted=predicted,
        found=int(right[_AT_50].sum()),
        ap=float(precisions.mean()),
        ap50=float(precisions[_AT_50]),
        ap75=float(precisions[_AT_75]),
        ar=float(right.sum(1).mean() / annotated),
    )


def _last_best(similarity: Float64Array, allowed: BoolArray) -> int:
    """The most similar of the allowed; of equal ones the last, as in COCO's code."""
    backwards = np.where(allowed, similarity, -1)[::-1]
    return len(backwards) - 1 - int(backwards.argmax())


def _interpolated(recall: Float64Array, precision: Float64Array) -> Float64Array:
    """The best precision at each of 101 recalls or beyond; 0 where the recall is not reached."""
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    best: Float64Array = envelope[np.searchsorted(recall, _RECALLS)]
    return best
