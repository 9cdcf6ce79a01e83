"""The sequence learner: from marked frames to what should be on the frames around them."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

from prelabel.learning.clip import Clip, Kind, Options, as_drawn
from prelabel.learning.frames import FrameKey, whole
from prelabel.learning.marks import FrameAnswer, MarkedFrame
from prelabel.learning.packing import Arrays, digest, pack

__all__ = ["TODAY", "Learned", "Lesson", "Options", "learn"]

TODAY = "today_"
"""What the names of the arrays begin with that hold what people say now."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What came of learning.

    Attributes:
        learned: What was learnt; None where no label of any sequence has enough marks.
        frames: What people say of each frame, but of sequences that were left out.
        sample_count: The most marks that any control and label has in one sequence.
        required_samples: How many it needs.
        warnings: What was left out, why, and what to do; for people.
    """

    learned: "Learned | None"
    frames: tuple[MarkedFrame, ...]
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
        Learned(usable, options) if enough else None,
        tuple(usable),
        sample_count,
        options.min_samples,
        warnings,
    )


class Learned:
    """What was learnt; answers for frames. Nothing changes it; threads may share it.

    Attributes:
        frames: The annotated frames that it learnt from, by sequence and number.
        options: How it learnt.
        today: What people say now, where they changed it and what that teaches was refused: it
            stands on their own frames, and is carried nowhere. None where `frames` are up to date.
        digest: Equal for equal frames and options.
        kinds: Of each sequence, the controls and labels with enough marks to be carried.
    """

    def __init__(
        self,
        frames: Sequence[MarkedFrame],
        options: Options,
        today: Sequence[MarkedFrame] | None = None,
    ) -> None:
        self.frames = _in_order(frames)
        self.options = options
        self.today = None if today is None else _in_order(today)
        self.digest = digest(self.packed(), json.dumps(asdict(options)))
        self.kinds = _kinds(self.frames, options.min_samples)
        self._clips = {
            name: Clip(members, self.kinds.get(name, ()), options)
            for name, members in by_sequence(self.frames).items()
        }
        self._tasks = {frame.key: frame.task for frame in (*self.frames, *(self.today or ()))}
        self._said = {frame.key: frame for frame in self.today or ()}
        self._outdated: set[FrameKey] = set()
        if self.today is not None:
            alive = {frame.key.sequence for frame in self.today}
            self._clips = {name: clip for name, clip in self._clips.items() if name in alive}
            self._outdated = {frame.key for frame in self.frames} - self._said.keys()

    def showing(self, frames: Sequence[MarkedFrame]) -> "Learned":
        """The same tracks, but with what people say now on the frames that they annotated.

        A frame whose annotation was deleted is as if nobody had ever known it, and so is a
        sequence in which no annotation is left.
        """
        now = _in_order(frames)
        is_same = digest(pack(now), "") == digest(pack(self.frames), "")
        return Learned(self.frames, self.options, None if is_same else now)

    def packed(self) -> Arrays:
        """What people said, of then and of now, as arrays."""
        arrays = pack(self.frames)
        return arrays if self.today is None else arrays | pack(self.today, TODAY)

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
        said = self._said.get(key)
        if said is not None:
            return as_drawn(said)
        clip = self._clips.get(key.sequence)
        return clip.at(key.index) if clip and key not in self._outdated else None

    def annotated_on(self, key: FrameKey) -> int | None:
        """The task that a frame was annotated on; None where that is not known."""
        return self._tasks.get(key)


def _in_order(frames: Sequence[MarkedFrame]) -> tuple[MarkedFrame, ...]:
    return tuple(sorted(frames, key=lambda frame: (frame.key.sequence, frame.key.index)))


def by_sequence(frames: Sequence[MarkedFrame]) -> dict[str, list[MarkedFrame]]:
    """The frames of each sequence, in the order given."""
    members: dict[str, list[MarkedFrame]] = {}
    for frame in frames:
        members.setdefault(frame.key.sequence, []).append(frame)
    return members


def _counts(frames: Sequence[MarkedFrame]) -> Mapping[tuple[str, Kind], int]:
    """How many marks each kind has in each sequence; all tracks of a video count together."""
    return Counter(
        (whole(frame.key.sequence), (mark.control, mark.label))
        for frame in frames
        for mark in frame.marks
    )


def _kinds(frames: Sequence[MarkedFrame], min_samples: int) -> dict[str, tuple[Kind, ...]]:
    """The kinds of each sequence that have enough marks."""
    counts = _counts(frames)
    met = {
        (frame.key.sequence, (mark.control, mark.label)) for frame in frames for mark in frame.marks
    }
    enough: dict[str, tuple[Kind, ...]] = {}
    for sequence, kind in sorted(met):
        if counts[whole(sequence), kind] >= min_samples:
            enough[sequence] = (*enough.get(sequence, ()), kind)
    return enough
