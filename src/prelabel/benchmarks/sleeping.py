"""A model that sleeps as a GPU computes, so that scheduling can be measured on any machine."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prelabel.benchmarks.paced import Paced, offer

NAME = "sleeping"
BATCH_SIZE = 8
FIRST_S, FURTHER_S = 0.05, 0.02
"""Seconds for the first image of a batch, and for each further one."""


def batch_s(images: int) -> float:
    """Seconds that the model takes for a batch."""
    return FIRST_S + FURTHER_S * (images - 1)


def build(_options: Mapping[str, Any]) -> Paced:
    """The model; it has no settings."""
    return Paced(NAME, lambda images: time.sleep(batch_s(len(images))), BATCH_SIZE)


@contextmanager
def offered_in(folder: Path) -> Iterator[dict[str, str]]:
    """Offer the model to servers started meanwhile; yields the settings that make them use it."""
    yield {**offer(folder, NAME, {NAME: build}), "BOXES_PREDICTOR": NAME}
