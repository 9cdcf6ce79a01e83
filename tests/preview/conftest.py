"""Made-up findings and a predictor of them."""

import numpy as np
import pytest

from prelabel import keypoints
from prelabel.types import Detections, Poses


def people_at(*boxes, seen=range(133)):
    """People whose 133 keypoints lie on a grid in their box; those not in `seen` have score 0."""
    poses = Poses.none(len(keypoints.NAMES), "made-up")
    if not boxes:
        return poses
    boxes_xyxy = np.array(boxes, np.float32)
    grid = np.stack(np.meshgrid(np.linspace(0.1, 0.9, 12), np.linspace(0.1, 0.9, 12)), -1)
    places = grid.reshape(-1, 2)[: len(keypoints.NAMES)]
    corner, size = boxes_xyxy[:, None, :2], (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2])[:, None]
    scores = np.zeros((len(boxes), len(keypoints.NAMES)), np.float32)
    scores[:, list(seen)] = 0.8
    return Poses(
        boxes_xyxy,
        np.full(len(boxes), 0.9, np.float32),
        (corner + places * size).astype(np.float32),
        scores,
        poses.source,
    )


def boxes_at(*boxes, labels=None, parts=None):
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(count, 4),
        np.full(count, 0.5, np.float32),
        tuple(labels or ["body_distortion"] * count),
        tuple(parts or ["hand"] * count),
        "made-up",
    )


class Finding:
    """A predictor that always finds the same, and remembers what lay beside each image."""

    fingerprint = ""
    batch_size = 4
    wants_neighbours = True

    def __init__(self, found, name="finding"):
        self.name = name
        self.found = found
        self.beside = {}
        self.loads = 0

    def load(self):
        self.loads += 1

    def health(self):
        return {}

    def predict(self, images, ask):
        for image in images:
            self.beside[image.name.rpartition("/")[2]] = tuple(
                other and other.name.rpartition("/")[2] for other in (image.before, image.after)
            )
        return [self.found for _ in images]


@pytest.fixture(scope="session")
def made():
    class Made:
        people = staticmethod(people_at)
        boxes = staticmethod(boxes_at)
        predictor = Finding

    return Made
