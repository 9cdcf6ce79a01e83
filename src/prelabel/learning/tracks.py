"""Objects followed over the annotated frames of one sequence.

Marks of one control and label on neighbouring annotated frames are assigned to each other so that
the whole costs least. A track goes over neighbouring annotated frames only: a frame that somebody
submitted without the object says that it is not there, and the track ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prelabel.geometry import pairwise_iou
from prelabel.types import Float32Array, Mark

MOST_COST = 2.2
"""Marks that cost more than this to connect are two objects."""
MOST_STRIDES = 8
"""A track goes over at most so many usual distances between annotated frames.

Usual is the median, or the mean if that is more: with some frames annotated here and some there,
the median is a single frame, and every track would end with its few. Three distances, as SORT-like
trackers allow, cut every track of a video annotated at random frames; confidence falls with the
distance anyway, and decides what is shown (docs/learning.md).
"""
SPEED_SPAN = 5
"""The speed before a gap is measured over a fifth of it or more, where the track is that old."""
OTHER_ATTRIBUTES = 0.5
FORBIDDEN = 1e6

Place = tuple[int, Mark]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One object on n annotated frames.

    Attributes:
        control: The control that it was drawn with.
        label: What it was called.
        frames: (n,) int64, ascending.
        boxes_xyxy: (n, 4) float32, pixels of the sequence's image size.
        points_xy: (n, K, 2) float32, pixels of the same; K = 0 where it has no keypoints.
        points_seen: (n, K) bool.
        attributes: What was chosen on each frame.
        turns: (n,) float64, degrees clockwise by which the boxes are turned about their centres;
            the short way round from each to the next, and so not bounded.
        name: What people called the track, or "".
        absent_before: The annotated frame before the first on which it is not there, or None.
        absent_after: The annotated frame after the last on which it is not there, or None.
    """

    control: str
    label: str
    frames: NDArray[np.int64]
    boxes_xyxy: Float32Array
    points_xy: Float32Array
    points_seen: NDArray[np.bool_]
    attributes: tuple[Mapping[str, tuple[str, ...]], ...]
    turns: NDArray[np.float64]
    name: str = ""
    absent_before: int | None = None
    absent_after: int | None = None

    def __len__(self) -> int:
        return len(self.frames)


def reach(frames: Sequence[int]) -> tuple[float, float]:
    """The median distance between annotated frames, and the longest gap that a track crosses."""
    if len(frames) < 2:  # noqa: PLR2004 - there is no distance between fewer
        return 1.0, float(MOST_STRIDES)
    stride = float(np.median(np.diff(frames)))
    mean = (frames[-1] - frames[0]) / (len(frames) - 1)
    return stride, MOST_STRIDES * max(stride, mean)


def link(frames: Sequence[int], marks: Sequence[Sequence[Mark]], max_gap: float) -> list[Track]:
    """The tracks of one control and label in one sequence, in order of their first frames.

    A mark is expected where its track would be if it moved on as it moved before. Named marks
    go on by their name, over any distance.

    Args:
        frames: All annotated frames of the sequence, ascending.
        marks: For each of them the marks, all of this control and label; often none.
        max_gap: The longest distance in frames over which unnamed marks are connected.
    """
    chains: list[list[Place]] = []
    last: list[list[Place]] = []  # the chains through the frame before, in the order of its marks
    boxes, before = np.zeros((0, 4)), 0
    for frame, here in zip(frames, marks, strict=True):
        gap = frame - before
        now = np.array([mark.box_xyxy for mark in here], np.float64).reshape(-1, 4)
        costs = _costs(boxes + np.tile(_speeds(last, boxes, gap) * gap, 2), now)
        if last and here:
            _weigh(costs, [chain[-1][1] for chain in last], here, near=gap <= max_gap)
        rows, columns = _assign(costs)
        going_on = {int(column): last[row] for row, column in zip(rows, columns, strict=True)}
        last = [going_on.get(number, []) for number in range(len(here))]
        for chain, mark in zip(last, here, strict=True):
            if not chain:
                chains.append(chain)
            chain.append((frame, mark))
        boxes, before = now, frame
    positions = {frame: position for position, frame in enumerate(frames)}
    return [_track(chain, frames, positions) for chain in chains]


def _speeds(
    chains: Sequence[list[Place]], boxes_xyxy: NDArray[np.float64], gap: int
) -> NDArray[np.float64]:
    """Pixels per frame (N, 2) of chains that end in N boxes.

    Measured over a part of the gap ahead (`SPEED_SPAN`), where a chain is that old: over a long
    gap, the jitter between the last two frames would throw an object far off.
    """
    past = [_past(chain, gap) for chain in chains]
    then = np.array([mark.box_xyxy for _, mark in past], np.float64).reshape(-1, 4)
    spans = [max(1, chain[-1][0] - frame) for chain, (frame, _) in zip(chains, past, strict=True)]
    speeds: NDArray[np.float64] = _centres(boxes_xyxy) - _centres(then)
    return speeds / np.array(spans, np.float64).reshape(-1, 1)


def _past(chain: list[Place], gap: int) -> Place:
    """The place of a chain that its speed is measured from; its first if it is too young."""
    end = chain[-1][0] - gap / SPEED_SPAN
    return next((place for place in reversed(chain) if place[0] <= end), chain[0])


def _centres(boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    centres: NDArray[np.float64] = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    return centres


def _costs(
    expected_xyxy: NDArray[np.float64], boxes_xyxy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What it costs to take each of M boxes for each of N expected ones: (N, M).

    On the TUD-Campus tracks annotated at every tenth frame (33 links), overlap alone, without
    motion, takes one person for another 26 times, this sum 10 times.
    """
    sides = [(one[:, 2:] - one[:, :2]) for one in (expected_xyxy, boxes_xyxy)]
    moves = _centres(expected_xyxy)[:, None] - _centres(boxes_xyxy)
    moves /= (sides[0][:, None] + sides[1]) / 2
    growth = np.abs(np.log(sides[0])[:, None] - np.log(sides[1])).sum(-1)
    costs: NDArray[np.float64] = (
        1
        - pairwise_iou(expected_xyxy.astype(np.float32), boxes_xyxy.astype(np.float32))
        + 0.5 * np.minimum(np.hypot(moves[..., 0], moves[..., 1]), 3)
        + 0.3 * np.minimum(growth, 3)
    )
    return costs


def _weigh(
    costs: NDArray[np.float64], lasts: Sequence[Mark], marks: Sequence[Mark], *, near: bool
) -> None:
    """Let attributes, distance in time and names have their say on the costs (N, M)."""
    if not near:
        costs[:] = FORBIDDEN
    chosen, others = _chosen(lasts), _chosen(marks)
    costs += OTHER_ATTRIBUTES * (chosen[:, None] != others)
    names, others = _names(lasts), _names(marks)
    named = (names[:, None] != "") & (others != "")
    costs[named] = np.where(names[:, None] == others, 0, FORBIDDEN)[named]


def _chosen(marks: Sequence[Mark]) -> NDArray[np.str_]:
    return np.array([repr(sorted(mark.attributes.items())) for mark in marks])


def _names(marks: Sequence[Mark]) -> NDArray[np.str_]:
    """The marks' track names; "" for a name that two of them carry."""
    names = [mark.track for mark in marks]
    return np.array([name if names.count(name) == 1 else "" for name in names])


def _assign(costs: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows and columns that belong together."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - only learning needs it

    rows, columns = linear_sum_assignment(costs)
    cheap = costs[rows, columns] <= MOST_COST
    return rows[cheap], columns[cheap]


def _track(chain: list[Place], frames: Sequence[int], positions: Mapping[int, int]) -> Track:
    own = [frame for frame, _ in chain]
    marks = [mark for _, mark in chain]
    keypoints = max(len(mark.points_seen) for mark in marks)
    points_xy = np.zeros((len(marks), keypoints, 2), np.float32)
    points_seen = np.zeros((len(marks), keypoints), bool)
    for row, mark in enumerate(marks):
        points_xy[row, : len(mark.points_seen)] = mark.points_xy
        points_seen[row, : len(mark.points_seen)] = mark.points_seen
    first, last = positions[own[0]], positions[own[-1]]
    return Track(
        marks[0].control,
        marks[0].label,
        np.array(own, np.int64),
        np.stack([mark.box_xyxy for mark in marks]),
        points_xy,
        points_seen,
        tuple(mark.attributes for mark in marks),
        np.unwrap(np.array([mark.turn for mark in marks], np.float64), period=360),
        next((mark.track for mark in marks if mark.track), ""),
        absent_before=frames[first - 1] if first > 0 else None,
        absent_after=frames[last + 1] if last + 1 < len(frames) else None,
    )
