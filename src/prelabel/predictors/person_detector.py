"""Where people are: letterbox, one ONNX person detector, decoded boxes.

Reads what YOLOX (raw heads, or duplicates already suppressed inside) and RTMDet or NanoDet files
answer. Decoding follows the models' own projects (Megvii YOLOX, OpenMMLab RTMDet) and is held
equal to rtmlib 0.0.16 by tests, save that only people come back, with their scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prelabel.errors import ModelError
from prelabel.geometry import clip_boxes, non_maximum_suppression
from prelabel.predictors.planes import IMAGENET_RGB, planes
from prelabel.predictors.sessions import Fits, Outputs, Session, run_in_batches
from prelabel.types import Float32Array, Image, UInt8Array

STRIDES = (8, 16, 32)
BOX_AND_SCORE = 5  # numbers per row where duplicates are suppressed inside the model
PADDING = 114  # the grey that these models were trained with
RAW_MIN_SCORE = 0.7  # rtmlib's thresholds for each form of output
SUPPRESSED_MIN_SCORE = 0.3
RAW_NMS_IOU = 0.45
RAW_MAX_BOXES = 1000  # the surest; suppression compares each with each
MAX_EXPONENT = 14.0  # of a nonsense size, which must not overflow: 2 to the 20 is beyond any image
MIN_SIDE_PX = 2.0
MAX_SIDE_OF_IMAGE = 2.0

TABLES_BGR = {"yolox": None, "rtmdet": IMAGENET_RGB[::-1]}


@dataclass(frozen=True, slots=True)
class DetectorModel:
    """What a detector file expects.

    Attributes:
        family: "yolox" takes BGR 0..255 as it is, "rtmdet" (NanoDet too) normalised.
        side: Side of the input in pixels where the file leaves it free, a multiple of 32.
        rectangular: Cut the padding to the next multiple of 32, where the model takes inputs of
            any size: a quarter to a half faster, boxes as good; single edges move by some pixels.
    """

    family: Literal["yolox", "rtmdet"]
    side: int
    rectangular: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """People found in one image, surest first.

    Attributes:
        boxes_xyxy: (N, 4) float32, pixels, finite; may reach over the image's edges.
        scores: (N,) float32 in 0..1.
    """

    boxes_xyxy: Float32Array
    scores: Float32Array


def canvas_size(
    image_hw: tuple[int, int], input_hw: tuple[int, int], *, rectangular: bool
) -> tuple[tuple[int, int], float]:
    """Height and width of the letterboxed image, and the factor by which it is resized."""
    ratio = min(input_hw[0] / image_hw[0], input_hw[1] / image_hw[1])
    if not rectangular:
        return input_hw, ratio
    height, width = (-(-max(int(side * ratio), 1) // 32) * 32 for side in image_hw)
    return (height, width), ratio


def letterbox(pixels_rgb: UInt8Array, canvas_hw: tuple[int, int], ratio: float) -> UInt8Array:
    """The image resized by `ratio` at the top left of a grey canvas (H, W, 3), still RGB."""
    import cv2  # noqa: PLC0415 - the server imports this module at its start

    height, width = (max(int(side * ratio), 1) for side in pixels_rgb.shape[:2])
    canvas = np.empty((*canvas_hw, 3), np.uint8)
    canvas[height:] = PADDING
    canvas[:, width:] = PADDING
    # A resize to the same size is a copy.
    cv2.resize(pixels_rgb, (width, height), dst=canvas[:height, :width])
    return canvas


def decode(outputs: Outputs, canvas_hw: tuple[int, int], ratios: Sequence[float]) -> list[People]:
    """People of each image of a batch, in the pixels of the image.

    Args:
        outputs: What the model answered: (B, n, 5) boxes with scores, duplicates suppressed, with
            classes (B, n) beside them where it has several; or the raw heads (B, n, 5 + classes).
        canvas_hw: Size of the model's input.
        ratios: The factor by which each image was resized.
    """
    rows = outputs[0]
    if rows.shape[-1] == BOX_AND_SCORE:
        classes = outputs[1] if len(outputs) > 1 else np.zeros(rows.shape[:2], np.int64)
        return [
            _suppressed_people(rows[index], classes[index], ratio)
            for index, ratio in enumerate(ratios)
        ]
    if rows.shape[-1] > BOX_AND_SCORE:
        return [_raw_people(rows[index], canvas_hw, ratio) for index, ratio in enumerate(ratios)]
    raise ModelError(
        "person detector",
        f"its first output has shape {rows.shape}, not (batch, n, 5) or (batch, n, 5 + classes)",
        "Use an ONNX file of YOLOX, RTMDet or NanoDet.",
    )


def size_check(model: DetectorModel) -> Fits | None:
    """What tells whether a detector runs at other sizes than its file says, where that helps.

    Only raw heads show it, with a row for each cell; files that suppress duplicates themselves
    would have to be believed.
    """
    return _fits_raw_heads if model.rectangular and model.family == "yolox" else None


def _fits_raw_heads(outputs: Outputs, input_hw: tuple[int, int]) -> bool:
    rows, numbers = outputs[0].shape[-2:]
    return bool(numbers > BOX_AND_SCORE and rows == len(_grid(input_hw)[0]))


def without_degenerate(people: People, image_hw: tuple[int, int]) -> People:
    """Only the boxes that can hold a person: finite, in the image, not far larger than it."""
    boxes = people.boxes_xyxy
    finite = np.isfinite(boxes).all(1) & np.isfinite(people.scores)
    boxes = np.where(finite[:, None], boxes, np.float32(0))
    visible = clip_boxes(boxes, image_hw)
    visible_sides = visible[:, 2:] - visible[:, :2]
    sides = boxes[:, 2:] - boxes[:, :2]
    limit = np.array([image_hw[1], image_hw[0]], np.float32) * MAX_SIDE_OF_IMAGE
    good = finite & (visible_sides >= MIN_SIDE_PX).all(1) & (sides <= limit).all(1)
    return People(boxes[good], people.scores[good])


class PersonDetector:
    """Finds the people in images with one opened model."""

    def __init__(self, session: Session, model: DetectorModel) -> None:
        self._session = session
        self._model = model
        _, _, height, width = session.input_shape
        self._input_hw = session.own_hw or (height or model.side, width or model.side)
        self._rectangular = model.rectangular and height is None and width is None

    def find(self, images: Sequence[Image], batch_size: int) -> list[People]:
        """People in each image, surest first; images of equal input size go in one run."""
        sizes = [
            canvas_size((image.height, image.width), self._input_hw, rectangular=self._rectangular)
            for image in images
        ]
        found: dict[int, People] = {}
        for canvas_hw in dict.fromkeys(canvas_hw for canvas_hw, _ in sizes):
            places = [place for place, size in enumerate(sizes) if size[0] == canvas_hw]
            ratios = [sizes[place][1] for place in places]
            canvases = [
                letterbox(images[place].pixels_rgb, canvas_hw, ratio)
                for place, ratio in zip(places, ratios, strict=True)
            ]
            inputs = planes(canvases, TABLES_BGR[self._model.family], swap=True)
            people: list[People] = []
            for outputs in run_in_batches(self._session, inputs, batch_size):
                done = len(people)
                people += decode(outputs, canvas_hw, ratios[done : done + len(outputs[0])])
            found.update(zip(places, people, strict=True))
        return [
            without_degenerate(found[place], (image.height, image.width))
            for place, image in enumerate(images)
        ]


def _suppressed_people(rows: Float32Array, classes: NDArray[np.int64], ratio: float) -> People:
    keep = (rows[:, 4] > SUPPRESSED_MIN_SCORE) & (classes == 0)
    rows = rows[keep]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")].astype(np.float32, copy=False)
    return People(rows[:, :4] / np.float32(ratio), np.minimum(rows[:, 4], 1))


def _raw_people(rows: Float32Array, canvas_hw: tuple[int, int], ratio: float) -> People:
    """People of one image, from the rows (n, 5 + classes) of YOLOX's raw heads."""
    scores = rows[:, 4] * rows[:, 5]
    sure = np.flatnonzero(scores > RAW_MIN_SCORE)
    sure = sure[np.argsort(-scores[sure], kind="stable")][:RAW_MAX_BOXES]
    boxes_xyxy, scores = _raw_boxes(rows, sure, canvas_hw) / np.float32(ratio), scores[sure]
    # rtmlib counts pixels, so that a box from 3 to 5 is 3 wide: one is added at the far edges.
    keep = non_maximum_suppression(
        boxes_xyxy + np.array([0, 0, 1, 1], np.float32),
        scores,
        np.zeros(len(scores), np.int64),
        iou_within=RAW_NMS_IOU,
        iou_across=1.0,
    )
    return People(boxes_xyxy[keep], np.minimum(scores[keep], 1))


def _raw_boxes(
    rows: Float32Array, chosen: NDArray[np.int64], canvas_hw: tuple[int, int]
) -> Float32Array:
    """Boxes (N, 4) xyxy in input pixels, of the N chosen rows of YOLOX's raw heads."""
    cells, strides = _grid(canvas_hw)
    if len(rows) != len(cells):
        raise ModelError(
            "person detector",
            f"it answers {len(rows)} rows for an input of {len(cells)} cells",
            "Use an ONNX file of YOLOX with strides of 8, 16 and 32.",
        )
    places, strides = rows[chosen, :4], strides[chosen]
    if len(places) and (places[:, 2:] > MAX_EXPONENT).all():
        raise ModelError(
            "person detector",
            "its boxes are in pixels, not as the heads of YOLOX answer",
            "Export it without --decode_in_inference.",
        )
    centres = (places[:, :2] + cells[chosen]) * strides
    halves = np.exp(np.minimum(places[:, 2:], MAX_EXPONENT)) * strides / 2
    return np.concatenate([centres - halves, centres + halves], 1).astype(np.float32)


@lru_cache(maxsize=64)
def _grid(canvas_hw: tuple[int, int]) -> tuple[Float32Array, Float32Array]:
    """Column and row (n, 2) and stride (n, 1) of each cell of the three heads; read only."""
    cells, strides = [], []
    for stride in STRIDES:
        height, width = canvas_hw[0] // stride, canvas_hw[1] // stride
        rows, columns = np.mgrid[:height, :width]
        cells.append(np.stack([columns, rows], -1).reshape(-1, 2))
        strides.append(np.full((height * width, 1), stride))
    return (
        np.concatenate(cells).astype(np.float32),
        np.concatenate(strides).astype(np.float32),
    )
