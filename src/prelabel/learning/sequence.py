"""The sequence learner: from marked frames to what should be on the frames around them."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

from prelabel.learning.clip import Clip, Kind, Options
from prelabel.learning.frames import FrameKey
from prelabel.learning.marks import FrameAnswer, MarkedFrame
from prelabel.learning.packing import digest, pack
from prelabel.learning.tracks import Track

__all__ = ["Learned", "Lesson", "Options", "learn"]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What came of learning.

    Attributes:
        learned: What was learnt; None where no label of any sequence has enough marks.
        sample_count: The most marks that any control and label has in one sequence.
        required_samples: How many it needs.
        warnings: What was left out, why, and what to do; for people.
    """

    learned: "Learned | None"
    sample_count: int
    required_samples: int
    warnings: tuple[str, ...]


def learn(frames: Sequence[MarkedFrame], options: Options) -> Lesson:
    """Learn from all marked frames of a project, in any order.

    Two annotated frames with one key are two videos under one name, or the same frame twice; their
    sequence is left out, with a warning.
    """
    twice = Counter(frame.key for frame in frames)
    ambiguous = sorted({key.sequence for key, times in twice.items() if times > 1})
    warnings = tuple(
        f"Sequence {name!r} is left out: two annotated tasks show the same frame of it. If they "
        "come from two videos, give each task a `video` key in its data that says which."
        for name in ambiguous
    )
    usable = [frame for frame in frames if frame.key.sequence not in ambiguous]
    sample_count = max(_counts(usable).values(), default=0)
    enough = sample_count >= options.min_samples and sample_count > 0
    return Lesson(
        Learned(usable, options) if enough else None, sample_count, options.min_samples, warnings
    )


class Learned:
    """What was learnt; answers for frames. Nothing changes it; threads may share it.

    Attributes:
        frames: The annotated frames, by sequence and number.
        options: How it learnt.
        digest: Equal for equal frames and options.
        kinds: Of each sequence, the controls and labels with enough marks to be carried.
    """

    def __init__(self, frames: Sequence[MarkedFrame], options: Options) -> None:
        self.frames = tuple(sorted(frames, key=lambda frame: (frame.key.sequence, frame.key.index)))
        self.options = options
        self.digest = digest(pack(self.frames), json.dumps(asdict(options)))
        self.kinds = _kinds(self.frames, options.min_samples)
        self._clips = {
            name: Clip(members, self.kinds.get(name, ()), options)
            for name, members in by_sequence(self.frames).items()
        }

    @property
    def sequences(self) -> Collection[str]:
        """The names of all sequences with annotated frames."""
        return self._clips.keys()

    def at(self, key: FrameKey) -> FrameAnswer | None:
        """What should be on a frame.

        Returns:
            On an annotated frame what people drew; on others what is carried there from the
            annotated frames around; no carried marks where the annotated frames on either side
            are empty. None where the learner does not know: in an unknown sequence, too far from
            every annotated frame, or too unsure.
        """
        clip = self._clips.get(key.sequence)
        return clip.at(key.index) if clip else None

    def tracks(self, sequence: str) -> tuple[Track, ...]:
        """The objects of a sequence, over its annotated frames; () for an unknown sequence."""
        clip = self._clips.get(sequence)
        carriers = clip.carriers if clip else ()
        return tuple(track for carrier in carriers for track in carrier.tracks)


def by_sequence(frames: Sequence[MarkedFrame]) -> dict[str, list[MarkedFrame]]:
    """The frames of each sequence, in the order given."""
    members: dict[str, list[MarkedFrame]] = {}
    for frame in frames:
        members.setdefault(frame.key.sequence, []).append(frame)
    return members


def _counts(frames: Sequence[MarkedFrame]) -> Mapping[tuple[str, Kind], int]:
    """How many marks each kind has in each sequence."""
    return Counter(
        (frame.key.sequence, (mark.control, mark.label)) for frame in frames for mark in frame.marks
    )


def _kinds(frames: Sequence[MarkedFrame], min_samples: int) -> dict[str, tuple[Kind, ...]]:
    """The kinds of each sequence that have enough marks."""
    enough: dict[str, tuple[Kind, ...]] = {}
    for (sequence, kind), count in sorted(_counts(frames).items()):
        if count >= min_samples:
            enough[sequence] = (*enough.get(sequence, ()), kind)
    return enough
