"""Real tracks of walking people, out of the wheel of motmetrics, as people would draw them."""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prelabel.errors import MissingPackage
from prelabel.geometry import clip_boxes
from prelabel.learning.frames import FrameKey
from prelabel.learning.marks import MarkedFrame
from prelabel.types import Float32Array, Mark

VIDEOS = ("TUD-Campus", "TUD-Stadtmitte")
IMAGE_HW = 480, 640
"""Of both videos, in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """One person through a video.

    Attributes:
        frames: (n,) ascending.
        boxes_xyxy: (n, 4) float32, pixels, inside the image.
    """

    frames: NDArray[np.int64]
    boxes_xyxy: Float32Array


def read_walks(video: str) -> list[Walk]:
    """The people of one of `VIDEOS`.

    Raises:
        MissingPackage: motmetrics is not installed.
    """
    try:
        listed = files("motmetrics") or []
    except PackageNotFoundError:
        listed = []
    wanted = f"{video}/gt.txt"
    path = next((file.locate() for file in listed if file.as_posix().endswith(wanted)), None)
    if path is None:
        raise MissingPackage(
            wanted,
            "motmetrics, which carries these tracks, is not installed",
            "Run pip install --no-deps motmetrics.",
        )
    people: dict[int, list[tuple[int, list[float]]]] = {}
    with Path(str(path)).open(encoding="ascii", newline="") as lines:
        for frame, person, *box in csv.reader(lines):
            x, y, width, height = (float(value) for value in box[:4])
            corners = [x, y, x + width, y + height]
            people.setdefault(int(person), []).append((int(frame), corners))
    return [_walk(sorted(places)) for places in people.values()]


def _walk(places: Sequence[tuple[int, list[float]]]) -> Walk:
    boxes = clip_boxes(np.array([box for _, box in places], np.float32), IMAGE_HW)
    visible = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
    return Walk(np.array([frame for frame, _ in places], np.int64)[visible], boxes[visible])


def shaken(walk: Walk, share: float, generator: np.random.Generator) -> Walk:
    """The same, drawn by a hand that misses each edge by about this share of the box's side."""
    boxes = walk.boxes_xyxy
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = boxes + generator.normal(0, share, boxes.shape).astype(np.float32) * sides
    return Walk(
        walk.frames, np.concatenate([moved[:, :2], np.maximum(moved[:, 2:], moved[:, :2] + 1)], 1)
    )


def mark(box_xyxy: Float32Array, track: str = "") -> Mark:
    """A person as people would mark it."""
    no_points = np.zeros((0, 2), np.float32), np.zeros(0, bool)
    return Mark("label", "person", box_xyxy, {}, *no_points, track)


def boxes_at(walks: Sequence[Walk], frame: int) -> Float32Array:
    """The boxes (n, 4) of all people on a frame."""
    boxes = [walk.boxes_xyxy[walk.frames == frame] for walk in walks]
    return np.concatenate(boxes)


def marked_frames(walks: Sequence[Walk], frames: Collection[int]) -> list[MarkedFrame]:
    """Some frames with all people marked on them, without saying who is who."""
    return [
        MarkedFrame(
            FrameKey("video", frame), IMAGE_HW, tuple(mark(box) for box in boxes_at(walks, frame))
        )
        for frame in sorted(frames)
    ]
