"""What a project's annotated tasks teach: each submitted frame with what people marked on it."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prelabel.errors import ImageMissing
from prelabel.labelstudio.config import ImageTag, LabelConfig, VideoTag
from prelabel.labelstudio.regions.marks import keep, read_marks
from prelabel.labelstudio.regions.video import NOMINAL_HW, read_tracks
from prelabel.learning.frames import TRACK, FrameKey, frame_key
from prelabel.learning.marks import MarkedFrame

_LEARNABLE = ("RectangleLabels", "KeyPointLabels")


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """What a learner can learn from.

    Attributes:
        frames: Annotated frames, in the order of their tasks. Two may have one key, where tasks
            of two videos are called the same.
        annotated: How many tasks have an annotation that counts, usable or not.
        warnings: Why some of them teach nothing: one line per reason, with what to do.
    """

    frames: tuple[MarkedFrame, ...]
    annotated: int
    warnings: tuple[str, ...]


def lessons(
    tasks: Iterable[Any], config: LabelConfig, default_box_pct: tuple[float, float]
) -> Lessons:
    """Read the tasks of a project.

    Of each task the newest annotation counts that was not cancelled; one without regions says
    that nothing is there. Drafts never count. Tasks without an annotation are passed over. The
    pages of a `valueList` are pages of a document, not frames, and teach nothing.

    A task with a `<Video>` teaches one sequence per track (`video_sequence`): a keyframe of one
    object says nothing of the others, which would seem absent on it if they shared a sequence.
    The first frame of each has the whole track as `drawn`.

    Args:
        tasks: Tasks as the API gives them with all fields, read one at a time.
        config: The project's label config.
        default_box_pct: Width and height, in percent of the image, of the box that a lone
            keypoint counts as.
    """
    reading = _Reading(config, default_box_pct)
    for task in tasks:
        reading.add(task)
    return Lessons(tuple(reading.frames), reading.annotated, tuple(reading.doubts.lines()))


def sequence_key(
    task_data: Mapping[str, Any],
    uri: str,
    tag: ImageTag,
    config: LabelConfig,
    inner_id: int | None,
    task_id: int | None,
) -> FrameKey | None:
    """The frame that an image tag shows of a task, or None where that cannot be told.

    Where a config shows several images, the frames of each tag are sequences of their own.
    """
    key = frame_key(task_data, uri, inner_id=inner_id, task_id=task_id)
    if key is None or len(config.images) == 1:
        return key
    return FrameKey(f"{tag.name}:{key.sequence}", key.index)


def uploaded_sequences(frames: Iterable[MarkedFrame]) -> frozenset[str]:
    """Sequences of uploads: there, two videos whose files have equal names look like one."""
    return frozenset(f.key.sequence for f in frames if "/upload/" in f.key.sequence)


def mixed_sequences(
    tasks: Iterable[Mapping[str, Any]], config: LabelConfig, among: Collection[str]
) -> frozenset[str]:
    """Of some sequences those of which two tasks show the same frame: two videos under one name.

    Args:
        tasks: All tasks of the project, annotated or not, with `id` and `data`.
        config: The project's label config.
        among: The sequences in question.
    """
    met: set[FrameKey] = set()
    mixed: set[str] = set()
    for task in tasks:
        data = _mapping(task.get("data"))
        for tag in config.images:
            try:
                uris = tag.uris(data)
            except ImageMissing:
                continue
            key = sequence_key(data, uris[0], tag, config, None, _number(task.get("id")))
            if key is not None and key.sequence in among:
                (mixed.add(key.sequence) if key in met else met.add(key))
    return frozenset(mixed)


def without(taught: Lessons, mixed: Collection[str]) -> Lessons:
    """The lessons less the sequences that are more than one video, with a warning for each."""
    frames = tuple(frame for frame in taught.frames if frame.key.sequence not in mixed)
    warnings = tuple(
        f"Sequence {name!r} is left out: two tasks of the project show the same frame of it. Give "
        "the data of its tasks a `video` that tells the videos apart."
        for name in sorted(mixed)
    )
    return Lessons(frames, taught.annotated, (*taught.warnings, *warnings))


def video_sequence(tag: VideoTag, task_id: int | None, track: str = "") -> str:
    """The sequence that a track through a task's video is; without a track, how all of them begin.

    Videos are told apart by their tasks: each is annotated in its own.
    """
    return f"{tag.name}:task {task_id}{TRACK}{track}"


def newest_annotation(task: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A task's annotation that was changed last and not cancelled, or None."""
    listed = task.get("annotations")
    submitted = [
        annotation
        for annotation in (listed if isinstance(listed, list) else [])
        if isinstance(annotation, dict)
        and not annotation.get("was_cancelled")
        and isinstance(annotation.get("result"), list)
    ]
    return max(submitted, key=_age_rank, default=None)


def _age_rank(annotation: Mapping[str, Any]) -> tuple[float, int]:
    """Greater for what is newer: by the last change, else by the id."""
    number = annotation.get("id")
    try:
        changed = datetime.fromisoformat(
            str(annotation.get("updated_at") or annotation.get("created_at"))
        ).timestamp()
    except (ValueError, OverflowError):
        changed = 0.0
    return changed, number if isinstance(number, int) else 0


@dataclass(slots=True)
class _Doubts:
    """Why things teach nothing: each reason with how often it was met, and an example."""

    _met: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, thing: str, reason: str, next_step: str) -> None:
        self._met.setdefault((reason, next_step), []).append(thing)

    def lines(self) -> Iterator[str]:
        for (reason, next_step), things in self._met.items():
            others = f" and {len(things) - 1} more" if len(things) > 1 else ""
            yield f"{things[0]}{others}: {reason}. {next_step}"


class _Reading:
    """Frames as tasks come in."""

    def __init__(self, config: LabelConfig, default_box_pct: tuple[float, float]) -> None:
        self._config = config
        self._default_box_pct = default_box_pct
        drawn_on = {c.to_name for c in config.controls if c.tag in _LEARNABLE}
        self._tags = [tag for tag in config.images if tag.name in drawn_on]
        self.frames: list[MarkedFrame] = []
        self.annotated = 0
        self.doubts = _Doubts()

    def add(self, task: Any) -> None:
        """Read one task."""
        if not isinstance(task, Mapping):
            self.doubts.add(
                "an entry", "it is no task", "Send tasks as Label Studio's API gives them."
            )
            return
        annotation = newest_annotation(task)
        if annotation is None:
            return
        self.annotated += 1
        for tag in self._tags:
            key = self._key(task, tag)
            if key is not None:
                self.frames.append(
                    self._frame(key, annotation["result"], tag, _number(task.get("id")))
                )
        for video in self._config.videos:
            self.frames += self._tracked(task, annotation["result"], video)

    def _key(self, task: Mapping[str, Any], tag: ImageTag) -> FrameKey | None:
        data, name = _mapping(task.get("data")), f"task {task.get('id')}"
        if tag.is_list:
            self.doubts.add(
                name,
                "its pages are no frames of a sequence",
                "To learn from them, import each as a task of its own.",
            )
            return None
        try:
            (uri,) = tag.uris(data)
        except ImageMissing as error:
            self.doubts.add(name, f"the {error.thing} holds no image address", error.next_step)
            return None
        key = sequence_key(
            data, uri, tag, self._config, _number(task.get("inner_id")), _number(task.get("id"))
        )
        if key is None:
            self.doubts.add(
                name,
                "nothing tells which frame of which sequence it is",
                "Give its data a `video` and a `frame`, or number the file names.",
            )
        return key

    def _frame(
        self, key: FrameKey, result: list[Any], tag: ImageTag, task_id: int | None
    ) -> MarkedFrame:
        if len(self._config.images) > 1:
            result = [r for r in result if isinstance(r, dict) and r.get("to_name") == tag.name]
        image_hw, marks = read_marks(result, self._config, self._default_box_pct)
        return MarkedFrame(key, image_hw, marks, keep(result), task_id)

    def _tracked(
        self, task: Mapping[str, Any], result: list[Any], tag: VideoTag
    ) -> Iterator[MarkedFrame]:
        for track in read_tracks(result, self._config, tag):
            sequence = video_sequence(tag, _number(task.get("id")), track.name)
            drawn = keep([track.region])
            for number, mark in track.marks.items():
                marks = () if mark is None else (mark,)
                yield MarkedFrame(FrameKey(sequence, number), NOMINAL_HW, marks, drawn)
                drawn = b""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and abs(value) < 2**63 else None  # as databases count
