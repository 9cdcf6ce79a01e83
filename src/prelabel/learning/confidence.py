"""How well a track can be carried: tried out on samples that are hidden for it.

For a frame at some distance from the annotated ones, samples of the same control and label are
hidden together with all samples within that distance, and every rule has to find them again. The
mean overlap (IoU) that a rule reaches says which one to take, and what to expect of it.

Three things make that honest on few samples. Trials near the frame count most, as people and
distortions change their pace. The trials of the other tracks count as `SIBLINGS` trials more. And
hiding a sample doubles the gap around it, so what is found there is scaled down to the distance
asked for, by the power of the distance with which the error was seen to grow.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prelabel.learning import motion
from prelabel.learning.motion import Floats, Ints, Rule, Window
from prelabel.learning.samples import Samples, paired_iou

SIBLINGS = 8.0
"""All other tracks together weigh as much as so many trials of the track itself."""
MEMORY = 16.0
"""A trial counts by e less for each so many samples between it and the frame asked for."""
DOUBTFUL_IOU, PLAIN_IOU = 0.5, 0.6
"""Before any trial, one trial of each rule is taken for granted, with this IoU: a little more for
the plain choice, which is the line between two samples, and the copy past an end."""
HEAD_START = 0.15
"""What the plain choice is ahead by before any trial, when rules are compared: at twice the gap,
where trials are made, smoothing wins a little more often than at the gap itself."""
MOST_LEVEL = 8
"""Nothing is tried at more than so many median distances; from there on, errors are scaled up."""
MOST_TRIALS = 500
"""Of more samples, evenly spread ones are tried."""
PLAIN = {False: "linear", True: "copy"}
"""The plain choice between samples, and past an end."""
ENOUGH_SAMPLES = 4
"""A trial in which less is to be seen, though the track has more, says nothing of the track."""
STEEPEST = 2.0
"""Errors grow at most with this power of the distance, as of a line laid along a parabola."""


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """What came of hiding samples; T trials, R rules.

    Attributes:
        iou: (T, R) reached; 0 where a trial is not valid.
        valid: (T,) bool, whether enough was left to see.
        owners: (T,) the track of the hidden sample.
        rows: (T,) the hidden sample.
        distance: How far the hidden samples were from those seen, in the mean; see `distances`.
        sums: (tracks, R) sum of `iou` of each track.
        counts: (tracks,) how many valid trials each has.
    """

    iou: Floats
    valid: NDArray[np.bool_]
    owners: Ints
    rows: Ints
    distance: float
    sums: Floats
    counts: Floats


def distances(window: Window) -> Floats:
    """How far from its samples each of Q queries is, in frames: (Q,).

    Past an end, the distance to the nearest sample. Between two, their harmonic mean: it is this
    that the spread of a wandering object grows with.
    """
    left = np.where(window.offsets < 0, -window.offsets, np.inf).min(1)
    right = np.where(window.offsets > 0, window.offsets, np.inf).min(1)
    near: Floats = np.minimum(left, right)
    both = np.isfinite(left) & np.isfinite(right)
    near[both] = 2 * left[both] * right[both] / (left + right)[both]
    return near


class Prospects:
    """What is to be expected of each rule, at any distance from the samples.

    Trials are made when they are first asked for, and kept; two threads may both make them.
    """

    def __init__(
        self, samples: Samples, rules: Mapping[str, Rule], stride: float, per_side: int
    ) -> None:
        self._samples = samples
        self._rules = rules
        self._stride = max(stride, 1.0)
        self._per_side = per_side
        self._granted = {
            outside: np.array([PLAIN_IOU if name == plain else DOUBTFUL_IOU for name in rules])
            for outside, plain in PLAIN.items()
        }
        self._ahead = {
            outside: np.array([HEAD_START if name == plain else 0.0 for name in rules])
            for outside, plain in PLAIN.items()
        }
        self._kept: dict[tuple[bool, int], Trials] = {}

    def expect(
        self, owners: Ints, rows: Ints, window: Window, *, outside: bool
    ) -> tuple[Floats, Floats]:
        """What to expect of each rule.

        Args:
            owners: (Q,) the tracks asked for.
            rows: (Q,) the sample nearest to each query.
            window: What the queries see.
            outside: Whether they lie past an end of their tracks, all of them or none.

        Returns:
            (Q, R) by which rules are compared: their IoU at about this distance, and a head start;
            (Q, R) the IoU expected at just this distance.
        """
        near = np.abs(window.offsets[:, 0])
        levels = np.clip(np.rint(near / self._stride), 1, MOST_LEVEL).astype(np.int64)
        shape = (len(owners), len(self._rules))
        compared, expected = np.zeros(shape), np.zeros(shape)
        asked = distances(window)
        for level in np.unique(levels).tolist():
            own = levels == level
            tried = self._tried(outside, level)
            trials = self._trials(outside, tried)
            means, weight = _local_means(trials, self._granted[outside], owners[own], rows[own])
            compared[own] = means + self._ahead[outside] / weight
            growth = self._growth(outside, tried)
            closer = (asked[own] / trials.distance)[:, None] if trials.valid.any() else 1.0
            odds = (1 / np.maximum(means, 1e-3) - 1) * closer**growth
            expected[own] = 1 / (1 + odds)
        return compared, expected

    def _tried(self, outside: bool, level: int) -> int:
        """The highest level up to this one at which anything could be tried."""
        tried = (one for one in range(level, 1, -1) if self._trials(outside, one).valid.any())
        return next(tried, 1)

    def _growth(self, outside: bool, level: int) -> Floats:
        """The power of the distance with which each rule's error grows: (R,).

        The error is the odds (1 - IoU) / IoU, which a shift of a box changes in proportion.
        """
        here, farther = self._trials(outside, level), self._trials(outside, level + 1)
        both = here.valid & farther.valid
        if not both.any() or farther.distance <= here.distance:
            return np.ones(len(self._rules))
        means = [np.clip(one.iou[both].mean(0), 1e-3, 1 - 1e-3) for one in (here, farther)]
        odds = [1 / mean - 1 for mean in means]
        powers: Floats = np.log(odds[1] / odds[0]) / np.log(farther.distance / here.distance)
        return np.clip(powers, 0, STEEPEST)

    def _trials(self, outside: bool, level: int) -> Trials:
        if (outside, level) not in self._kept:
            self._kept[outside, level] = self._try(outside, level)
        return self._kept[outside, level]

    def _try(self, outside: bool, level: int) -> Trials:
        """Hide samples with all that are nearer than `level` strides; past both ends alike."""
        samples = self._samples
        every = -(-len(samples.frames) // MOST_TRIALS)
        hidden = np.arange(0, len(samples.frames), every)
        clear = int(np.ceil((level - 0.5) * self._stride))
        at, owners = samples.frames[hidden], samples.owners[hidden]
        sides = [(at - clear, at + clear)]
        if outside:
            nothing = samples.firsts[owners] - 1, samples.lasts[owners] + 1
            sides = [(at - clear, nothing[1]), (nothing[0], at + clear)]
        found = [self._find(hidden, side, outside=outside) for side in sides]
        iou, valid, far = (np.concatenate(parts) for parts in zip(*found, strict=True))
        rows, owners = np.tile(hidden, len(sides)), np.tile(owners, len(sides))
        sums = np.zeros((len(samples.starts), iou.shape[1]))
        np.add.at(sums, owners[valid], iou[valid])
        counts = np.bincount(owners[valid], minlength=len(samples.starts)).astype(np.float64)
        distance = float(far[valid].mean()) if valid.any() else 1.0
        return Trials(iou, valid, owners, rows, distance, sums, counts)

    def _find(
        self, hidden: Ints, clear: tuple[Ints, Ints], *, outside: bool
    ) -> tuple[Floats, NDArray[np.bool_], Floats]:
        """IoU (T, R) with hidden samples, whether each trial is valid, and its distance."""
        samples = self._samples
        owners = samples.owners[hidden]
        window = samples.look(owners, samples.frames[hidden], self._per_side, clear)
        others = samples.stops[owners] - samples.starts[owners] - 1
        seen = window.present.sum(1)
        valid = (seen >= np.minimum(ENOUGH_SAMPLES, others)) & (seen > 0)
        if not outside:
            later = window.present & (window.offsets > 0)
            valid &= (window.offsets < 0).any(1) & later.any(1)
        iou = np.zeros((len(hidden), len(self._rules)))
        tried = Window(window.rows[valid], window.offsets[valid])
        for number, rule in enumerate(self._rules.values()):
            found = motion.answers(tried, rule(tried), samples.states)
            iou[valid, number] = paired_iou(motion.boxes(found), samples.boxes_xyxy[hidden[valid]])
        far = np.zeros(len(hidden))
        far[valid] = distances(tried)
        return iou, valid, far


def _local_means(
    trials: Trials, granted: Floats, owners: Ints, rows: Ints
) -> tuple[Floats, Floats]:
    """The mean IoU (Q, R) of each rule around the samples `rows` of the tracks `owners`.

    And how many trials it is the mean of, (Q, 1).
    """
    query, trial = _of_own_track(trials, owners)
    nearness = np.exp(-np.abs(trials.rows[trial] - rows[query]) / MEMORY) * trials.valid[trial]
    own = np.bincount(query, nearness, len(owners))
    reached = np.zeros((len(owners), trials.iou.shape[1]))
    for rule in range(reached.shape[1]):
        reached[:, rule] = np.bincount(query, nearness * trials.iou[trial, rule], len(owners))
    others = (trials.counts.sum() - trials.counts[owners])[:, None]
    elsewhere = (trials.sums.sum(0) - trials.sums[owners]) / np.maximum(others, 1)
    siblings = np.minimum(others, SIBLINGS)
    total = reached + siblings * elsewhere + granted
    weight: Floats = own[:, None] + siblings + 1
    means: Floats = total / weight
    return means, weight


def _of_own_track(trials: Trials, owners: Ints) -> tuple[Ints, Ints]:
    """Each query (of the tracks `owners`) with each trial of its own track: two (P,)."""
    order = np.argsort(trials.owners, kind="stable")
    sorted_owners = trials.owners[order]
    starts = np.searchsorted(sorted_owners, owners, side="left")
    counts = np.searchsorted(sorted_owners, owners, side="right") - starts
    query, places = motion.runs(starts, counts)
    return query, order[places]
