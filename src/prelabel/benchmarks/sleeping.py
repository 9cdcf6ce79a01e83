"""A model that sleeps as a GPU computes, so that scheduling can be measured on any machine."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from prelabel.predictors.base import Answer
from prelabel.types import Ask, Detections, Image

NAME = "sleeping"
BATCH_SIZE = 8
FIRST_S, FURTHER_S = 0.05, 0.02
"""Seconds for the first image of a batch, and for each further one."""

_ENTRY_POINT = f"[prelabel.predictors]\n{NAME} = {__name__}:build\n"


def batch_s(images: int) -> float:
    """Seconds that the model takes for a batch."""
    return FIRST_S + FURTHER_S * (images - 1)


class Sleeping:
    """Finds one box in each image, one batch at a time."""

    name = NAME
    fingerprint = ""
    wants_neighbours = False
    batch_size = BATCH_SIZE

    def __init__(self) -> None:
        self._device = Lock()

    def check(self) -> None:
        """Nothing can be missing."""

    def load(self) -> None:
        """Nothing to load."""

    def health(self) -> dict[str, object]:
        """Always ready; it takes batches as a GPU does."""
        return {"loaded": True, "device": "none"}

    def predict(self, images: Sequence[Image], ask: Ask) -> Answer:
        """One box per image, after a while."""
        with self._device:
            time.sleep(batch_s(len(images)))
        label = ask.phrases[0].label
        box = np.array([[10, 10, 60, 60]], np.float32)
        score = np.array([0.5], np.float32)
        return [Detections(box, score, (label,), (None,), NAME) for _ in images]


def build(_options: Mapping[str, Any]) -> Sleeping:
    """The model; it has no settings."""
    return Sleeping()


@contextmanager
def offered_in(folder: Path) -> Iterator[dict[str, str]]:
    """Offer the model to servers started meanwhile; yields the settings that make them use it."""
    package = folder / "sleeping-0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: sleeping\nVersion: 0\n")
    (package / "entry_points.txt").write_text(_ENTRY_POINT)
    yield {"PYTHONPATH": str(folder), "BOXES_PREDICTOR": NAME}
