"""Rectangles at an angle: Label Studio turns them about a corner, prelabel about the centre.

A rectangle in a result has its first corner at `x` and `y`, and lies clockwise around it by
`rotation` degrees, in the pixels of its image. About the centre, its place and its angle are
two things, and an object that turns on the spot stays where it is.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prelabel.geometry import around_turned
from prelabel.types import Float32Array

_FAR_EDGE_PCT = 100.0
_DECIMALS = 4


def drawn_box(value: Mapping[str, Any], hw: tuple[int, int]) -> tuple[Float32Array, float]:
    """A rectangle in percent as a box xyxy (4,) in pixels, turned back, and its angle.

    Returns:
        The box, turned back about its centre, and the degrees from -180 to 180 by which it is
        turned clockwise.
    """
    turn = math.remainder(value.get("rotation") or 0.0, 360.0)
    sides = np.array([value["width"] / 100 * hw[1], value["height"] / 100 * hw[0]])
    corner = np.array([value["x"] / 100 * hw[1], value["y"] / 100 * hw[0]])
    corner += _turned(sides / 2, turn) - sides / 2
    return np.concatenate([corner, corner + sides]).astype(np.float32), turn


def upright_box(value: Mapping[str, Any], hw: tuple[int, int]) -> Float32Array:
    """The box xyxy (4,) in pixels around a rectangle in percent, turned or not."""
    box, turn = drawn_box(value, hw)
    return around_turned(box[None], turn)[0] if turn else box


def first_corner(box_xyxy: NDArray[np.floating[Any]], turn: float) -> NDArray[np.float64]:
    """Where `x` and `y` (2,) of a box (4,) lie in pixels that is turned about its centre."""
    half = (np.asarray(box_xyxy[2:], np.float64) - box_xyxy[:2]) / 2
    corner: NDArray[np.float64] = box_xyxy[:2] + half - _turned(half, turn)
    return corner


def turned_rectangle(
    box_xyxy: Float32Array, turn: float, hw: tuple[int, int]
) -> dict[str, float] | None:
    """The numbers of a region's value for a box in pixels that is turned about its centre.

    Label Studio imports no rectangle whose first corner lies beyond the right or lower edge, nor
    one that is longer than the image along an axis; any of the four corners can be the first.

    Returns:
        None where none of the four will do.
    """
    height, width = hw
    middle = (box_xyxy[:2] + box_xyxy[2:]) / 2
    half = (box_xyxy[2:] - box_xyxy[:2]) / 2
    for quarter in range(4):
        low, high = middle - half, middle + half
        x, y = first_corner(np.concatenate([low, high]), turn + 90 * quarter)
        place = {"x": 100 * x / width, "y": 100 * y / height}
        sides = {"width": 200 * half[0] / width, "height": 200 * half[1] / height}
        value = {key: round(float(number), _DECIMALS) for key, number in (place | sides).items()}
        if max(value.values()) <= _FAR_EDGE_PCT:
            return value | {"rotation": round((turn + 90 * quarter) % 360, _DECIMALS)}
        half = half[::-1]
    return None


def _turned(xy: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """A vector (2,) turned clockwise, as y points down."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([cos * xy[0] - sin * xy[1], sin * xy[0] + cos * xy[1]])
