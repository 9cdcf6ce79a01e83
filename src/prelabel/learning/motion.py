"""Where a track is between and beyond the frames on which people marked it.

Every rule here is a linear smoother: what it answers is a weighted mean of the samples, and the
weights depend on the frame numbers alone. So one set of weights serves the box and all keypoints,
and one call answers many queries. Letters in shapes: Q queries, W samples looked at, n samples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The samples around each of Q queries, nearest first; of two equally near, the earlier first.

    Attributes:
        rows: (Q, W) which sample.
        offsets: (Q, W) its frame minus the query's, in frames; infinity where there is none.
    """

    rows: Ints
    offsets: Floats

    @property
    def present(self) -> NDArray[np.bool_]:
        """(Q, W) bool, where there is a sample."""
        return np.isfinite(self.offsets)


Rule = Callable[[Window], Floats]
"""From a window to the weights (Q, W) of its samples; the weights of a query add up to 1."""


def look(
    frames: Ints, at: Ints, clear: tuple[Ints, Ints], within: tuple[Ints, Ints], per_side: int
) -> Window:
    """The samples around queries, some of them hidden.

    Args:
        frames: (n,) of the samples, ascending.
        at: (Q,) the queries, in frames.
        clear: (Q,) and (Q,), up to which frame samples are seen on the left, and from which frame
            on they are seen on the right.
        within: (Q,) and (Q,), the first row that a query may see and the one after the last.
        per_side: At most so many on either side.
    """
    steps = np.arange(per_side)
    left = np.searchsorted(frames, clear[0], side="right")[:, None] - 1 - steps
    right = np.searchsorted(frames, clear[1], side="left")[:, None] + steps
    rows = np.concatenate([left, right], axis=1)
    absent = (rows < within[0][:, None]) | (rows >= within[1][:, None])
    rows[absent] = 0
    offsets = (frames[rows] - at[:, None]).astype(np.float64)
    offsets[absent] = np.inf
    order = np.argsort(np.abs(offsets), axis=1, kind="stable")
    return Window(np.take_along_axis(rows, order, 1), np.take_along_axis(offsets, order, 1))


def copy(window: Window) -> Floats:
    """Weights (Q, W) of the nearest sample as it is."""
    weights = np.zeros_like(window.offsets)
    weights[:, 0] = 1
    return weights


def linear(window: Window) -> Floats:
    """Weights (Q, W) of the straight line through two samples.

    Between samples, the ones on either side; past the end, the last two. Of one sample, a copy.
    """
    offsets, present = window.offsets, window.present
    queries = np.arange(len(offsets))
    other_side = present & (np.sign(offsets) != np.sign(offsets[:, :1]))
    second = np.where(other_side.any(1), other_side.argmax(1), 1)
    weights = copy(window)
    two = present[:, 1]
    near, far = offsets[two, 0], offsets[queries, second][two]
    weights[two, 0] = far / (far - near)
    weights[queries[two], second[two]] = -near / (far - near)
    return weights


def knn(window: Window, neighbours: int) -> Floats:
    """Weights (Q, W) of the nearest neighbours' mean, each weighted by 1 / distance.

    This is scikit-learn's `KNeighborsRegressor(neighbours, weights="distance")` on the frame
    number, in closed form.
    """
    weights = np.zeros_like(window.offsets)
    weights[:, :neighbours] = 1 / np.abs(window.offsets[:, :neighbours])
    return _normalised(weights)


def local_linear(window: Window, neighbours: int) -> Floats:
    """Weights (Q, W) of a straight line fitted to the nearest neighbours by least squares.

    A sample at distance d weighs 1 / (1 + d).

    Args:
        window: What is seen.
        neighbours: How many samples the line is fitted to.
    """
    offsets = np.where(window.present, window.offsets, 0)[:, :neighbours]
    mass = np.where(window.present[:, :neighbours], 1 / (1 + np.abs(offsets)), 0)
    mass = _normalised(mass)
    centre = (mass * offsets).sum(1, keepdims=True)
    spread = (mass * (offsets - centre) ** 2).sum(1, keepdims=True)
    tilt = np.divide(centre, spread, out=np.zeros_like(centre), where=spread > 0)
    weights = np.zeros_like(window.offsets)
    weights[:, :neighbours] = mass * (1 - tilt * (offsets - centre))
    return weights


def _normalised(weights: Floats) -> Floats:
    normalised: Floats = weights / weights.sum(1, keepdims=True)
    return normalised


def runs(starts: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Runs of `counts` places from `starts` on, one after the other: whose run, and the place."""
    owners = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    steps = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    return owners, np.repeat(starts, counts) + steps


def answers(window: Window, weights: Floats, samples: Floats) -> Floats:
    """What the weights make of samples (n, D): (Q, D)."""
    weighted: Floats = np.einsum("qw,qwd->qd", weights, samples[window.rows])
    return weighted


def states(boxes_xyxy: Floats) -> Floats:
    """Boxes (n, 4) as centre x, centre y, width, height, in which rules work."""
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    return np.concatenate([(boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2, sides], axis=1)


def boxes(of_states: Floats) -> Floats:
    """The boxes (n, 4) xyxy of states; the inverse of `states`. A side that shrank away is 0."""
    half = np.maximum(of_states[:, 2:], 0) / 2
    return np.concatenate([of_states[:, :2] - half, of_states[:, :2] + half], axis=1)
