"""Where body parts are in an image, and which of them a box lies on."""

from pathlib import Path
from typing import Protocol

import numpy as np

from prelabel.errors import WeightsUnavailable
from prelabel.geometry import box_areas, clip_boxes, intersections
from prelabel.types import Detections, Float32Array, Image

WITHIN = 0.6
"""A box lies on a part when this share of the box is inside the part's box."""
MIN_IOU = 0.3
"""A box that reaches further still lies on a part when they overlap this much."""
MIN_FACE_SCORE = 0.6


class PartLocator(Protocol):
    """Finds body parts, whether or not anything is wrong with them."""

    def locate(self, image: Image) -> Detections:
        """Boxes whose `body_parts` are set, surest first. Calls may come from several threads."""
        ...


class FaceLocator:
    """Faces by YuNet through OpenCV."""

    def __init__(self, weights: Path) -> None:
        self._weights = weights

    def locate(self, image: Image) -> Detections:
        """Boxes of the faces in an image, surest first.

        Raises:
            WeightsUnavailable: The network's file is missing or OpenCV cannot read it.
        """
        import cv2  # noqa: PLC0415 - the server starts without OpenCV

        if not self._weights.is_file():
            raise self._unusable("there is no such file")
        try:  # a detector of its own for each call: it holds state and is not thread-safe
            detector = cv2.FaceDetectorYN.create(
                str(self._weights), "", (image.width, image.height), MIN_FACE_SCORE
            )
        except cv2.error as error:
            raise self._unusable("OpenCV cannot read it as a YuNet network") from error
        _, found = detector.detect(cv2.cvtColor(image.pixels_rgb, cv2.COLOR_RGB2BGR))
        rows = np.zeros((0, 15), np.float32) if found is None else found
        return faces_of(rows, (image.height, image.width))

    def _unusable(self, cause: str) -> WeightsUnavailable:
        return WeightsUnavailable(
            str(self._weights), cause, "Set YUNET_MODEL_PATH to a YuNet ONNX file, or leave it out."
        )


def faces_of(rows: Float32Array, image_hw: tuple[int, int]) -> Detections:
    """Faces, surest first, from YuNet's rows.

    Args:
        rows: (N, 15) float32: x, y, width and height in pixels, five landmarks, score.
        image_hw: Height and width of the image; boxes are cut to it.
    """
    corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
    boxes = clip_boxes(corners.astype(np.float32), image_hw)
    scores = np.clip(rows[:, -1], 0, 1).astype(np.float32)
    areas = box_areas(boxes)
    order = [int(row) for row in np.argsort(-scores, kind="stable") if areas[row] > 0]
    names = ("face",) * len(order)
    return Detections(boxes[order], scores[order], names, names, "yunet")


def covering_part(box_xyxy: Float32Array, parts: Detections) -> str | None:
    """The body part that a box lies on, or None.

    A part qualifies when it holds `WITHIN` of the box's area or overlaps it with an IoU of
    `MIN_IOU`. Of several, the one of the highest IoU is taken: the hand before the person whose
    it is.

    Args:
        box_xyxy: (4,) pixels.
        parts: Located parts of the same image.
    """
    if len(parts) == 0:
        return None
    box = box_xyxy[None]
    overlaps = intersections(box, parts.boxes_xyxy)[0]
    area = float(box_areas(box)[0])
    iou = overlaps / (area + box_areas(parts.boxes_xyxy) - overlaps)
    best = int(np.argmax(np.where((overlaps >= WITHIN * area) | (iou >= MIN_IOU), iou, -1)))
    qualifies = overlaps[best] >= WITHIN * area or iou[best] >= MIN_IOU
    return parts.body_parts[best] if qualifies else None
