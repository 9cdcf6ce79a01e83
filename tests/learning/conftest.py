"""Sequences that tests draw: objects that move as a function of the frame says."""

import numpy as np
import pytest

from prelabel.learning.frames import FrameKey
from prelabel.learning.marks import MarkedFrame
from prelabel.types import Mark

IMAGE_HW = 480, 640


def drawn_mark(x, y=100.0, *, size=(40.0, 80.0), label="distortion", control="label", **more):
    """A mark whose box begins at x, y."""
    box = np.array([x, y, x + size[0], y + size[1]], np.float32)
    points = more.pop("points_xy", np.zeros((0, 2), np.float32))
    seen = more.pop("points_seen", np.ones(len(points), bool))
    return Mark(control, label, box, more.pop("attributes", {}), points, seen, **more)


def drawn_frame(index, *marks, sequence="clip", image_hw=IMAGE_HW, drawn=b"[]"):
    """A submitted frame."""
    size = image_hw if marks else (0, 0)
    return MarkedFrame(FrameKey(sequence, index), size, tuple(marks), drawn)


@pytest.fixture(scope="session")
def mark():
    return drawn_mark


@pytest.fixture(scope="session")
def frame():
    return drawn_frame
