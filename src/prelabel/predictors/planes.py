"""Byte pixels to the normalised float planes that models take.

A channel of bytes has 256 values: a table is faster than arithmetic, and made in float64 it holds
the very numbers that rtmlib feeds its models.
"""

from collections.abc import Sequence

import numpy as np

from prelabel.types import Float32Array, UInt8Array


def normalisation(means: Sequence[float], deviations: Sequence[float]) -> Float32Array:
    """Tables (3, 256): for each channel what each byte becomes."""
    tables = [
        ((np.arange(256) - mean) / deviation).astype(np.float32)
        for mean, deviation in zip(means, deviations, strict=True)
    ]
    return np.stack(tables)


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
