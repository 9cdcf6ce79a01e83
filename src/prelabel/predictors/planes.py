"""Byte pixels to the normalised float planes that models take.

A channel of bytes has 256 values: a table is faster than arithmetic, and made in float64 it holds
the very numbers that rtmlib feeds its models.
"""

from collections.abc import Sequence

import numpy as np

from prelabel.types import Float32Array, UInt8Array

IMAGENET_MEANS_RGB = np.array([123.675, 116.28, 103.53])
IMAGENET_DEVIATIONS_RGB = np.array([58.395, 57.12, 57.375])
IMAGENET_RGB: Float32Array = (
    (np.arange(256) - IMAGENET_MEANS_RGB[:, None]) / IMAGENET_DEVIATIONS_RGB[:, None]
).astype(np.float32)
"""Tables (3, 256) of a network that was trained with ImageNet's means and deviations."""


def planes(
    images: Sequence[UInt8Array], tables: Float32Array | None, *, swap: bool
) -> Float32Array:
    """Images (H, W, 3) of one size as (N, 3, H, W), each channel through its table.

    Args:
        images: At least one.
        tables: (3, 256), in the order of the result's channels; None for 0..255 as they are.
        swap: Turn the channels around, from RGB to BGR.
    """
    import cv2  # noqa: PLC0415 - the server imports this module at its start

    result = np.empty((len(images), 3, *images[0].shape[:2]), np.float32)
    for image, channels in zip(images, result, strict=True):
        sources = cv2.split(image)[:: -1 if swap else 1]
        if tables is None:
            for source, channel in zip(sources, channels, strict=True):
                channel[:] = source
            continue
        for source, table, channel in zip(sources, tables, channels, strict=True):
            cv2.LUT(source, table, channel)
    return result
