"""Texts on dark plates beside the boxes that they name, none over another where there is room."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prelabel.types import Float32Array, UInt8Array

Colour: TypeAlias = tuple[int, int, int]
"""Red, green, blue."""

TEXT_OF_PICTURE = 0.018
"""Height of the text: a share of the root of the picture's area."""
MIN_TEXT_PX = 12
PLATE, TEXT = (22, 22, 22), (250, 250, 250)
PLATE_INK = 0.82
"""Opacity of a plate."""

FONTS = (
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "DejaVuSans.ttf",
    "segoeui.ttf",
)
"""Fonts of systems, those of many scripts first: the one that comes with Pillow has ASCII."""
_IN_EVERY_FONT = "·"

_Corner: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Plate:
    """A text that names a box.

    Attributes:
        text: One line.
        colour: The colour of its box.
        box_xyxy: (4,) float32, pixels.
    """

    text: str
    colour: Colour
    box_xyxy: Float32Array


def put_plates(pixels_rgb: UInt8Array, plates: Sequence[Plate]) -> None:
    """Draw plates into a picture (H, W, 3), those that come first with the first choice of place.

    A plate stands above its box, or where there is no room below it, or inside; one that is wider
    than the picture is cut off.
    """
    height, width = pixels_rgb.shape[:2]
    size = max(round(TEXT_OF_PICTURE * (height * width) ** 0.5), MIN_TEXT_PX)
    taken = np.zeros((height, width), bool)
    for plate in plates:
        picture = _picture(plate, _font(plate.text, size), size)[:height, :width]
        x, y = _free_corner(plate, (picture.shape[0], picture.shape[1]), taken)
        there = slice(y, y + picture.shape[0]), slice(x, x + picture.shape[1])
        mixed = PLATE_INK * picture + (1 - PLATE_INK) * pixels_rgb[there]
        solid = (picture != PLATE).any(axis=2, keepdims=True)  # letters are not seen through
        pixels_rgb[there] = np.where(solid, picture, mixed).astype(np.uint8)
        taken[there] = True


def _font(text: str, size: int) -> Any:
    """A font that has the letters of a text, where this system has one."""
    is_plain = text.replace(_IN_EVERY_FONT, "").isascii()
    return _load_font(() if is_plain else FONTS, size)


@cache
def _load_font(names: tuple[str, ...], size: int) -> Any:
    """The first of these fonts that is installed, else Pillow's own."""
    from PIL import ImageFont  # noqa: PLC0415 - heavy

    for name in names:
        with suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def _picture(plate: Plate, font: Any, size: int) -> UInt8Array:
    """The plate by itself: a bar of the box's colour, then the text."""
    from PIL import Image, ImageDraw  # noqa: PLC0415 - heavy

    gap = max(size // 3, 2)
    bar = max(size // 4, 2)
    # All plates of a picture are equally high, whatever letters they hold.
    wide, high = int(font.getlength(plate.text)) + bar + 2 * gap, size + gap + 2
    picture = Image.new("RGB", (wide, high), PLATE)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, bar - 1, high), fill=plate.colour)
    pen.text((bar + gap, high / 2), plate.text, font=font, fill=TEXT, anchor="lm")
    return np.asarray(picture)


def _free_corner(plate: Plate, plate_hw: tuple[int, int], taken: NDArray[np.bool_]) -> _Corner:
    """Left upper corner of the first place that no plate has taken, else of the first place."""
    high, wide = plate_hw
    height, width = taken.shape
    corners = [
        (min(max(x, 0), width - wide), y)
        for x, y in _corners(plate.box_xyxy, high, wide)
        if 0 <= y <= height - high
    ] or [(0, 0)]
    for x, y in corners:
        if not taken[y : y + high, x : x + wide].any():
            return x, y
    return corners[0]


def _corners(box: Float32Array, high: int, wide: int) -> Iterator[_Corner]:
    """Above, below, inside at the top and at the bottom; then lower and lower inside."""
    left, top, right, bottom = (round(float(edge)) for edge in box)
    yield from ((left, top - high - 2), (left, bottom + 2))
    yield from ((left, top + 2), (left, bottom - high - 2), (right - wide, top - high - 2))
    yield from ((left, y) for y in range(top + 2 + high, bottom - high, high))
