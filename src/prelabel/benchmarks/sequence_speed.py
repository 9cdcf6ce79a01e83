"""How long it takes to learn, to check what was learnt, and to answer for a frame."""

from time import perf_counter

import numpy as np

from prelabel.learning.archive import dumps, loads
from prelabel.learning.frames import FrameKey
from prelabel.learning.gate import figures, judge
from prelabel.learning.marks import MarkedFrame
from prelabel.learning.sequence import Options, learn
from prelabel.types import Mark

SIZES = ((1000, 5, 0), (300, 2, 133))
"""Annotated frames, objects on each, keypoints of each object."""
STRIDE = 5
IMAGE_HW = 1080, 1920
ANSWERS = 200


def print_speed() -> None:
    """Print one row per size: seconds of a training, bytes, milliseconds of an answer."""
    print(
        f"\nSpeed: objects on smooth paths drawn with a shaking hand, every {STRIDE}th frame "
        f"annotated.\nanswer: median and 95th percentile of {ANSWERS} frames asked for one by one."
    )
    print(f"{'frames':>7}{'objects':>8}{'points':>7}{'learn s':>9}{'figures s':>10}{'judge s':>9}"
          f"{'dumps s':>9}{'MB':>6}{'loads s':>9}{'answer ms':>14}")  # fmt: skip
    for frames, objects, keypoints in SIZES:
        marked = made_up(frames, objects, keypoints)
        old = learn(marked[:-2], Options()).learned
        times = [perf_counter()]
        learned = learn(marked, Options()).learned
        times.append(perf_counter())
        assert learned is not None
        figures(marked, learned)
        times.append(perf_counter())
        judge(marked, learned, old)
        times.append(perf_counter())
        blob = dumps(learned)
        times.append(perf_counter())
        again = loads(blob)
        times.append(perf_counter())
        learning, checking, judging, dumping, loading = np.diff(times)
        waits = []
        asked = np.random.default_rng(1).choice(frames * STRIDE, 2 * ANSWERS, replace=False)
        for index in asked[asked % STRIDE != 0][:ANSWERS].tolist():
            began = perf_counter()
            again.at(FrameKey("made up", index))
            waits.append(1000 * (perf_counter() - began))
        typical, slow = np.percentile(waits, [50, 95])
        print(
            f"{frames:7}{objects:8}{keypoints:7}{learning:9.2f}{checking:10.2f}{judging:9.2f}"
            f"{dumping:9.2f}{len(blob) / 1e6:6.1f}{loading:9.2f}{typical:8.2f}{slow:6.2f}"
        )


def made_up(frames: int, objects: int, keypoints: int) -> list[MarkedFrame]:
    """Annotated frames of a sequence that nobody filmed."""
    chance = np.random.default_rng(0)
    corners = chance.uniform([100, 150], [1700, 850], (objects, 2))
    at = np.arange(frames)[:, None] * STRIDE / 50 + np.arange(objects)
    centres = corners + np.stack([60 * np.sin(at), 40 * np.cos(0.7 * at)], axis=-1)
    half = np.array([30.0, 60.0])
    boxes = np.concatenate([centres - half, centres + half], axis=-1)
    boxes = (boxes + chance.normal(0, 2, boxes.shape)).astype(np.float32)
    points = centres[:, :, None] + chance.normal(0, 20, (frames, objects, keypoints, 2))
    return [
        MarkedFrame(
            FrameKey("made up", frame * STRIDE),
            IMAGE_HW,
            tuple(
                Mark(
                    "label",
                    "distortion",
                    boxes[frame, one],
                    {"body_part": ("hand",)},
                    points[frame, one].astype(np.float32),
                    np.ones(keypoints, bool),
                )
                for one in range(objects)
            ),
            b'[{"type": "rectanglelabels"}]',
        )
        for frame in range(frames)
    ]
