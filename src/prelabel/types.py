"""The checked value types that travel between the rooms: images in, findings out.

Coordinates are float32 pixels of the upright image, boxes `xyxy` (x1, y1, x2, y2 with x2 >= x1
and y2 >= y1). "Nothing found" is a value with N = 0; a failure is an error, never such a value.
Letters in shapes: N findings, K keypoints, H and W image height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Attributes = Mapping[str, tuple[str, ...]]
Float32Array = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

BODY_PARTS = ("face", "hair", "hand", "arm", "leg", "torso", "full_body", "other")
"""The values of the `body_part` attribute, in the order in which a label config lists them."""


SEQUENCE = "sequence"
"""The source of what was learnt from annotations of neighbouring frames."""

DISTORTION_WORDS = frozenset(
    {"distort", "deform", "malform", "artifact", "artefact", "glitch", "anomal", "warp", "melt"}
)
"""A label or phrase with one of these in it says that something is wrong with a body."""


def require_shape(
    field: str, array: NDArray[np.generic], shape: tuple[int | None, ...], dtype: type[np.generic]
) -> None:
    """Raise ValueError naming the field unless `array` has this shape (None = any) and dtype."""
    fits = array.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != dtype:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{field}: expected ({wanted}) {np.dtype(dtype).name}, "
            f"got {array.shape} {array.dtype.name}"
        )


def require_count(field: str, values: Sequence[object], count: int) -> None:
    """Raise ValueError naming the field unless it has one value per finding, or none at all."""
    if len(values) not in (0, count):
        raise ValueError(f"{field}: expected none or {count} values, got {len(values)}")


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One upright picture, with the frames beside it where it is part of a sequence.

    Attributes:
        pixels_rgb: (H, W, 3) uint8, RGB, EXIF orientation already applied.
        name: What to call it in logs and errors.
        before: The frame before it in its sequence, or None.
        after: The frame after it in its sequence, or None.
        digest: What tells its file from all others, whatever they are called; "" where that is
            not known.
    """

    pixels_rgb: UInt8Array
    name: str = "image"
    before: Image | None = None
    after: Image | None = None
    digest: str = ""

    def __post_init__(self) -> None:
        require_shape("pixels_rgb", self.pixels_rgb, (None, None, 3), np.uint8)

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels_rgb.shape[0])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels_rgb.shape[1])


@dataclass(frozen=True, slots=True)
class Phrase:
    """One thing to look for, in words, and what a box found by it is to be called.

    Attributes:
        text: What the detector is asked for, for example "distorted hand".
        label: The label that its boxes carry, for example "body_distortion".
        body_part: One of `BODY_PARTS` when the phrase names one, else None.
    """

    text: str
    label: str
    body_part: str | None = None

    def __post_init__(self) -> None:
        if not self.text.strip() or not self.label:
            raise ValueError(f"text, label: expected words, got {self.text!r}, {self.label!r}")
        if self.body_part is not None and self.body_part not in BODY_PARTS:
            raise ValueError(f"body_part: expected one of {BODY_PARTS}, got {self.body_part!r}")


@dataclass(frozen=True, slots=True)
class Ask:
    """What a project wants found in its images.

    Attributes:
        phrases: What to look for, in a fixed order (the order changes a text model's scores).
        min_score: Drop findings below this score; None leaves the predictor's own threshold.
        within_xyxy: Where a person drew boxes to look into, in pixels; empty for everywhere. A
            pose predictor takes them for persons, without looking for any itself.
        at_xy: Where a person pointed, in pixels; what lies there is wanted. Empty for everywhere.
    """

    phrases: tuple[Phrase, ...] = ()
    min_score: float | None = None
    within_xyxy: tuple[tuple[float, ...], ...] = ()
    at_xy: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Boxes found in one image, best first.

    Attributes:
        boxes_xyxy: (N, 4) float32, pixels, inside the image, finite, x2 > x1 and y2 > y1.
        scores: (N,) float32 in 0..1.
        labels: N labels, as asked for.
        body_parts: N values of `BODY_PARTS`, or None where no part is known.
        source: The name of the predictor that found them.
        sources: Who found each of N, where that differs; empty where `source` found all.
        attributes: What people chose for each of N, by the name of the choices' control; empty
            where nobody chose anything.
        turns: Degrees clockwise by which each of N is turned about its centre; empty where all
            are upright. The box of a turned one is as if it were turned back, and may reach over
            the image's edges.
    """

    boxes_xyxy: Float32Array
    scores: Float32Array
    labels: tuple[str, ...]
    body_parts: tuple[str | None, ...]
    source: str
    sources: tuple[str, ...] = ()
    attributes: tuple[Attributes, ...] = ()
    turns: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.labels)
        require_count("sources", self.sources, count)
        require_count("attributes", self.attributes, count)
        require_count("turns", self.turns, count)
        require_shape("boxes_xyxy", self.boxes_xyxy, (count, 4), np.float32)
        require_shape("scores", self.scores, (count,), np.float32)
        if len(self.body_parts) != count:
            raise ValueError(f"body_parts: expected {count} values, got {len(self.body_parts)}")
        if not np.isfinite(self.boxes_xyxy).all() or not np.isfinite(self.scores).all():
            raise ValueError("boxes_xyxy, scores: expected finite numbers, got NaN or infinity")
        if count and (self.boxes_xyxy[:, 2:] <= self.boxes_xyxy[:, :2]).any():
            raise ValueError("boxes_xyxy: expected x2 > x1 and y2 > y1 in each row")
        if count and (self.scores.min() < 0 or self.scores.max() > 1):
            raise ValueError("scores: expected values in 0..1")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Detections:
        """The boxes of these rows, in this order."""
        return Detections(
            self.boxes_xyxy[rows],
            self.scores[rows],
            tuple(self.labels[row] for row in rows),
            tuple(self.body_parts[row] for row in rows),
            self.source,
            tuple(self.sources[row] for row in rows if self.sources),
            tuple(self.attributes[row] for row in rows if self.attributes),
            tuple(self.turns[row] for row in rows if self.turns),
        )

    def source_of(self, row: int) -> str:
        """Who found one box."""
        return self.sources[row] if self.sources else self.source

    def turn_of(self, row: int) -> float:
        """By how many degrees one box is turned clockwise about its centre."""
        return self.turns[row] if self.turns else 0.0

    @classmethod
    def none(cls, source: str) -> Detections:
        """The value for "looked, found nothing"."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), (), (), source)


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """People found in one image, surest first, each with the same K keypoints.

    Attributes:
        boxes_xyxy: (N, 4) float32, pixels, inside the image.
        box_scores: (N,) float32 in 0..1, the person detector's.
        keypoints_xy: (N, K, 2) float32, pixels; may lie outside the image.
        keypoint_scores: (N, K) float32 in 0..1.
        source: The name of the predictor that found them.
        sources: As in `Detections`.
        attributes: As in `Detections`, of each person's box.
    """

    boxes_xyxy: Float32Array
    box_scores: Float32Array
    keypoints_xy: Float32Array
    keypoint_scores: Float32Array
    source: str
    sources: tuple[str, ...] = ()
    attributes: tuple[Attributes, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.boxes_xyxy)
        require_count("sources", self.sources, count)
        require_count("attributes", self.attributes, count)
        require_shape("boxes_xyxy", self.boxes_xyxy, (count, 4), np.float32)
        require_shape("box_scores", self.box_scores, (count,), np.float32)
        require_shape("keypoints_xy", self.keypoints_xy, (count, None, 2), np.float32)
        keypoints = self.keypoints_xy.shape[1]
        require_shape("keypoint_scores", self.keypoint_scores, (count, keypoints), np.float32)
        for field in ("boxes_xyxy", "box_scores", "keypoints_xy", "keypoint_scores"):
            if not np.isfinite(getattr(self, field)).all():
                raise ValueError(f"{field}: expected finite numbers, got NaN or infinity")

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def take(self, rows: NDArray[np.int64]) -> Poses:
        """The people of these rows, in this order."""
        return Poses(
            self.boxes_xyxy[rows],
            self.box_scores[rows],
            self.keypoints_xy[rows],
            self.keypoint_scores[rows],
            self.source,
            tuple(self.sources[row] for row in rows if self.sources),
            tuple(self.attributes[row] for row in rows if self.attributes),
        )

    def source_of(self, row: int) -> str:
        """Who found one person."""
        return self.sources[row] if self.sources else self.source

    @classmethod
    def none(cls, keypoints: int, source: str) -> Poses:
        """The value for "looked, nobody there"."""
        return cls(
            boxes_xyxy=np.zeros((0, 4), np.float32),
            box_scores=np.zeros(0, np.float32),
            keypoints_xy=np.zeros((0, keypoints, 2), np.float32),
            keypoint_scores=np.zeros((0, keypoints), np.float32),
            source=source,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """One object that people marked on one image, as the sequence learner knows it.

    Attributes:
        control: The control it was drawn with; objects of two controls are never the same object.
        label: What it was called.
        box_xyxy: (4,) float32, pixels, x2 > x1 and y2 > y1; of a lone point the box that it
            counts as, of a person without a box the one around the keypoints, of a turned box
            that one turned back about its centre.
        attributes: What was chosen for it, by the name of the choices' control.
        points_xy: (K, 2) float32, pixels; K = 0 where it has no keypoints.
        points_seen: (K,) bool, which of them were drawn.
        track: What its track is called, where people said so; "" where it must be found out.
        turn: Degrees clockwise by which its box is turned about its centre.
    """

    control: str
    label: str
    box_xyxy: Float32Array
    attributes: Attributes
    points_xy: Float32Array
    points_seen: NDArray[np.bool_]
    track: str = ""
    turn: float = 0.0

    def __post_init__(self) -> None:
        count = len(self.points_seen)
        require_shape("box_xyxy", self.box_xyxy, (4,), np.float32)
        require_shape("points_xy", self.points_xy, (count, 2), np.float32)
        require_shape("points_seen", self.points_seen, (count,), np.bool_)
        if not np.isfinite(self.box_xyxy).all() or not np.isfinite(self.points_xy).all():
            raise ValueError("box_xyxy, points_xy: expected finite numbers, got NaN or infinity")
        if (self.box_xyxy[2:] <= self.box_xyxy[:2]).any():
            raise ValueError("box_xyxy: expected x2 > x1 and y2 > y1")
