"""All samples of the tracks of one control and label in one row, so that one call serves all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prelabel.learning.motion import Floats, Ints, Window, look, states
from prelabel.learning.tracks import Track


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """N samples of T tracks, track after track, by frame within a track.

    Attributes:
        frames: (N,) of the samples.
        owners: (N,) the number of the track that each belongs to.
        boxes_xyxy: (N, 4) float64, pixels.
        states: (N, 4) the same as `motion.states`.
        starts: (T,) row of each track's first sample.
        stops: (T,) row after each track's last sample.
        shifts: (T,) added to a track's frames, all frames ascend over all rows.
    """

    frames: Ints
    owners: Ints
    boxes_xyxy: Floats
    states: Floats
    starts: Ints
    stops: Ints
    shifts: Ints

    @classmethod
    def of(cls, tracks: Sequence[Track]) -> "Samples":
        """The samples of one track or more."""
        lengths = np.array([len(track) for track in tracks], np.int64)
        frames = np.concatenate([track.frames for track in tracks])
        boxes = np.concatenate([track.boxes_xyxy for track in tracks]).astype(np.float64)
        stops = np.cumsum(lengths)
        span = 4 * (int(frames.max() - frames.min()) + 1000)
        shifts = np.arange(len(tracks), dtype=np.int64) * span - frames.min()
        owners = np.repeat(np.arange(len(tracks), dtype=np.int64), lengths)
        return cls(frames, owners, boxes, states(boxes), stops - lengths, stops, shifts)

    @property
    def firsts(self) -> Ints:
        """(T,) the first frame of each track."""
        return self.frames[self.starts]

    @property
    def lasts(self) -> Ints:
        """(T,) the last frame of each track."""
        return self.frames[self.stops - 1]

    def look(
        self, owners: Ints, at: Ints, per_side: int, clear: tuple[Ints, Ints] | None = None
    ) -> Window:
        """What Q queries see of their own tracks.

        Args:
            owners: (Q,) whose samples each sees.
            at: (Q,) in frames.
            per_side: At most so many samples on either side.
            clear: As in `motion.look`; without it, a query sees all but its own frame.
        """
        before, after = clear or (at - 1, at + 1)
        shift = self.shifts[owners]
        return look(
            self.frames + self.shifts[self.owners],
            at + shift,
            (before + shift, after + shift),
            (self.starts[owners], self.stops[owners]),
            per_side,
        )


def paired_iou(boxes_xyxy: Floats, others_xyxy: Floats) -> Floats:
    """Intersection over union (Q,) of each box with the other one of its row."""
    low = np.maximum(boxes_xyxy[:, :2], others_xyxy[:, :2])
    high = np.minimum(boxes_xyxy[:, 2:], others_xyxy[:, 2:])
    common = np.maximum(high - low, 0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (boxes_xyxy, others_xyxy)]
    shared: Floats = common / (areas[0] + areas[1] - common)
    return shared
