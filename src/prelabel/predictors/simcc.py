"""From person boxes to crops, and from SimCC outputs back to keypoints: array functions only.

A SimCC model answers, for each keypoint, one row of bins per axis, two bins to a pixel; the highest
bin is the keypoint's place (Li et al., ECCV 2022). The arithmetic is that of OpenMMLab's top-down
models, and is held equal to rtmlib 0.0.16 by tests.
"""

from typing import Literal

import numpy as np

from prelabel.types import Float32Array, UInt8Array

PADDING = 1.25  # a crop shows a quarter more than the box
BINS_PER_PIXEL = 2.0

ChannelOrder = Literal["rgb", "bgr"]
ScoreKind = Literal["unit", "logits"]


def crop_regions(
    boxes_xyxy: Float32Array, input_hw: tuple[int, int]
) -> tuple[Float32Array, Float32Array]:
    """Centres (N, 2) and sizes (N, 2), width first, of the image regions that the model is shown.

    A region is the box of (N, 4) with `PADDING`, widened to the shape of the model's input.
    """
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) * np.float32(0.5)
    sizes = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) * np.float32(PADDING)
    shape = np.float32(input_hw[1] / input_hw[0])
    widths = np.maximum(sizes[:, 0], sizes[:, 1] * shape)
    heights = np.maximum(sizes[:, 1], sizes[:, 0] / shape)
    return centres, np.stack([widths, heights], 1)


def crop(
    pixels_rgb: UInt8Array, centre: Float32Array, size: Float32Array, input_hw: tuple[int, int]
) -> UInt8Array:
    """One region of the image, resized to the model's input (H, W, 3); black outside the image."""
    import cv2  # noqa: PLC0415 - the server imports this module at its start

    height, width = input_hw
    half_width = size[0] / 2
    # Middle, middle of the top of a square around it, and that square's top left corner.
    region = centre + np.array([[0, 0], [0, -half_width], [-half_width, -half_width]])
    middle = np.array([width / 2, height / 2])
    target = middle + np.array([[0, 0], [0, -width / 2], [-width / 2, -width / 2]])
    to_input = cv2.getAffineTransform(region.astype(np.float32), target.astype(np.float32))
    crop_rgb: UInt8Array = cv2.warpAffine(pixels_rgb, to_input, (width, height))
    return crop_rgb


def decode(
    simcc_x: Float32Array,
    simcc_y: Float32Array,
    centres: Float32Array,
    sizes: Float32Array,
    input_hw: tuple[int, int],
) -> tuple[Float32Array, Float32Array]:
    """Keypoints (N, K, 2) in image pixels and their raw scores (N, K) as the model gives them.

    Args:
        simcc_x: (N, K, two bins per pixel of the input's width).
        simcc_y: (N, K, two bins per pixel of its height).
        centres: (N, 2) of the crops' regions.
        sizes: (N, 2) of the crops' regions.
        input_hw: Size of the model's input.
    """
    scores = (simcc_x.max(-1) + simcc_y.max(-1)) * np.float32(0.5)
    places = np.empty((*scores.shape, 2))  # float64, as rtmlib counts
    places[..., 0] = simcc_x.argmax(-1)
    places[..., 1] = simcc_y.argmax(-1)
    places[scores <= 0] = -1  # nowhere: just outside the crop, with a score of 0 or less
    bins = np.array([input_hw[1], input_hw[0]]) * BINS_PER_PIXEL
    places *= (sizes / bins)[:, None]
    places += np.subtract(centres, sizes / 2, dtype=np.float64)[:, None]
    return places.astype(np.float32), scores


def unit_scores(raw_scores: Float32Array, kind: ScoreKind) -> Float32Array:
    """Scores in 0..1, in the order of the raw ones.

    Args:
        raw_scores: Any shape, as `decode` gives them.
        kind: "unit" for models whose peaks are in 0..1 already (cut there, else untouched);
            "logits" for RTMPose, RTMW and DWPose, whose peaks run from below 0 to 5 and more:
            s becomes s / (1 + s), so that the usual threshold of 0.3 is 0.43 on rtmlib's scale,
            the one that its own demos draw with.
    """
    scores = np.maximum(raw_scores, 0)
    if kind == "logits":
        scores = scores / (1 + scores)
    units: Float32Array = np.minimum(scores, 1).astype(np.float32)
    return units
