"""The scores of a run by label, keypoints also by the part of the body."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prelabel import keypoints
from prelabel.batch.summary import RunSummary
from prelabel.labelstudio.config import Label
from prelabel.labelstudio.keypoint_labels import keypoint_labels
from prelabel.types import Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The regions of a label, or of several.

    Attributes:
        name: What they are called.
        count: How many there are.
        scores: (M,) float32 in 0..1, ascending: of all regions, or of a fair sample.
        weights: (M,) float64, how many regions each score stands for.
    """

    name: str
    count: int
    scores: Float32Array
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, name: str, count: int, scores: Sequence[float]) -> "Scored":
        """The regions of one label, given all their scores or a sample."""
        each = count / max(len(scores), 1)
        return cls(name, count, np.sort(np.array(scores, np.float32)), np.full(len(scores), each))

    @classmethod
    def of_all(cls, name: str, parts: Sequence["Scored"]) -> "Scored":
        """The regions of several labels."""
        scores = np.concatenate([part.scores for part in parts])
        weights = np.concatenate([part.weights for part in parts])
        order = np.argsort(scores)
        return cls(name, sum(part.count for part in parts), scores[order], weights[order])

    @property
    def median(self) -> float | None:
        """The score that half of the regions reach; None where they have none."""
        if not len(self.scores):
            return None
        upto = np.cumsum(self.weights)
        return float(self.scores[np.searchsorted(upto, upto[-1] / 2)])

    def kept(self, thresholds: Sequence[float]) -> list[int]:
        """How many regions score at least as much, for each threshold.

        Regions without a score are kept by each.
        """
        # A hair below, for in float32 a score of 0.3 may be less than 0.3.
        places = np.searchsorted(self.scores, np.array(thresholds) - 1e-6)
        below = np.concatenate([[0.0], np.cumsum(self.weights)])[places]
        return [round(number) for number in (self.count - below).tolist()]


@dataclass(frozen=True, slots=True)
class ByLabel:
    """All regions of a run.

    Attributes:
        alone: By label, of those that are no keypoints, the most frequent first.
        groups: Of keypoints, by the part of the body that they belong to.
        points: Of keypoints, by label, in the order of the body.
    """

    alone: tuple[Scored, ...]
    groups: tuple[Scored, ...]
    points: tuple[Scored, ...]


def by_label(summary: RunSummary) -> ByLabel:
    """Sort out the labels of a run; a single keypoint of a group stands alone."""
    found = {
        name: Scored.of(name, count, summary.scores.get(name, ()))
        for name, count in summary.labels.items()
    }
    named = keypoint_labels([Label(name, None, {}) for name in sorted(found)])
    groups, points = [], []
    for group, indices in keypoints.GROUPS.items():
        parts = [found.pop(named[index]) for index in indices if index in named]
        if len(parts) > 1:
            groups.append(Scored.of_all(f"{group.replace('_', ' ')} keypoints", parts))
            points += parts
        else:
            found |= {part.name: part for part in parts}
    alone = sorted(found.values(), key=lambda label: (-label.count, label.name))
    return ByLabel(tuple(alone), tuple(groups), tuple(points))
