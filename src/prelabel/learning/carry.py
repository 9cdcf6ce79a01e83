"""Carrying the tracks of one control and label to frames that nobody annotated."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prelabel.geometry import within_image
from prelabel.learning import motion
from prelabel.learning.confidence import Prospects
from prelabel.learning.marks import CarriedMark
from prelabel.learning.motion import Floats, Ints, Rule, Window
from prelabel.learning.samples import Samples
from prelabel.learning.tracks import Track
from prelabel.types import Attributes, Float32Array, Mark

Mode = Literal["auto", "knn", "linear", "local_linear"]

FRAMES_OUTSIDE = 5
"""A track is carried past its end by so many frames, or by the median stride if that is more."""
FRAMES_FROM_ONE = 2
"""A track of a single sample is copied over so many frames."""
MOST_GROWTH = 2.0
"""No side becomes longer than the longest drawn times this, or shorter than the shortest by it."""
LEAST_SIDE = 1.0
"""Pixels; what is left of a box inside the image must be as wide and as high."""


def rules(mode: Mode, neighbours: int) -> dict[str, Rule]:
    """The rules that a mode chooses from.

    Besides those that have a mode of their own, auto knows the copy of the nearest sample, which
    nothing beats past the end of an erratic track, and straight lines through two and four times
    the neighbours, which take the shake out of hand-drawn boxes.
    """
    of_mode: dict[str, Rule] = {
        "linear": motion.linear,
        "knn": partial(motion.knn, neighbours=neighbours),
        "local_linear": partial(motion.local_linear, neighbours=neighbours),
    }
    if mode != "auto":
        return {mode: of_mode[mode]}
    return {
        "copy": motion.copy,
        **of_mode,
        "local_linear_2": partial(motion.local_linear, neighbours=2 * neighbours),
        "local_linear_4": partial(motion.local_linear, neighbours=4 * neighbours),
    }


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """P times a track on a frame.

    Attributes:
        tracks: (P,) the number of the track.
        frames: (P,) the frame.
        boxes_xyxy: (P, 4) float32, pixels, inside the image; turned ones turned back.
        turns: (P,) degrees clockwise by which they are turned about their centres.
        confidence: (P,) the expected IoU with what a person would draw, 0 where nothing is there.
        rules: (P,) the number of the rule that was taken.
    """

    tracks: Ints
    frames: Ints
    boxes_xyxy: Float32Array
    turns: Floats
    confidence: Floats
    rules: Ints


class Carrier:
    """Carries tracks of one control and label in one sequence; nothing changes it.

    Args:
        tracks: The tracks, one or more.
        mode: By which rule.
        neighbours: How many samples knn and local_linear look at.
        image_hw: Height and width of the images in pixels.
        stride: The median distance between annotated frames.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        mode: Mode,
        neighbours: int,
        image_hw: tuple[int, int],
        stride: float,
    ) -> None:
        self.tracks = tuple(tracks)
        self.kind = tracks[0].control, tracks[0].label
        self._samples = Samples.of(tracks)
        self._rules = rules(mode, neighbours)
        self._per_side = 4 * neighbours if mode == "auto" else max(neighbours, 2)
        self._prospects = Prospects(self._samples, self._rules, stride, self._per_side)
        self._mode = mode
        self._neighbours = neighbours
        self._image_hw = image_hw
        self._stride = stride
        self._absent = _absent_frames(self.tracks)
        alone = self._samples.stops - self._samples.starts == 1
        reach = np.where(alone, FRAMES_FROM_ONE, max(FRAMES_OUTSIDE, stride))
        self._first = np.maximum(self._samples.firsts - reach, self._absent[0] + 1)
        self._last = np.minimum(self._samples.lasts + reach, self._absent[1] - 1)
        self._vanishing = _vanishing(self.tracks, stride)
        self._turned = [number for number, track in enumerate(tracks) if track.turns.any()]
        self._attributes = [_votes(track) for track in tracks]

    def by(self, mode: Mode) -> "Carrier":
        """The same tracks, carried by another rule."""
        return Carrier(self.tracks, mode, self._neighbours, self._image_hw, self._stride)

    def carry(self, frames: Ints) -> Carried:
        """All tracks on all frames to which they reach, whatever the confidence.

        Args:
            frames: (Q,) none of them annotated.
        """
        samples = self._samples
        at, owners = self._within_reach(frames)
        window = samples.look(owners, at, self._per_side)
        past_end = (at < samples.firsts[owners]) | (at > samples.lasts[owners])
        rule, expected = self._choose(owners, window, past_end=past_end)
        states = self._states(owners, at, window, rule)
        turns = self._turns(owners, at)
        boxes, visible = within_image(
            motion.boxes(self._sized(states, owners)).astype(np.float32), turns, self._image_hw
        )
        inside = (visible >= LEAST_SIDE).all(1)
        confidence = expected * self._presence(owners, at)
        return Carried(
            owners[inside],
            at[inside],
            boxes[inside],
            turns[inside],
            confidence[inside],
            rule[inside],
        )

    def mark(self, carried: Carried, row: int) -> CarriedMark:
        """One row of what was carried, with its attributes and keypoints."""
        number, frame = int(carried.tracks[row]), int(carried.frames[row])
        track = self.tracks[number]
        rule = list(self._rules.values())[carried.rules[row]]
        points_xy, points_seen = self._points(track, frame, rule)
        mark = Mark(
            track.control,
            track.label,
            carried.boxes_xyxy[row],
            self._attributes[number](frame),
            points_xy,
            points_seen,
            track.name,
            float(carried.turns[row]),
        )
        return CarriedMark(mark, float(carried.confidence[row]))

    def _within_reach(self, frames: Ints) -> tuple[Ints, Ints]:
        """Each of the frames (Q,) with each track that reaches it: two (P,), frame by frame.

        Nothing here is of the size Q times tracks: of marks that flicker, every one is a track.
        """
        ascending = np.sort(frames)
        starts = np.searchsorted(ascending, self._first, side="left")
        counts = np.maximum(np.searchsorted(ascending, self._last, side="right") - starts, 0)
        owners, places = motion.runs(starts, counts)
        at = ascending[places]
        order = np.lexsort((owners, at))
        return at[order], owners[order]

    def _states(self, owners: Ints, at: Ints, window: Window, rule: Ints) -> Floats:
        """The states (Q, 4) of tracks on frames, by the rule taken for each."""
        states = np.zeros((len(at), 4))
        if self._mode == "knn":  # the library's own; `motion.knn` is the same in closed form
            from sklearn.neighbors import KNeighborsRegressor  # noqa: PLC0415 - 1 s to import

            for number in np.unique(owners).tolist():
                rows = slice(self._samples.starts[number], self._samples.stops[number])
                frames = self._samples.frames[rows, None]
                nearest = KNeighborsRegressor(
                    min(self._neighbours, len(frames)), weights="distance"
                )
                own = owners == number
                states[own] = nearest.fit(frames, self._samples.states[rows]).predict(at[own, None])
            return states
        for number, weigh in enumerate(self._rules.values()):
            own = rule == number
            seen = Window(window.rows[own], window.offsets[own])
            states[own] = motion.answers(seen, weigh(seen), self._samples.states)
        return states

    def _choose(
        self, owners: Ints, window: Window, *, past_end: NDArray[np.bool_]
    ) -> tuple[Ints, Floats]:
        """The number of the best rule (Q,), and the IoU expected of it (Q,)."""
        rule = np.zeros(len(owners), np.int64)
        expected = np.zeros(len(owners))
        alone = (self._samples.stops - self._samples.starts)[owners] == 1
        for outside in (False, True):
            own = np.flatnonzero(past_end == outside)
            if not len(own):
                continue
            compared, hoped = self._prospects.expect(
                owners[own],
                window.rows[own, 0],
                Window(window.rows[own], window.offsets[own]),
                outside=outside,
            )
            compared[alone[own], 1:] = 0  # of one sample, every rule makes a copy
            rule[own] = compared.argmax(1)
            expected[own] = hoped[np.arange(len(own)), rule[own]]
        return rule, expected

    def _sized(self, states: Floats, owners: Ints) -> Floats:
        """States (Q, 4) with sides that are not far from those drawn."""
        sides, starts = self._samples.states[:, 2:], self._samples.starts
        low = np.minimum.reduceat(sides, starts) / MOST_GROWTH
        high = np.maximum.reduceat(sides, starts) * MOST_GROWTH
        clamped = np.clip(states[:, 2:], low[owners], high[owners])
        return np.concatenate([states[:, :2], clamped], axis=1)

    def _turns(self, owners: Ints, at: Ints) -> Floats:
        """Angles (Q,) of tracks on frames: in between evenly, past an end that of the end."""
        turns = np.zeros(len(at))
        for number in self._turned:
            own = owners == number
            track = self.tracks[number]
            turns[own] = np.interp(at[own], track.frames, track.turns)
        return turns

    def _presence(self, owners: Ints, at: Ints) -> Floats:
        """How likely each track is there at all (Q,).

        Between its last sample and an annotated frame without it, it may have ended anywhere.
        Past the last annotated frame, it ends as often as tracks of its kind do.
        """
        samples = self._samples
        before, after = samples.firsts[owners] - at, at - samples.lasts[owners]
        outside = np.maximum(0, np.maximum(before, after)).astype(np.float64)
        to_absence = np.where(
            before > 0,
            samples.firsts[owners] - self._absent[0][owners],
            self._absent[1][owners] - samples.lasts[owners],
        )
        fading = np.isfinite(to_absence)
        likely: Floats = np.exp(-self._vanishing * outside)
        likely[fading] = 1 - outside[fading] / to_absence[fading]
        return likely

    def _points(
        self, track: Track, frame: int, rule: Rule
    ) -> tuple[Float32Array, NDArray[np.bool_]]:
        """The keypoints (K, 2) of a track on a frame, and which are seen (K,).

        A point is carried where it is seen on the annotated frames next to this one, from the
        frames on which it is seen.
        """
        at = np.array([frame], np.int64)
        all_rows = np.zeros(1, np.int64), np.array([len(track)], np.int64)
        window = motion.look(track.frames, at, (at - 1, at + 1), all_rows, self._per_side)
        rows, offsets = window.rows[0], window.offsets[0]
        after = int(np.searchsorted(track.frames, frame))
        around = [row for row in (after - 1, after) if 0 <= row < len(track)]
        seen: NDArray[np.bool_] = np.all(track.points_seen[around], axis=0)
        points = np.zeros(track.points_xy.shape[1:])
        if not seen.any():
            return points.astype(np.float32), seen
        drawn = track.points_seen[rows][:, seen].T & np.isfinite(offsets)  # (seen points, W)
        own = np.where(drawn, offsets, np.inf)
        order = np.argsort(np.abs(own), axis=1, kind="stable")
        weights = rule(Window(rows[order], np.take_along_axis(own, order, 1)))
        samples = track.points_xy[:, seen].astype(np.float64)
        which = np.arange(len(order))[:, None]
        points[seen] = np.einsum("kw,kwd->kd", weights, samples[rows[order], which])
        height, width = self._image_hw
        seen &= ((points >= 0) & (points <= [width, height])).all(1)
        points[~seen] = 0
        return points.astype(np.float32), seen


def _absent_frames(tracks: Sequence[Track]) -> tuple[Floats, Floats]:
    """The annotated frames around each track on which it is not: (T,) and (T,)."""
    before = [-np.inf if track.absent_before is None else track.absent_before for track in tracks]
    after = [np.inf if track.absent_after is None else track.absent_after for track in tracks]
    return np.array(before, np.float64), np.array(after, np.float64)


def _vanishing(tracks: Sequence[Track], stride: float) -> float:
    """How often a track ends, per frame, as far as its kind was seen."""
    ends = sum(
        (track.absent_before is not None) + (track.absent_after is not None) for track in tracks
    )
    frames = sum(2 * (int(track.frames[-1] - track.frames[0]) + stride) for track in tracks)
    return ends / frames


def _votes(track: Track) -> Callable[[int], Attributes]:
    """What the attributes of a track are on a frame: what most samples say.

    Of values with equally many votes, that of the sample nearest to the frame.
    """
    ties: dict[str, set[tuple[str, ...]]] = {}
    for name in sorted({name for chosen in track.attributes for name in chosen}):
        votes = Counter(chosen[name] for chosen in track.attributes if name in chosen)
        most = max(votes.values())
        ties[name] = {value for value, count in votes.items() if count == most}

    def at(frame: int) -> Attributes:
        return {name: _nearest(track, name, values, frame) for name, values in ties.items()}

    return at


def _nearest(track: Track, name: str, values: set[tuple[str, ...]], frame: int) -> tuple[str, ...]:
    if len(values) == 1:
        return next(iter(values))
    order = np.argsort(np.abs(track.frames - frame), kind="stable")
    return next(
        track.attributes[row][name] for row in order if track.attributes[row].get(name) in values
    )
