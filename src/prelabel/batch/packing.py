"""Images on their way to a prelabel server elsewhere: made small, their true size remembered."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from prelabel.labelstudio.config import ImageTag
from prelabel.labelstudio.tasks import Task
from prelabel.types import Image, UInt8Array


@dataclass(frozen=True, slots=True)
class Squeeze:
    """How much an image is made smaller.

    Attributes:
        jpeg_quality: 1 to 100.
        longest_side: Pixels; larger images are scaled down to it, none is scaled up.
    """

    jpeg_quality: int
    longest_side: int


@dataclass(frozen=True, slots=True)
class Packed:
    """A task whose images travel with it.

    Attributes:
        task: As a server is asked about it, with data: URIs for images.
        sizes_hw: Height and width of the original images, in pixels, by the name of their tag.
        bytes: How large its data: URIs are.
    """

    task: dict[str, Any]
    sizes_hw: Mapping[str, tuple[tuple[int, int], ...]]
    bytes: int


def pack(task: Task, images: Mapping[ImageTag, list[Image]], squeeze: Squeeze) -> Packed:
    """A task with its images in it; the rest of its data goes along as it is."""
    data: dict[str, Any] = dict(task.data)
    sizes: dict[str, tuple[tuple[int, int], ...]] = {}
    length = 0
    for tag, pages in images.items():
        uris = [_data_uri(image, squeeze) for image in pages]
        length += sum(map(len, uris))
        data = tag.with_uris(data, uris)
        sizes[tag.name] = tuple((image.height, image.width) for image in pages)
    return Packed({"id": task.number, "data": data}, sizes, length)


def put_right(
    result: list[dict[str, Any]], sizes_hw: Mapping[str, tuple[tuple[int, int], ...]]
) -> list[dict[str, Any]]:
    """Regions that were found on smaller images, as regions on the originals.

    They are in percent, so that only the size which they name changes.
    """
    right = []
    for region in result:
        height, width = sizes_hw[region["to_name"]][region.get("item_index") or 0]
        right.append({**region, "original_width": width, "original_height": height})
    return right


def jpeg(pixels_rgb: UInt8Array, squeeze: Squeeze) -> bytes:
    """Pixels (H, W, 3) uint8 RGB as a JPEG file, scaled down to the longest side."""
    import cv2  # noqa: PLC0415 - a run without pictures does without

    pixels_bgr = cv2.cvtColor(shrunk(pixels_rgb, squeeze.longest_side), cv2.COLOR_RGB2BGR)
    quality = [cv2.IMWRITE_JPEG_QUALITY, squeeze.jpeg_quality]
    done, encoded = cv2.imencode(".jpg", pixels_bgr, quality)
    assert done, "cv2 encodes any 8-bit image"
    return bytes(encoded)


def shrunk(pixels: UInt8Array, longest_side: int) -> UInt8Array:
    """Pixels (H, W, 3) uint8 scaled down to the longest side, never up."""
    import cv2  # noqa: PLC0415 - a run without pictures does without

    height, width = pixels.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return pixels
    size_wh = (max(round(width * scale), 1), max(round(height * scale), 1))
    small: UInt8Array = cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA)
    return small


def first_picture(squeeze: Squeeze) -> str:
    """A grey picture as a data: URI, for a server to load its models with."""
    return _data_uri(Image(np.full((480, 640, 3), 128, np.uint8)), squeeze)


def _data_uri(image: Image, squeeze: Squeeze) -> str:
    encoded = base64.b64encode(jpeg(image.pixels_rgb, squeeze)).decode()
    return f"data:image/jpeg;base64,{encoded}"
