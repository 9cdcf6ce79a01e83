"""Boxes and skeletons drawn over a picture: one function of pixels and findings.

Colours are those of Okabe and Ito (2008), which people with any kind of colour blindness tell
apart. Each line has a dark casing and each text a dark plate, so that both can be seen on any
background.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from prelabel import keypoints
from prelabel.preview.plates import Colour, Plate, put_plates
from prelabel.types import Detections, Float32Array, Poses, UInt8Array

ORANGE, SKY, GREEN = (230, 159, 0), (86, 180, 233), (0, 158, 115)
YELLOW, BLUE, VERMILION, PURPLE = (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)
WHITE, CASING = (245, 245, 245), (24, 24, 24)

BOX_COLOURS: tuple[Colour, ...] = (VERMILION, BLUE, YELLOW, PURPLE, GREEN, ORANGE, SKY)
"""Of the labels of a picture, in alphabetical order; they repeat after the seventh."""
GROUP_COLOURS: dict[str, Colour] = {
    group: (int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16))
    for group, colour in keypoints.GROUP_COLOURS.items()
}
FINE_GROUPS = frozenset({"face", "left_hand", "right_hand"})
"""Groups of many points close together, drawn finer than the others."""

PERSON = "person"
"""A box of this label, a person without keypoints, is drawn like the boxes of the others."""

INK = 0.9
"""Opacity of lines and points."""
LINE_OF_DIAGONAL = 0.0036
LINE_OF_PERSON = 0.007
"""Width of a line: a share of the person's height, up to a share of the picture's diagonal."""
MIN_LINE_PX = 1.2
FINE = 0.4
"""How wide fine lines are, beside the others."""
CASING_OF_LINE = 0.4
"""How far a casing stands out on each side of a line, as a share of its width."""

_SMOOTH_DIAGONAL = 2800
_MAX_ENLARGEMENT = 4
_SHIFT = 4
_SUBPIXELS = 1 << _SHIFT  # OpenCV takes places as whole numbers of these
_FAR = 1e5  # pixels; a place beyond is as invisible as one there


def _contour(first: int, last: int, *, closed: bool = False) -> tuple[tuple[int, int], ...]:
    """Links along a row of the 68 face points; COCO-WholeBody's own skeleton has none there."""
    start = keypoints.FACE.start
    links = tuple((start + number, start + number + 1) for number in range(first, last))
    return (*links, (start + last, start + first)) if closed else links


FACE_LINKS: tuple[tuple[int, int], ...] = (
    *_contour(0, 16),  # jaw
    *_contour(17, 21),  # eyebrows
    *_contour(22, 26),
    *_contour(27, 30),  # nose
    *_contour(31, 35),
    *_contour(36, 41, closed=True),  # eyes
    *_contour(42, 47, closed=True),
    *_contour(48, 59, closed=True),  # lips
    *_contour(60, 67, closed=True),
)
"""The outlines of a face in the order of the iBUG 68-point markup."""


def draw(pixels_rgb: UInt8Array, boxes: Detections, people: Poses) -> UInt8Array:
    """A copy of the picture with the findings drawn over it.

    Args:
        pixels_rgb: (H, W, 3) uint8.
        boxes: Drawn with label, body part and score.
        people: Of 133 keypoints each, in COCO-WholeBody order; a keypoint of score 0 is left out.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    if not len(boxes) and not len(people):
        return pixels_rgb.copy()
    sheet = _Sheet(pixels_rgb)
    width = max(sheet.diagonal * LINE_OF_DIAGONAL, MIN_LINE_PX)
    plates = []
    for row in reversed(range(len(people))):  # the surest is drawn last, over the others
        box = people.boxes_xyxy[row]
        persons_width = _line_width(box, width)
        sheet.outline(box, WHITE, persons_width / 2)
        _skeleton(sheet, people, row, persons_width)
        plates.append(Plate(f"{PERSON} {people.box_scores[row]:.2f}", WHITE, box))
    colours = _colours(boxes.labels)
    for row in reversed(range(len(boxes))):
        label, box = boxes.labels[row], boxes.boxes_xyxy[row]
        colour = colours[label]
        sheet.outline(box, colour, _line_width(box, width) / 2 if label == PERSON else width)
        plates.append(Plate(_words(boxes, row), colour, box))
    drawn = sheet.over(pixels_rgb)
    put_plates(drawn, plates[::-1])
    return drawn


def _line_width(box: Float32Array, most: float) -> float:
    side = max(float(box[3] - box[1]), float(box[2] - box[0]))
    return min(max(side * LINE_OF_PERSON, MIN_LINE_PX), most)


def _skeleton(sheet: "_Sheet", people: Poses, row: int, width: float) -> None:
    places, there = people.keypoints_xy[row], people.keypoint_scores[row] > 0
    links = [(a, b) for a, b in (*FACE_LINKS, *keypoints.LINKS) if there[a] and there[b]]
    widths = [width * FINE if _is_fine(a) and _is_fine(b) else width for a, b in links]
    for (a, b), wide in zip(links, widths, strict=True):
        sheet.line(places[a], places[b], CASING, wide * (1 + 2 * CASING_OF_LINE))
    for (a, b), wide in zip(links, widths, strict=True):
        sheet.line(places[a], places[b], _colour_of(b), wide)
    for index in np.flatnonzero(there).tolist():
        radius = 1.1 * width * (FINE if _is_fine(index) else 1)
        sheet.dot(places[index], CASING, radius * (1 + CASING_OF_LINE))
        sheet.dot(places[index], _colour_of(index), radius)


_GROUP_OF_POINT = tuple(group for group, points in keypoints.GROUPS.items() for _ in points)


def _colour_of(index: int) -> Colour:
    return GROUP_COLOURS[_GROUP_OF_POINT[index]]


def _is_fine(index: int) -> bool:
    """Whether a keypoint stands among many: in a hand or the face, with eyes, ears and nose."""
    return _GROUP_OF_POINT[index] in FINE_GROUPS or index <= keypoints.INDEX["right_ear"]


class _Sheet:
    """A picture to draw on, enlarged where it is small, so that lines of 1.5 pixels look so."""

    def __init__(self, pixels_rgb: UInt8Array) -> None:
        self.diagonal = math.hypot(*pixels_rgb.shape[:2])
        self._times = min(max(round(_SMOOTH_DIAGONAL / self.diagonal), 1), _MAX_ENLARGEMENT)
        self._pixels = pixels_rgb.repeat(self._times, axis=0).repeat(self._times, axis=1)

    def outline(self, box: Float32Array, colour: Colour, width: float) -> None:
        """A frame in a casing."""
        x1, y1, x2, y2 = box
        corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], np.float32)
        for ink, wide in ((CASING, width * (1 + 2 * CASING_OF_LINE)), (colour, width)):
            for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
                self.line(start, end, ink, wide)

    def line(self, start: Float32Array, end: Float32Array, colour: Colour, width: float) -> None:
        """A line; places and width in pixels of the picture."""
        import cv2  # noqa: PLC0415 - heavy

        wide = max(round(width * self._times), 1)
        cv2.line(
            self._pixels, self._place(start), self._place(end), colour, wide, cv2.LINE_AA, _SHIFT
        )

    def dot(self, centre: Float32Array, colour: Colour, radius: float) -> None:
        """A filled circle; place and radius in pixels of the picture."""
        import cv2  # noqa: PLC0415 - heavy

        size = round(radius * self._times * _SUBPIXELS)
        cv2.circle(self._pixels, self._place(centre), size, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)

    def over(self, pixels_rgb: UInt8Array) -> UInt8Array:
        """The picture (H, W, 3) with what was drawn."""
        import cv2  # noqa: PLC0415 - heavy

        size = pixels_rgb.shape[1], pixels_rgb.shape[0]
        small = cv2.resize(self._pixels, size, interpolation=cv2.INTER_AREA)
        drawn: UInt8Array = cv2.addWeighted(small, INK, pixels_rgb, 1 - INK, 0)
        return drawn

    def _place(self, point: Float32Array) -> Any:
        near = np.clip(point, -_FAR, _FAR) * self._times
        return tuple(int(side) for side in near * _SUBPIXELS)


def _colours(labels: Iterable[str]) -> dict[str, Colour]:
    return {
        label: BOX_COLOURS[number % len(BOX_COLOURS)]
        for number, label in enumerate(sorted(set(labels) - {PERSON}))
    } | {PERSON: WHITE}


def _words(boxes: Detections, row: int) -> str:
    part = boxes.body_parts[row]
    name = f"{boxes.labels[row]} · {part}" if part else boxes.labels[row]
    return f"{name} {boxes.scores[row]:.2f}"
