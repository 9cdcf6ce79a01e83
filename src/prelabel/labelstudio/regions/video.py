"""Tracks through a `<Video>`: one `videorectangle` region each, with boxes at keyframes.

Label Studio counts frames from 1, draws straight lines between keyframes, and does not store the
size of the video. Boxes are therefore pixels of a nominal picture, `NOMINAL_HW`.

A keyframe that is not `enabled` is the last frame of a life: the box is still there, and gone
behind it until the next keyframe. Before the first keyframe there is no box either.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prelabel.geometry import within_image
from prelabel.labelstudio.config import Control, LabelConfig, VideoTag
from prelabel.labelstudio.regions.marks import chosen_by_region, known_labels, plain_id
from prelabel.labelstudio.regions.read import are_numbers, is_size
from prelabel.labelstudio.regions.turned import drawn_box, first_corner
from prelabel.labelstudio.regions.write import NO_CHOICES, NUMBER_KEYS, Region
from prelabel.types import Attributes, Float32Array, Mark

NOMINAL_HW = (1000, 1000)
"""Height and width that a video's frames count as having."""

STRAIGHT_WITHIN_PCT = 1.0
"""How far an edge may lie from the line between two keyframes, in percent of the frame, and how
many degrees an angle may."""

MOST_ONWARDS = 250
"""Frames past an end that a track is written for: ten seconds, and each is asked for."""

LOOKS = 16
"""At how many places the way from one keyframe to the next is looked at, at most."""

TurnedBox = tuple[Float32Array, float]
"""A box xyxy (4,) in pixels of `NOMINAL_HW`, and the degrees clockwise by which it is turned about
its centre."""

_NOMINAL_EDGES = np.array([*NOMINAL_HW[::-1], *NOMINAL_HW[::-1]], np.float32)
_KEYFRAME_KEYS = (*NUMBER_KEYS, "rotation")
_DECIMALS = 4
_NO_POINTS = np.zeros((0, 2), np.float32)
_NONE_SEEN = np.zeros(0, np.bool_)


@dataclass(frozen=True, slots=True)
class VideoLength:
    """How long a video is.

    Attributes:
        frames_count: Frames, the last of which has this number.
        duration_s: Seconds.
    """

    frames_count: int
    duration_s: float

    def __post_init__(self) -> None:
        if self.frames_count < 1 or not self.duration_s > 0:
            raise ValueError(
                "frames_count, duration_s: expected 1 or more and more than 0, "
                f"got {self.frames_count}, {self.duration_s}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class DrawnTrack:
    """One object that people drew through a video.

    Attributes:
        name: The id of its region.
        region: Its region, as it was stored.
        marks: The object at each frame that people drew it at, in order; None where they said
            that it is not there. Of all other frames nothing is known.
    """

    name: str
    region: Region
    marks: Mapping[int, Mark | None]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One object's way through a video, to be written.

    Attributes:
        name: What its region is to be called; unique in the result.
        label: Its label; "" where the project has none for videos.
        score: How sure it is, 0..1.
        source: What it comes from.
        lives: The frames that people drew it at, ascending, by its lives: between the first and
            the last frame of one it is there, and where `box_at` knows nothing its way is
            straight, as the editor shows it.
        box_at: Its box at a frame, or None where that is not known or it is not there.
        attributes: What was chosen for it, by the name of the choices' control.
    """

    name: str
    label: str
    score: float
    source: str
    lives: tuple[tuple[int, ...], ...]
    box_at: Callable[[int], TurnedBox | None]
    attributes: Attributes


def read_tracks(result: Sequence[Any], config: LabelConfig, tag: VideoTag) -> list[DrawnTrack]:
    """The tracks that an annotation shows on one video.

    Tracks of a label or control that the config does not have are passed over; so are keyframes
    that are broken.
    """
    regions = [r for r in result if isinstance(r, dict) and isinstance(r.get("value"), dict)]
    chosen = chosen_by_region(regions, config)
    tracks = []
    for region in regions:
        control, identity = config.control(str(region.get("from_name"))), region.get("id")
        if control is None or (control.tag, control.to_name) != ("VideoRectangle", tag.name):
            continue
        label = _label(region["value"], control, config)
        if label is None or not isinstance(identity, str) or not identity:
            continue
        described = chosen.get(identity, {})
        name = plain_id(identity)
        marks = {
            frame: None
            if drawn is None
            else Mark(
                control.name, label, drawn[0], described, _NO_POINTS, _NONE_SEEN, name, drawn[1]
            )
            for frame, drawn in _boxes(region["value"]).items()
        }
        if marks:
            tracks.append(DrawnTrack(name, region, marks))
    return tracks


def video_regions(
    tracks: Sequence[Track],
    control: Control,
    labels: Control | None,
    length: VideoLength,
    choices: Mapping[str, Control] = NO_CHOICES,
) -> list[Region]:
    """Tracks as regions of a prediction.

    Each has a keyframe where people drew it, where it comes and goes, and where its way leaves
    the straight line between two keyframes by more than `STRAIGHT_WITHIN_PCT`.

    Args:
        tracks: What to write. Those that are nowhere to be seen are left out, and those with a
            label that `labels` does not have.
        control: The `<VideoRectangle>`.
        labels: The `<Labels>` of the same video, or None.
        length: The length of the video.
        choices: The per-region `<Choices>` of the video by name, for `Track.attributes`.
    """
    regions: list[Region] = []
    for track in tracks:
        sequence = list(_keyframes(track, length))
        if not sequence or (labels and track.label not in labels.stored_labels):
            continue
        way = {
            "framesCount": length.frames_count,
            "duration": length.duration_s,
            "sequence": sequence,
        }
        regions.append(
            {
                "id": track.name,
                "from_name": control.name,
                "to_name": control.to_name,
                "type": control.result_type,
                "value": {**way, "labels": [track.label]} if labels else way,
                "score": round(track.score, _DECIMALS),
                "meta": {"source": track.source},
            }
        )
        regions += _choices_of(track, control, choices, way)
    return regions


def _choices_of(
    track: Track, control: Control, choices: Mapping[str, Control], way: Mapping[str, Any]
) -> Iterator[Region]:
    """What was chosen for a track, as results of the same id.

    Without its labels: the editor would take them off the track again.
    """
    for name, stored in track.attributes.items():
        known = choices[name].stored_labels if name in choices else ()
        chosen = [choice for choice in stored if choice in known]
        if chosen:
            yield {
                "id": track.name,
                "from_name": name,
                "to_name": control.to_name,
                "type": "choices",
                "value": {**way, "choices": chosen},
            }


def length_of(value: Mapping[str, Any]) -> VideoLength | None:
    """The length of the video in a region's value, or None where it is not said."""
    count = value.get("framesCount")
    if is_size(count) and are_numbers(value, ("duration",)) and value["duration"] > 0:
        return VideoLength(count, float(value["duration"]))
    return None


def _label(value: Mapping[str, Any], control: Control, config: LabelConfig) -> str | None:
    """The label of a track, "" where videos have none; None where the config lacks it."""
    labels = config.labels_beside(control)
    if labels is None:
        return ""
    return next(iter(known_labels(value.get("labels"), labels.stored_labels)), None)


def _boxes(value: Mapping[str, Any]) -> dict[int, TurnedBox | None]:
    """Nominal boxes by frame, in order; None right before a life and right behind it."""
    listed = value.get("sequence")
    keyframes = [
        keyframe
        for keyframe in (listed if isinstance(listed, list) else [])
        if isinstance(keyframe, dict)
        and is_size(keyframe.get("frame"))
        and are_numbers({**keyframe, "rotation": keyframe.get("rotation") or 0.0}, _KEYFRAME_KEYS)
    ]
    boxes: dict[int, TurnedBox | None] = {}
    gone = True
    for keyframe in sorted(keyframes, key=lambda one: int(one["frame"])):
        frame = int(keyframe["frame"])
        box, turn = drawn_box(keyframe, NOMINAL_HW)
        (box,), (visible,) = within_image(box[None], turn, NOMINAL_HW)
        if (visible > 0).all():
            if gone and frame > 1:
                boxes.setdefault(frame - 1, None)
            boxes[frame] = box, turn
            gone = keyframe.get("enabled") is False
            if gone:
                boxes[frame + 1] = None
    return boxes


def _keyframes(track: Track, length: VideoLength) -> Iterator[dict[str, Any]]:
    lives = list(_within(track.lives, length.frames_count))
    limits = [*(life[0] - 1 for life in lives[1:]), length.frames_count]
    reached = 0
    for life, limit in zip(lives, limits, strict=False):  # where no life is left, a limit is
        frames, way = _way(track.box_at, life, reached + 1, limit)
        if not len(frames):
            continue
        reached = int(frames[-1])
        fixed = np.flatnonzero(np.isin(frames, [frames[0], *life, frames[-1]])).tolist()
        for row in _bends(frames, way, fixed):
            frame = int(frames[row])
            x1, y1, x2, y2, turn = (round(float(number), _DECIMALS) for number in way[row])
            yield {
                "frame": frame,
                "time": round(frame * length.duration_s / length.frames_count, _DECIMALS),
                "enabled": frame < reached or reached == length.frames_count,
                "x": x1,
                "y": y1,
                "width": round(x2 - x1, _DECIMALS),
                "height": round(y2 - y1, _DECIMALS),
                "rotation": turn,
            }


def _within(lives: Sequence[Sequence[int]], frames_count: int) -> Iterator[list[int]]:
    for life in lives:
        inside = [frame for frame in life if frame <= frames_count]
        if inside:
            yield inside


def _way(
    box_at: Callable[[int], TurnedBox | None], life: Sequence[int], first: int, last: int
) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]]]:
    """The frames of a life that were looked at (N,), and the boxes there (N, 5).

    A row is x1, y1, x2, y2 in percent and an angle in degrees, as the editor draws straight lines
    between them: of the box turned back about its first corner, and the short way round.

    It goes on before its first and after its last keyframe for as long as there is a box, within
    the frames `first` to `last`, at most `MOST_ONWARDS`. Between two keyframes, `LOOKS` frames are
    enough.
    """
    asked = set(life)
    for low, high in pairwise(life):
        asked |= set(np.linspace(low, high, min(high - low, LOOKS) + 1).astype(int).tolist())
    seen = {frame: box for frame in asked if (box := box_at(frame)) is not None}
    for onwards in (range(life[0] - 1, first - 1, -1), range(life[-1] + 1, last + 1)):
        for frame in onwards[:MOST_ONWARDS]:
            box = box_at(frame)
            if box is None:
                break
            seen[frame] = box
    frames = sorted(seen)
    boxes = np.array([seen[frame][0] for frame in frames], np.float32).reshape(-1, 4)
    turns = np.unwrap(np.array([seen[frame][1] for frame in frames], np.float64), period=360)
    drawn, _ = within_image(boxes, turns, NOMINAL_HW)
    for row in np.flatnonzero(turns):
        drawn[row] += np.tile(first_corner(drawn[row], turns[row]) - drawn[row, :2], 2)
    return np.array(frames, np.int64), np.column_stack([100 * drawn / _NOMINAL_EDGES, turns])


def _bends(
    frames: NDArray[np.int64], way: NDArray[np.floating[Any]], fixed: Sequence[int]
) -> list[int]:
    """Rows of a way (N, 5) between which it runs straight: the fixed ones and those it needs.

    Where a stretch is not straight, the row farthest from the line divides it.
    """
    rows = set(fixed)
    stretches = list(pairwise(fixed))
    while stretches:
        low, high = stretches.pop()
        passed = (frames[low : high + 1] - frames[low]) / (frames[high] - frames[low])
        line = way[low] + passed[:, None] * (way[high] - way[low])
        away = np.abs(way[low : high + 1] - line).max(1)
        bend = low + int(away.argmax())
        if away.max() > STRAIGHT_WITHIN_PCT:
            rows.add(bend)
            stretches += [(low, bend), (bend, high)]
    return sorted(rows)
