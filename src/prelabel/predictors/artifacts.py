"""Transient distortions by OpenCV alone: what one frame shows and both its neighbours do not.

Each neighbour is warped onto the frame along dense optical flow (DIS). Where the frame differs
from both, in brightness or in sharpness, something is there for one frame only. This sees what
flickers; damage that persists over frames looks like the rest of the picture.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import structlog

from prelabel.errors import PrelabelError
from prelabel.geometry import clip_boxes
from prelabel.predictors import registry
from prelabel.predictors.base import Answer
from prelabel.predictors.body_parts import PartLocator, covering_part
from prelabel.predictors.cores import usable_cores
from prelabel.predictors.pose_parts import PosePartLocator
from prelabel.predictors.wholebody import build_embedded
from prelabel.types import (
    DISTORTION_WORDS,
    Ask,
    Detections,
    Float32Array,
    Image,
    Phrase,
    UInt8Array,
)

log = structlog.get_logger(__name__)

NAME = "opencv-fallback"

WORKING_WIDTH = 640
"""Frames are looked at no wider than this, in pixels."""
MIN_Z = 13.0
"""Evidence, in robust standard deviations of the frame's own, from which a spot is boxed."""
MIN_WORKING_SIDE = 32
"""Frames narrower than this at working size, in pixels, have no flow to speak of."""
MIN_AREA, MAX_AREA = 0.002, 0.25
"""Share of the frame that a spot must cover, and that its box may cover."""
MAX_BOXES = 3
MAX_SCORE = 0.55
"""The strongest evidence comes near it, the weakest that is boxed gets half of it."""
MAX_MEDIAN_RESIDUAL = 10.0
"""A neighbour from which half the frame differs by more grey levels is another scene."""
MAD_FLOOR = 0.25
"""Grey levels; keeps a still, noise-free frame from making evidence of nothing."""


class ArtifactDetector:
    """Boxes transient distortions; needs the frames before and after, and no weights."""

    name = NAME
    wants_neighbours = True
    batch_size = 1

    def __init__(self, locator: PartLocator | None = None, fingerprint: str = "") -> None:
        """Take a locator of body parts, or None: then each box's part is "other"."""
        self._locator = locator
        self.fingerprint = fingerprint

    @property
    def calls_at_once(self) -> int:
        """One per core: most of what OpenCV does with one frame keeps one core busy."""
        return usable_cores()

    def why_blind(self, ask: Ask) -> str:
        """It knows distortions, and no things."""
        if any(_means_distortion(phrase) for phrase in ask.phrases):
            return ""
        return f"{NAME} finds distortions only, and no label names one"

    def check(self) -> None:
        """There is nothing that could be missing."""

    def load(self) -> None:
        """Nothing to load; a locator loads itself when first asked."""

    def predict(self, images: Sequence[Image], ask: Ask) -> Answer:
        """Boxes per image, best first.

        None where the ask names no distortion, or where a frame has no neighbours to be judged
        by: a guess would cost people more than it saves them. The latter is no error: it would
        take the poses and what was learnt from the task, and nobody can mend a first frame.
        """
        phrases = [phrase for phrase in ask.phrases if _means_distortion(phrase)]
        return [self._answer(image, phrases, ask.min_score or 0.0) for image in images]

    def health(self) -> dict[str, object]:
        """Always ready, on the processor."""
        return {"loaded": True, "device": "cpu", "reason": ""}

    def _answer(self, image: Image, phrases: list[Phrase], min_score: float) -> Detections:
        evidence = damage_evidence(image) if phrases else None
        if evidence is None:
            return Detections.none(NAME)
        boxes, strengths = boxes_of_evidence(evidence)
        scores = MAX_SCORE * strengths / (strengths + MIN_Z)
        kept = scores >= min_score
        if not kept.any():
            return Detections.none(NAME)
        height, width = evidence.shape
        scale = np.array([image.width / width, image.height / height] * 2, np.float32)
        boxes = clip_boxes(boxes[kept] * scale, (image.height, image.width))
        parts = self._parts(image)
        body_parts = tuple(covering_part(box, parts) or "other" for box in boxes)
        return Detections(
            boxes_xyxy=boxes,
            scores=scores[kept].astype(np.float32),
            labels=tuple(_label(part, phrases) for part in body_parts),
            body_parts=body_parts,
            source=NAME,
        )

    def _parts(self, image: Image) -> Detections:
        """Located body parts; a box without a part's name is better than no box."""
        if self._locator is None:
            return Detections.none(NAME)
        try:
            return self._locator.locate(image)
        except PrelabelError as error:
            log.warning("body parts not located", image=image.name, reason=str(error))
            return Detections.none(NAME)


def build(options: Mapping[str, Any]) -> ArtifactDetector:
    """The detector, with the embedded pose to name body parts where onnxruntime is installed."""
    can_locate = find_spec("onnxruntime") is not None
    locator = PosePartLocator(build_embedded(options)) if can_locate else None
    fingerprint = registry.fingerprint({"parts": can_locate}, {"parts": True})
    return ArtifactDetector(locator, fingerprint)


def damage_evidence(image: Image) -> Float32Array | None:
    """How far each spot of a frame is from what both its neighbours make expect.

    Args:
        image: A frame with the frames before and after it.

    Returns:
        (h, w) float32, robust standard deviations over the frame's own median, at most
        `WORKING_WIDTH` wide; None where a neighbour is missing, of another size or another scene,
        or where the frame is a strip.
    """
    if image.before is None or image.after is None:
        return None
    sides = (image.before, image.after)
    if any((side.height, side.width) != (image.height, image.width) for side in sides):
        return None
    frame = _working_grey(image.pixels_rgb)
    if min(frame.shape) < MIN_WORKING_SIDE:
        return None
    sharpness = _sharpness(frame)
    residuals, changes = [], []
    for side in sides:
        neighbour = _working_grey(side.pixels_rgb)
        warp = _warp_onto(frame, neighbour)
        residual = np.abs(frame - warp(neighbour.astype(np.float32)))
        if float(np.median(residual)) > MAX_MEDIAN_RESIDUAL:
            return None
        residuals.append(residual)
        changes.append(np.abs(sharpness - warp(_sharpness(neighbour))))
    evidence: Float32Array = np.maximum(
        _robust_z(np.minimum(*residuals)), _robust_z(np.minimum(*changes))
    )
    return evidence


def boxes_of_evidence(evidence: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Boxes around the spots where evidence is strong, best first, `MAX_BOXES` at most.

    Args:
        evidence: (h, w), as from `damage_evidence`.

    Returns:
        (N, 4) float32 boxes xyxy in pixels of the evidence, (N,) float32 mean evidence of each
        box's spot.
    """
    import cv2  # noqa: PLC0415 - the server starts without OpenCV

    area = evidence.shape[0] * evidence.shape[1]
    size = _window(evidence.shape[1])
    strong = (evidence > MIN_Z).astype(np.uint8)
    closed = cv2.morphologyEx(strong, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))
    _, spot_of_pixel, spots, _ = cv2.connectedComponentsWithStats(closed)
    found: list[tuple[float, list[int]]] = []
    for spot, (x, y, width, height, pixels) in enumerate(spots.tolist()):
        if spot > 0 and pixels >= MIN_AREA * area and width * height <= MAX_AREA * area:
            inside = spot_of_pixel[y : y + height, x : x + width] == spot
            strength = float(evidence[y : y + height, x : x + width][inside].mean())
            found.append((strength, [x, y, x + width, y + height]))
    found.sort(key=lambda spot: -spot[0])
    best = found[:MAX_BOXES]
    boxes = np.array([box for _, box in best], np.float32).reshape(-1, 4)
    return boxes, np.array([strength for strength, _ in best], np.float32)


def _means_distortion(phrase: Phrase) -> bool:
    words = f"{phrase.text} {phrase.label}".lower()
    return any(word in words for word in DISTORTION_WORDS)


def _label(body_part: str, phrases: list[Phrase]) -> str:
    """The label of the phrase for this part, else of one for no part, else of the first."""
    for wanted in (body_part, None):
        for phrase in phrases:
            if phrase.body_part == wanted:
                return phrase.label
    return phrases[0].label


def _working_grey(pixels_rgb: UInt8Array) -> UInt8Array:
    import cv2  # noqa: PLC0415 - the server starts without OpenCV

    grey: UInt8Array = cv2.cvtColor(pixels_rgb, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    scale = WORKING_WIDTH / width
    if scale < 1:
        size = (WORKING_WIDTH, max(1, round(height * scale)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return grey


def _warp_onto(frame: UInt8Array, neighbour: UInt8Array) -> Callable[[Float32Array], Float32Array]:
    """A function that moves an array (h, w) float32 of the neighbour onto the frame."""
    import cv2  # noqa: PLC0415 - the server starts without OpenCV

    # A flow object of its own for each call: it holds buffers and is not thread-safe.
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(frame, neighbour, None)
    height, width = frame.shape
    columns, rows = np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    )
    columns, rows = columns + flow[..., 0], rows + flow[..., 1]

    def warp(array: Float32Array) -> Float32Array:
        moved: Float32Array = cv2.remap(
            array, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return moved

    return warp


def _sharpness(grey: UInt8Array) -> Float32Array:
    import cv2  # noqa: PLC0415 - the server starts without OpenCV

    edges = np.abs(cv2.Laplacian(grey.astype(np.float32), cv2.CV_32F))
    sharpness: Float32Array = cv2.blur(edges, (9, 9))
    return sharpness


def _robust_z(signal: Float32Array) -> Float32Array:
    import cv2  # noqa: PLC0415 - the server starts without OpenCV

    size = _window(signal.shape[1])
    smooth = cv2.blur(signal, (size, size))
    median = np.median(smooth)
    spread = 1.4826 * np.median(np.abs(smooth - median)) + MAD_FLOOR  # 1.4826: MAD to sigma
    z: Float32Array = ((smooth - median) / spread).astype(np.float32)
    return z


def _window(width: int) -> int:
    """Side of the windows for smoothing and closing: odd, a fortieth of the width, 9 or more."""
    return max(9, math.floor(width / 40) | 1)
