"""What the sequence learner makes of two real videos of walking people, against plain rules."""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise

import numpy as np

from prelabel.benchmarks.tracks import (
    IMAGE_HW,
    VIDEOS,
    Walk,
    boxes_at,
    mark,
    marked_frames,
    read_walks,
    shaken,
)
from prelabel.learning.carry import FRAMES_OUTSIDE, Carrier, Mode
from prelabel.learning.clip import Options
from prelabel.learning.frames import FrameKey
from prelabel.learning.hidden import FOUND_IOU, matches
from prelabel.learning.motion import Ints
from prelabel.learning.samples import paired_iou
from prelabel.learning.sequence import learn
from prelabel.learning.tracks import Track, link
from prelabel.types import Float32Array

NEIGHBOURS = 4
LEAST_SAMPLES = 3
JITTER = 0.05
SEEDS = 5
STRIDES = (2, 5, 10, 20)
MODES: tuple[Mode, ...] = ("linear", "knn", "local_linear", "auto")
COLUMNS = ("copy", *MODES)
RANDOM = 8
LEFT_OVER = 10
BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

METHOD = """\
machine: {machine}
Data: the annotated tracks of the videos TUD-Campus and TUD-Stadtmitte (MOT15), from the
  installed wheel of motmetrics. Boxes as annotated (exact), or with each edge moved by {jitter:.0%}
  of the box's side, standard deviation (jittered); always compared with the exact ones. {seeds}
  draws are averaged where there is chance: in jitter, and in the {random} frames drawn.
IoU: mean IoU where the identities are known. Every n-th frame of each track is annotated, of
  tracks that then have {random} samples; where none has, of those with {least}.
  "past": the {outside} frames after the last annotated one. n: how many boxes were asked for.
F1: of all boxes at IoU >= {iou}, all objects linked by the learner itself, answers of less than
  half confidence left out. Every n-th frame of the video is annotated; "past": the {outside}
  frames after one at the half, at five, six and seven eighths of the video.
copy: the last annotated box, for F1 all boxes of the last annotated frame. The other columns
  are the learner's modes, with {neighbours} neighbours. best-: how much better the best other
  column is."""


@dataclass(slots=True)
class Row:
    """What one row of the table came to.

    Attributes:
        iou: For each column, IoU of each box asked for.
        hits: For each column how many boxes were met, said and there.
        sure: (confidence, IoU) of each answer of auto with its own linking.
    """

    iou: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    hits: dict[str, list[int]] = field(
        default_factory=lambda: {name: [0, 0, 0] for name in COLUMNS}
    )
    sure: list[tuple[float, float]] = field(default_factory=list)


def sequence(*, speed: bool) -> None:
    """Print the table, the reliability of the confidence, and how fast it goes.

    Raises:
        MissingPackage: motmetrics, which carries the tracks, is not installed.
    """
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores; numpy {np.__version__}, "
        f"scipy {version('scipy')}"
    )
    print(
        METHOD.format(
            machine=machine,
            jitter=JITTER,
            seeds=SEEDS,
            random=RANDOM,
            least=LEAST_SAMPLES,
            outside=FRAMES_OUTSIDE,
            iou=FOUND_IOU,
            neighbours=NEIGHBOURS,
        )
    )
    names = [name.replace("local_linear", "local") for name in COLUMNS]
    columns = "".join(f"{name:>7}" for name in names) + f"{'best-':>7}"
    print(f"\n{'video':16}{'boxes':10}{'annotated':18}{'n':>6} |{columns} | F1{columns[2:]}")
    rows: dict[tuple[str, str, str], Row] = {}
    for video in VIDEOS:
        walks = read_walks(video)
        for boxes in ("exact", "jittered"):
            for scene in (*(f"every {n}" for n in STRIDES), f"{RANDOM} random", "all, past",
                          "every 5, past", f"{RANDOM} random, past"):  # fmt: skip
                row = rows[video, boxes, scene] = measure(walks, scene, jittered=boxes != "exact")
                print(f"{video:16}{boxes:10}{scene:18}{len(row.iou['auto']):6} |{_line(row)}")
    _print_reliability(rows)
    if speed:
        from prelabel.benchmarks.sequence_speed import print_speed

        print_speed()


def measure(walks: Sequence[Walk], scene: str, *, jittered: bool) -> Row:
    """Annotate a scene and have the rest filled in."""
    row = Row()
    for seed in range(SEEDS if jittered or "random" in scene else 1):
        generator = np.random.default_rng(seed)
        drawn = [shaken(walk, JITTER, generator) if jittered else walk for walk in walks]
        _known_identities(row, walks, drawn, scene, generator)
        _own_linking(row, walks, drawn, scene, generator)
    return row


def _known_identities(
    row: Row, walks: Sequence[Walk], drawn: Sequence[Walk], scene: str, chance: np.random.Generator
) -> None:
    annotated = [_samples(walk, scene, chance) for walk in walks]
    least = RANDOM if max(map(len, annotated)) >= RANDOM else LEAST_SAMPLES
    known = [number for number, samples in enumerate(annotated) if len(samples) >= least]
    tracks = [_track(drawn[number], annotated[number]) for number in known]
    stride = float(np.median(np.concatenate([np.diff(track.frames) for track in tracks])))
    carriers = {mode: Carrier(tracks, mode, NEIGHBOURS, IMAGE_HW, stride) for mode in MODES}
    for number, (walk, track) in enumerate(zip((walks[n] for n in known), tracks, strict=True)):
        asked = _asked(walk.frames, track.frames, past="past" in scene)
        truth = walk.boxes_xyxy[np.searchsorted(walk.frames, asked)]
        last = np.searchsorted(track.frames, asked) - 1
        row.iou["copy"] += _ious(track.boxes_xyxy[last], truth)
        for mode, carrier in carriers.items():
            carried = carrier.carry(asked)
            own = carried.tracks == number
            found = np.zeros((len(asked), 4), np.float32)
            found[np.searchsorted(asked, carried.frames[own])] = carried.boxes_xyxy[own]
            row.iou[mode] += _ious(found, truth)


def _ious(boxes_xyxy: Float32Array, others_xyxy: Float32Array) -> list[float]:
    ious: list[float] = paired_iou(boxes_xyxy.astype(float), others_xyxy.astype(float)).tolist()
    return ious


def _track(walk: Walk, samples: Ints) -> Track:
    """A track through some boxes of a person, who is known to be one."""
    frames = walk.frames[samples].tolist()
    marks = [[mark(walk.boxes_xyxy[sample], "known")] for sample in samples]
    (track,) = link(frames, marks, max_gap=0)
    return track


def _samples(walk: Walk, scene: str, chance: np.random.Generator) -> Ints:
    """Which of the boxes of a track are annotated."""
    count = len(walk.frames)
    if "random" in scene:
        enough = count >= RANDOM + LEFT_OVER
        return (
            np.sort(chance.choice(count - LEFT_OVER, RANDOM, replace=False))
            if enough
            else np.zeros(0, np.int64)
        )
    return np.arange(0, max(0, count - LEFT_OVER) if "past" in scene else count, _stride(scene))


def _asked(frames: Ints, annotated: Ints, *, past: bool) -> Ints:
    """The frames to be filled in: those in between, or those past the last."""
    first, last = (annotated[-1], annotated[-1] + FRAMES_OUTSIDE) if past else annotated[[0, -1]]
    return np.setdiff1d(frames[(frames > first) & (frames <= last)], annotated)


def _stride(scene: str) -> int:
    return int(scene.split()[1].rstrip(",")) if scene.startswith("every") else 1


def _own_linking(
    row: Row, walks: Sequence[Walk], drawn: Sequence[Walk], scene: str, chance: np.random.Generator
) -> None:
    all_frames = np.unique(np.concatenate([walk.frames for walk in walks]))
    for annotated in _shown(all_frames, scene, chance):
        marked = marked_frames(drawn, annotated.tolist())
        asked = _asked(all_frames, annotated, past="past" in scene)
        lessons = {mode: learn(marked, Options(mode, NEIGHBOURS)).learned for mode in MODES}
        for frame in asked.tolist():
            truth = boxes_at(walks, frame)
            last = marked[int(np.searchsorted(annotated, frame)) - 1]
            _count(row, "copy", truth, [one.box_xyxy for one in last.marks])
            for mode, learned in lessons.items():
                answer = learned.at(FrameKey("video", frame)) if learned else None
                carried = answer.carried if answer else ()
                ious = _count(row, mode, truth, [one.mark.box_xyxy for one in carried])
                if mode == "auto":
                    sure = [one.confidence for one in carried]
                    row.sure += zip(sure, ious, strict=True)


def _shown(frames: Ints, scene: str, chance: np.random.Generator) -> Iterator[Ints]:
    """Which frames of a video are annotated; past an end, in several ways."""
    cuts = [len(frames) * eighths // 8 for eighths in (4, 5, 6, 7)] if "past" in scene else [None]
    for cut in cuts:
        if "random" in scene:
            yield np.sort(chance.choice(frames[:cut], RANDOM, replace=False))
        else:
            yield frames[:cut][:: _stride(scene)]


def _count(row: Row, column: str, truth: Float32Array, said: Sequence[Float32Array]) -> list[float]:
    """Count the boxes met, said and there; the IoU of each one said."""
    boxes = np.stack(said) if said else np.zeros((0, 4), np.float32)
    _, answers, overlaps = matches(truth, boxes)
    ious = np.zeros(len(boxes))
    ious[answers] = overlaps
    counts = row.hits[column]
    counts[0] += int((ious >= FOUND_IOU).sum())
    counts[1] += len(boxes)
    counts[2] += len(truth)
    reached: list[float] = ious.tolist()
    return reached


def _line(row: Row) -> str:
    """The figures of a row: mean IoU, then F1, of each column."""
    iou = {name: float(np.mean(reached)) for name, reached in row.iou.items()}
    f1 = {name: 2 * met / max(1, said + there) for name, (met, said, there) in row.hits.items()}
    return " |".join(
        "".join(f"{value:7.3f}" for value in score.values())
        + f"{max(score[name] for name in COLUMNS if name != 'auto') - score['auto']:7.3f}"
        for score in (iou, f1)
    )


def _print_reliability(rows: dict[tuple[str, str, str], Row]) -> None:
    print("\nReliability of the confidence, auto with its own linking: answers, then their mean "
          "confidence\nand the mean IoU that they reached (0 where nobody was).")  # fmt: skip
    heads = "".join(f"{f'{low:.1f}-{high:.1f}':>19}" for low, high in pairwise(BINS))
    print(f"{'video':16}{'boxes':10}{'where':10}{heads}")
    groups: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for (video, boxes, scene), row in rows.items():
        where = "past" if "past" in scene else "between"
        groups.setdefault((video, boxes, where), []).extend(row.sure)
    groups["all", "", ""] = [pair for row in rows.values() for pair in row.sure]
    for (video, boxes, where), pairs in groups.items():
        table = np.array(pairs).reshape(-1, 2)
        cells = []
        for low, high in pairwise(BINS):
            own = table[(table[:, 0] >= low) & (table[:, 0] < high + (high == 1))]
            cells.append(
                f"{len(own):7}  {own[:, 0].mean():.2f} {own[:, 1].mean():.2f}" if len(own) else ""
            )
        print(f"{video:16}{boxes:10}{where:10}" + "".join(f"{cell:>19}" for cell in cells))
