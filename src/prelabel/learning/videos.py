"""The learner's tracks through a task's video, ready to be written as regions."""

import json
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from prelabel.labelstudio.config import Control, VideoTag
from prelabel.labelstudio.regions.video import Track, TurnedBox, VideoLength, length_of
from prelabel.learning.clip import LEAST_CONFIDENCE
from prelabel.learning.frames import FrameKey
from prelabel.learning.lessons import video_sequence
from prelabel.learning.marks import MarkedFrame
from prelabel.learning.sequence import Learned, by_sequence
from prelabel.types import SEQUENCE


def tracks_through(
    learned: Learned, tag: VideoTag, control: Control, task_id: int
) -> tuple[VideoLength | None, list[Track]]:
    """The tracks that people drew in a task's video, as the learner carries them on.

    Args:
        learned: What was learnt.
        tag: The video.
        control: The `<VideoRectangle>` that they were drawn with.
        task_id: The task's number in Label Studio.

    Returns:
        The length of the video, None where nobody drew a track in it, and the tracks.
    """
    prefix = video_sequence(tag, task_id)
    own = [frame for frame in learned.frames if frame.key.sequence.startswith(prefix)]
    length, tracks = None, []
    for sequence, frames in by_sequence(own).items():
        length = length or _length(frames)
        first = next(mark for frame in frames for mark in frame.marks)
        if first.control == control.name:
            lives = _lives(frames)
            path = _Path(learned, sequence)
            tracks.append(
                Track(
                    name=first.track,
                    label=first.label,
                    score=path.confidence(lives),
                    source=SEQUENCE,
                    lives=lives,
                    box_at=path.box_at,
                    attributes=first.attributes,
                )
            )
    return length, tracks


class _Path:
    """One object in one sequence of its own."""

    def __init__(self, learned: Learned, sequence: str) -> None:
        self._learned = learned
        self._sequence = sequence

    def box_at(self, frame: int) -> TurnedBox | None:
        """Its box, None where it is not there or nothing is known."""
        answer = self._learned.at(FrameKey(self._sequence, frame))
        if not answer or not answer.carried:
            return None
        mark = answer.carried[0].mark
        return mark.box_xyxy, mark.turn

    def confidence(self, lives: Sequence[Sequence[int]]) -> float:
        """The mean confidence half way between keyframes; 1 where all frames are keyframes."""
        halves = [(low + high) // 2 for life in lives for low, high in pairwise(life)]
        return float(np.mean([self._confidence_at(frame) for frame in halves] or [1.0]))

    def _confidence_at(self, frame: int) -> float:
        answer = self._learned.at(FrameKey(self._sequence, frame))
        return answer.carried[0].confidence if answer and answer.carried else LEAST_CONFIDENCE


def _lives(frames: Sequence[MarkedFrame]) -> tuple[tuple[int, ...], ...]:
    """The frames with the object, parted where one without it lies between."""
    lives: list[list[int]] = []
    gone = True
    for frame in frames:
        if frame.marks and gone:
            lives.append([])
        if frame.marks:
            lives[-1].append(frame.key.index)
        gone = not frame.marks
    return tuple(tuple(life) for life in lives)


def _length(frames: Sequence[MarkedFrame]) -> VideoLength | None:
    """The length that the track's region tells, which its first frame holds."""
    return length_of(json.loads(frames[0].drawn)[0]["value"])
