"""Boxes around what has the colour that a label names, as one predictor of prelabel."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from prelabel.errors import ModelError, SettingsError, WeightsUnavailable
from prelabel.predictors.base import Answer
from prelabel.predictors.registry import fingerprint
from prelabel.types import Ask, Detections, Image, Phrase

NAME = "colour-blobs"
PALETTE = Path(__file__).with_name("colours.toml")
MIN_AREA = 0.001
"""Share of the image that a blob must cover."""
MIN_SATURATION, MIN_VALUE = 90, 50
"""Of 255: below them a pixel is grey or black and has no colour to speak of."""
SMALLEST_SIDE = 16
"""Pixels; blobs of less are noise."""

Mask = NDArray[np.uint8]


class ColourBlobs:
    """Finds connected areas of a colour. The colours are its weights.

    Args:
        palette: TOML file of hue ranges by colour name.
        min_area: Share of the image that a blob must cover, above 0 and below 1.
    """

    name = NAME
    wants_neighbours = False  # one image is enough
    batch_size = 1  # images are looked at one by one, so larger batches gain nothing

    def __init__(self, palette: Path = PALETTE, min_area: float = MIN_AREA) -> None:
        self._palette = palette
        self._min_area = min_area
        self._hues: dict[str, tuple[int, int]] | None = None
        self._lock = Lock()
        # "" with the defaults; else what was found before is not taken for what is found now.
        self.fingerprint = fingerprint(
            {"palette": _content(palette), "min_area": min_area},
            {"palette": _content(PALETTE), "min_area": MIN_AREA},
        )

    def check(self) -> None:
        """Say at once that loading must fail; prelabel then answers through another predictor."""
        if not self._palette.is_file():
            raise WeightsUnavailable(
                str(self._palette), "there is no such file", "Correct COLOUR_BLOBS_PALETTE."
            )

    def load(self) -> None:
        """Read the colours, once, whoever calls and however many at a time."""
        with self._lock:
            if self._hues is None:
                self.check()
                self._hues = _read(self._palette)

    def predict(self, images: Sequence[Image], ask: Ask) -> Answer:
        """One entry per image, in order: boxes, or why it could not be looked at."""
        self.load()
        return [self._answer(image, ask) for image in images]

    def health(self) -> dict[str, object]:
        """For the page at `/`; answers at once, whatever is being loaded."""
        return {"loaded": self._hues is not None, "device": "cpu", "reason": ""}

    def _answer(self, image: Image, ask: Ask) -> Detections | ModelError:
        if min(image.height, image.width) < SMALLEST_SIDE:
            # Returned and not raised: the other images of the batch keep their answers.
            return ModelError(
                image.name, f"is smaller than {SMALLEST_SIDE} pixels", "Use a larger image."
            )
        found: list[tuple[float, tuple[int, int, int, int], Phrase]] = []
        for phrase in ask.phrases:
            hues = self._hues_of(phrase)
            if hues is not None:
                mask = _looked_at(_mask(image, hues), ask)
                found += [(*blob, phrase) for blob in self._blobs(mask)]
        kept = [one for one in found if one[0] >= (ask.min_score or 0.0) and _is_meant(one[1], ask)]
        kept.sort(key=lambda one: -one[0])  # best first
        if not kept:
            return Detections.none(NAME)
        return Detections(
            boxes_xyxy=np.array([box for _, box, _ in kept], np.float32),
            scores=np.array([score for score, _, _ in kept], np.float32),
            labels=tuple(phrase.label for _, _, phrase in kept),
            body_parts=tuple(phrase.body_part for _, _, phrase in kept),
            source=NAME,
        )

    def _hues_of(self, phrase: Phrase) -> tuple[int, int] | None:
        """The hues of the first colour that a phrase names."""
        hues = self._hues or {}
        return next((hues[word] for word in phrase.text.lower().split() if word in hues), None)

    def _blobs(self, mask: Mask) -> list[tuple[float, tuple[int, int, int, int]]]:
        """Score and box (x1, y1, x2, y2) of each blob; the score is how full its box is."""
        least = max(1, round(self._min_area * mask.size))
        _, _, blobs, _ = cv2.connectedComponentsWithStats(mask)
        return [
            (pixels / (width * height), (x, y, x + width, y + height))
            for x, y, width, height, pixels in blobs[1:].tolist()  # the first is what is no blob
            if pixels >= least
        ]


def build(options: Mapping[str, Any]) -> ColourBlobs:
    """What the entry point names: builds the predictor and loads nothing.

    Args:
        options: prelabel's settings by their environment names. Those of this package are not
            among them; they come from the environment.

    Raises:
        SettingsError: A setting cannot be used; the server does not start.
    """
    del options  # such as options["DEVICE"], for a predictor that has a use for it
    return ColourBlobs(
        Path(os.environ.get("COLOUR_BLOBS_PALETTE") or PALETTE),
        _min_area(os.environ.get("COLOUR_BLOBS_MIN_AREA") or str(MIN_AREA)),
    )


def _min_area(written: str) -> float:
    try:
        share = float(written)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise SettingsError(
            f"COLOUR_BLOBS_MIN_AREA={written}",
            "is no share of an image",
            "Give a number above 0 and below 1, such as 0.001.",
        )
    return share


def _content(palette: Path) -> str:
    return palette.read_text("utf-8") if palette.is_file() else str(palette)


def _read(palette: Path) -> dict[str, tuple[int, int]]:
    try:
        written = tomllib.loads(palette.read_text("utf-8"))
        return {name.lower(): (int(low), int(high)) for name, (low, high) in written.items()}
    except (OSError, TypeError, ValueError) as error:  # a TOML error is a ValueError
        raise WeightsUnavailable(
            str(palette),
            f"cannot be read as hues ({error})",
            "Write lines such as `red = [171, 8]`.",
        ) from error


def _mask(image: Image, hues: tuple[int, int]) -> Mask:
    """(H, W) uint8, 1 where a pixel has one of the hues."""
    hue, saturation, value = cv2.split(cv2.cvtColor(image.pixels_rgb, cv2.COLOR_RGB2HSV))
    low, high = hues
    fits = (hue >= low) & (hue <= high) if low <= high else (hue >= low) | (hue <= high)
    mask: Mask = (fits & (saturation >= MIN_SATURATION) & (value >= MIN_VALUE)).astype(np.uint8)
    return mask


def _looked_at(mask: Mask, ask: Ask) -> Mask:
    """The mask, empty outside of the boxes that a person drew to look into."""
    if not ask.within_xyxy:
        return mask
    inside = np.zeros_like(mask)
    for x1, y1, x2, y2 in np.asarray(ask.within_xyxy).round().astype(int).clip(0):
        inside[y1:y2, x1:x2] = 1
    return mask * inside


def _is_meant(box: tuple[int, int, int, int], ask: Ask) -> bool:
    """Whether a person who pointed somewhere pointed at this box."""
    x1, y1, x2, y2 = box
    return not ask.at_xy or any(x1 <= x < x2 and y1 <= y < y2 for x, y in ask.at_xy)
