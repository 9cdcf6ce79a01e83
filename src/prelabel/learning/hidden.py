"""Hiding annotated frames, and comparing what is then said of them with what people drew."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from prelabel.geometry import pairwise_iou
from prelabel.learning.clip import LEAST_CONFIDENCE, Clip, Kind, Options
from prelabel.learning.frames import FrameKey
from prelabel.learning.marks import MarkedFrame
from prelabel.learning.motion import Floats, Ints
from prelabel.learning.sequence import by_sequence
from prelabel.types import Float32Array

TURNS = 5
"""So many times at most a sequence is learnt anew, each time without other frames of it."""
FOUND_IOU = 0.5
AT_ONCE = 256
"""So many frames are guessed at a time, which bounds the memory that a long video needs."""

Kinds = Mapping[str, Collection[Kind]]
Turns = Mapping[FrameKey, int]
Turn = tuple[Clip, list[FrameKey]]
"""What was learnt without some frames, and those frames."""


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """What was said of a frame without having seen it.

    Attributes:
        image_hw: Height and width in pixels that the boxes belong to.
        boxes_xyxy: For each kind (n, 4) float32, pixels.
        confidence: For each kind (n,).
    """

    image_hw: tuple[int, int]
    boxes_xyxy: dict[Kind, Float32Array] = field(default_factory=dict)
    confidence: dict[Kind, Floats] = field(default_factory=dict)


def hidden_in_turn(frames: Sequence[MarkedFrame], run: int) -> dict[FrameKey, int]:
    """In which turn each frame is hidden, in runs of `run` annotated frames.

    The first and the last frame of a sequence are never hidden: what lies past an end is another
    question. A run is hidden with at least as many frames seen on either side, but at the ends.
    """
    turns: dict[FrameKey, int] = {}
    for members in by_sequence(frames).values():
        tried = members[1:-1]
        count = min(TURNS - 2 if run > 1 else TURNS, -(-len(tried) // run))
        for place, frame in enumerate(tried):
            turns[frame.key] = place // run % count
    return turns


def relearn(
    frames: Sequence[MarkedFrame], kinds: Kinds, options: Options, turns: Turns
) -> list[Turn]:
    """What is learnt of each sequence in each turn without the frames asked for.

    Args:
        frames: What is learnt from, by sequence and number; need not hold the frames asked for.
        kinds: Of each sequence, what is carried.
        options: How.
        turns: The frames asked for, each with the turn in which it is hidden.
    """
    return [
        (Clip(seen, kinds.get(asked[0].sequence, ()), options), asked)
        for seen, asked in _turns(frames, turns)
    ]


def guess(turns: Sequence[Turn], *, sure: bool = True) -> dict[FrameKey, Guess]:
    """What is said of the frames asked for; only of those for which there is an answer.

    Args:
        turns: What `relearn` made.
        sure: Whether to be silent where unsure, as the learner is when it answers for real.
    """
    guesses: dict[FrameKey, Guess] = {}
    for clip, asked in turns:
        indices = np.array([key.index for key in asked], np.int64)
        here = {
            key.index: Guess(clip.image_hw)
            for key, empty in zip(asked, clip.between_empty(indices), strict=True)
            if empty
        }
        parts = np.split(indices, range(AT_ONCE, len(indices), AT_ONCE))
        for carrier, part in product(clip.carriers, parts):
            carried = carrier.carry(part)
            told = carried.confidence >= LEAST_CONFIDENCE if sure else carried.confidence > 0
            for index in np.unique(carried.frames[told]).tolist():
                own = told & (carried.frames == index)
                answer = here.setdefault(index, Guess(clip.image_hw))
                answer.boxes_xyxy[carrier.kind] = carried.boxes_xyxy[own]
                answer.confidence[carrier.kind] = carried.confidence[own]
        sequence = asked[0].sequence
        guesses |= {FrameKey(sequence, index): answer for index, answer in here.items()}
    return guesses


def guess_copies(
    frames: Sequence[MarkedFrame], kinds: Kinds, turns: Turns
) -> dict[FrameKey, Guess]:
    """The marks of the nearest annotated frame, of two equally near the earlier, as they are."""
    guesses: dict[FrameKey, Guess] = {}
    for seen, asked in _turns(frames, turns):
        places = np.array([frame.key.index for frame in seen], np.int64)
        for key in asked:
            nearest = seen[int(np.abs(places - key.index).argmin())]
            copy = guesses[key] = Guess(nearest.image_hw)
            for kind in kinds.get(key.sequence, ()):
                copy.boxes_xyxy[kind] = boxes_of(nearest, kind)
                copy.confidence[kind] = np.ones(len(copy.boxes_xyxy[kind]))
    return guesses


def _turns(
    frames: Sequence[MarkedFrame], turns: Turns
) -> Iterator[tuple[list[MarkedFrame], list[FrameKey]]]:
    """For each sequence and turn the frames that are seen, and those asked for."""
    asked: dict[tuple[str, int], list[FrameKey]] = {}
    for key, turn in turns.items():
        asked.setdefault((key.sequence, turn), []).append(key)
    members = by_sequence(frames)
    for (sequence, turn), keys in asked.items():
        seen = [frame for frame in members.get(sequence, ()) if turns.get(frame.key) != turn]
        if seen:
            yield seen, keys


@dataclass(slots=True)
class Comparison:
    """What guesses were worth, added up over frames."""

    marks: int = 0
    found: int = 0
    missed: int = 0
    extra: int = 0
    iou: float = 0.0
    error_px: float = 0.0
    error_share: float = 0.0
    of_frames: list[float] = field(default_factory=list)

    @property
    def mean_of_frames(self) -> float:
        """The mean over frames of the answers' mean IoU; extra ones count 0, silence not at all."""
        return float(np.mean(self.of_frames)) if self.of_frames else 0.0

    def as_json(self) -> dict[str, Any]:
        """As an object of plain values; means are None where there is nothing to average."""
        met = self.marks - self.missed
        return {
            "marks": self.marks,
            "found": self.found,
            "missed": self.missed,
            "extra": self.extra,
            "mean_iou": _mean(self.iou, self.marks),
            "centre_error_px": _mean(self.error_px, met),
            "centre_error_pct": _mean(100 * self.error_share, met),
        }


def compare(
    truth: Sequence[MarkedFrame], guesses: Mapping[FrameKey, Guess], kinds: Kinds
) -> Comparison:
    """What guesses are worth against what people drew.

    Args:
        truth: What people drew.
        guesses: What was said of some of these frames; of the others, nothing was asked.
        kinds: Of each sequence, what is compared.
    """
    total = Comparison()
    for frame in truth:
        answer = guesses.get(frame.key)
        if answer is None:
            continue
        iou, marks, said = total.iou, total.marks, 0
        for kind in kinds.get(frame.key.sequence, ()):
            said += _add(total, frame, answer, kind)
        if said or total.marks == marks:
            total.of_frames.append((total.iou - iou) / said if said else 1.0)
    return total


def _add(total: Comparison, frame: MarkedFrame, answer: Guess, kind: Kind) -> int:
    """Add what one kind comes to; how many answers it has."""
    drawn = boxes_of(frame, kind)
    said = scaled_guess(answer, frame, kind)
    total.marks += len(drawn)
    rows, columns, ious = matches(drawn, said)
    total.missed += len(drawn) - len(rows)
    total.extra += len(said) - len(rows)
    total.found += int((ious >= FOUND_IOU).sum())
    total.iou += float(ious.sum())
    apart = (drawn[rows, :2] + drawn[rows, 2:] - said[columns, :2] - said[columns, 2:]) / 2
    away = np.hypot(apart[:, 0], apart[:, 1])
    total.error_px += float(away.sum())
    if len(rows):
        total.error_share += float(away.sum() / np.hypot(*frame.image_hw))
    return len(said)


def boxes_of(frame: MarkedFrame, kind: Kind) -> Float32Array:
    """The boxes (n, 4) of one kind that people drew."""
    boxes = [mark.box_xyxy for mark in frame.marks if (mark.control, mark.label) == kind]
    return np.stack(boxes) if boxes else np.zeros((0, 4), np.float32)


def scaled_guess(answer: Guess, frame: MarkedFrame, kind: Kind) -> Float32Array:
    """The boxes (n, 4) of one kind that were guessed, in the pixels of the frame itself."""
    boxes = answer.boxes_xyxy.get(kind, np.zeros((0, 4), np.float32))
    if answer.image_hw == frame.image_hw or not all(answer.image_hw):
        return boxes
    factor = np.array(frame.image_hw[::-1], np.float32) / np.array(
        answer.image_hw[::-1], np.float32
    )
    scaled: Float32Array = boxes * np.tile(factor, 2)
    return scaled


def matches(drawn_xyxy: Float32Array, said_xyxy: Float32Array) -> tuple[Ints, Ints, Floats]:
    """Which boxes meet, one to one, so that they overlap most; those that touch, with their IoU."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - only learning needs it

    iou = pairwise_iou(drawn_xyxy, said_xyxy).astype(np.float64)
    rows, columns = linear_sum_assignment(iou, maximize=True)
    touch = iou[rows, columns] > 0
    return rows[touch], columns[touch], iou[rows, columns][touch]


def _mean(total: float, count: int) -> float | None:
    return round(total / count, 4) if count else None
