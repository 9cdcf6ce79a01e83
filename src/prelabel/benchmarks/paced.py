"""Models that find one box in each image and take a fixed time or a fixed amount of work for it."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from prelabel.predictors.base import Answer
from prelabel.types import Ask, Detections, Image

SLEEP_S = 0.06
ROUNDS = 400_000
"""Of SHA-256: about 70 ms of one core of 2026, without Python's lock."""

SLEEPING, COMPUTING, INSTANT = "paced-sleeping", "paced-computing", "paced-instant"


class Paced:
    """Finds one box in each image, one batch at a time.

    Args:
        name: What it is called.
        work: What it does for a batch.
        batch_size: How many images it likes best to get at once.
    """

    fingerprint = ""
    wants_neighbours = False

    def __init__(
        self, name: str, work: Callable[[Sequence[Image]], object], batch_size: int = 1
    ) -> None:
        self.name = name
        self.batch_size = batch_size
        self._work = work
        self._device = Lock()

    def check(self) -> None:
        """Nothing can be missing."""

    def load(self) -> None:
        """Nothing to load."""

    def health(self) -> dict[str, object]:
        """Always ready."""
        return {"loaded": True, "device": "none"}

    def predict(self, images: Sequence[Image], ask: Ask) -> Answer:
        """One box per image, after the work for it."""
        with self._device:
            self._work(images)
        label = ask.phrases[0].label
        box = np.array([[10, 10, 60, 60]], np.float32)
        score = np.array([0.5], np.float32)
        return [Detections(box, score, (label,), (None,), self.name) for _ in images]


def sleeping(_options: Mapping[str, Any]) -> Paced:
    """Sleeps, as a process does whose GPU computes."""
    return Paced(SLEEPING, lambda images: time.sleep(SLEEP_S * len(images)))


def computing(_options: Mapping[str, Any]) -> Paced:
    """Keeps one core busy."""
    return Paced(COMPUTING, _hash)


def instant(_options: Mapping[str, Any]) -> Paced:
    """Takes no time, so that all else sets the pace."""
    return Paced(INSTANT, lambda _: None)


MAKERS = {SLEEPING: sleeping, COMPUTING: computing, INSTANT: instant}


@contextmanager
def offered_in(folder: Path) -> Iterator[dict[str, str]]:
    """Offer the models to programs started meanwhile; yields the settings that let them."""
    yield offer(folder, "paced", MAKERS)


def offer(folder: Path, package: str, makers: Mapping[str, Callable[..., Paced]]) -> dict[str, str]:
    """Write a package that offers models by name; gives the settings with which it is found."""
    about = folder / f"{package}-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0\n")
    entries = [f"{name} = {made.__module__}:{made.__name__}" for name, made in makers.items()]
    (about / "entry_points.txt").write_text("\n".join(["[prelabel.predictors]", *entries, ""]))
    return {"PYTHONPATH": str(folder)}


def _hash(images: Sequence[Image]) -> None:
    for image in images:
        hashlib.pbkdf2_hmac("sha256", image.pixels_rgb[0, 0].tobytes(), b"", ROUNDS)
