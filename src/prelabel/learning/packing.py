"""Marked frames as plain arrays, to be stored and to be told apart; and back, without loss."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prelabel.learning.frames import FrameKey
from prelabel.learning.marks import MarkedFrame
from prelabel.types import Mark

_NO_TASK = -1

Arrays = dict[str, NDArray[Any]]


def pack(frames: Sequence[MarkedFrame], prefix: str = "") -> Arrays:
    """Frames as arrays; F frames with M marks, P keypoints and S strings in all.

    Args:
        frames: The frames.
        prefix: What the names of the arrays begin with.
    """
    marks = [mark for frame in frames for mark in frame.marks]
    attributes = [_written(mark.attributes) for mark in marks]
    strings = sorted(
        {frame.key.sequence for frame in frames}
        | {text for mark in marks for text in (mark.control, mark.label, mark.track)}
        | set(attributes)
    )
    number = {text: position for position, text in enumerate(strings)}
    words = [
        (number[mark.control], number[mark.label], number[mark.track], number[written])
        for mark, written in zip(marks, attributes, strict=True)
    ]
    drawn = b"".join(frame.drawn for frame in frames)
    arrays: Arrays = {
        "strings": np.frombuffer(json.dumps(strings).encode(), np.uint8),  # JSON, UTF-8
        "frame_sequences": _whole(number[frame.key.sequence] for frame in frames),  # (F,)
        "frame_indices": _whole(frame.key.index for frame in frames),  # (F,)
        "frame_tasks": _whole(_NO_TASK if f.task is None else f.task for f in frames),  # (F,)
        "frame_sizes": np.array([frame.image_hw for frame in frames], np.int64).reshape(-1, 2),
        "frame_marks": _whole(len(frame.marks) for frame in frames),  # (F,) how many marks each
        "frame_drawn": _whole(len(frame.drawn) for frame in frames),  # (F,) how many bytes each
        "drawn": np.frombuffer(drawn, np.uint8),
        "mark_words": np.array(words, np.int64).reshape(-1, 4),
        "mark_boxes": np.array([mark.box_xyxy for mark in marks], np.float32).reshape(-1, 4),
        "mark_points": _whole(len(mark.points_seen) for mark in marks),  # (M,) how many each
        "points_xy": _joined([mark.points_xy for mark in marks]),  # (P, 2)
        "points_seen": np.array([seen for mark in marks for seen in mark.points_seen], bool),
    }
    if any(mark.turn for mark in marks):  # so that versions without keep their digests
        arrays["mark_turns"] = np.array([mark.turn for mark in marks], np.float64)  # (M,)
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def unpack(arrays: Mapping[str, NDArray[Any]]) -> list[MarkedFrame]:
    """The frames that were packed.

    Raises:
        ValueError, KeyError, IndexError, TypeError: these are not arrays that `pack` made.
    """
    strings = json.loads(arrays["strings"].tobytes())
    point_ends = np.cumsum(arrays["mark_points"])[:-1]
    points_xy = np.split(arrays["points_xy"], point_ends)
    points_seen = np.split(arrays["points_seen"], point_ends)
    turns = arrays.get("mark_turns", np.zeros(len(arrays["mark_words"])))
    marks = []
    for number, (control, label, track, attributes) in enumerate(arrays["mark_words"].tolist()):
        chosen = json.loads(strings[attributes])
        marks.append(
            Mark(
                strings[control],
                strings[label],
                arrays["mark_boxes"][number],
                {name: tuple(values) for name, values in chosen.items()},
                points_xy[number],
                points_seen[number],
                strings[track],
                float(turns[number]),
            )
        )
    mark_ends = np.cumsum(arrays["frame_marks"]).tolist()
    drawn_ends = np.cumsum(arrays["frame_drawn"]).tolist()
    drawn = arrays["drawn"].tobytes()
    frames = []
    for number, (sequence, index) in enumerate(
        zip(arrays["frame_sequences"].tolist(), arrays["frame_indices"].tolist(), strict=True)
    ):
        height, width = arrays["frame_sizes"][number].tolist()
        first_mark = mark_ends[number - 1] if number else 0
        task = int(arrays["frame_tasks"][number])
        first_byte = drawn_ends[number - 1] if number else 0
        frames.append(
            MarkedFrame(
                FrameKey(strings[sequence], index),
                (height, width),
                tuple(marks[first_mark : mark_ends[number]]),
                drawn[first_byte : drawn_ends[number]],
                None if task == _NO_TASK else task,
            )
        )
    return frames


def digest(arrays: Mapping[str, NDArray[Any]], settings: str) -> str:
    """What tells packed frames and the settings of a learner from others: 16 hex digits."""
    content = hashlib.sha256(settings.encode())
    for name in sorted(arrays):
        content.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        content.update(arrays[name].tobytes())
    return content.hexdigest()[:16]


def _written(attributes: Mapping[str, tuple[str, ...]]) -> str:
    return json.dumps({name: list(attributes[name]) for name in sorted(attributes)})


def _whole(numbers: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(numbers, np.int64)


def _joined(rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate(rows) if rows else np.zeros((0, 2), np.float32)
