"""Scenes made by hand or by chance."""

import numpy as np
import pytest

from prelabel.evaluation.scenes import AnnotatedBoxes, AnnotatedPeople, Scene
from prelabel.types import Detections, Poses

POINTS = 133


class Make:
    """Makes scenes; what is not given is empty."""

    def people(self, keypoints_xy=None, annotated=None, boxes_xyxy=None, areas=None, crowds=None):
        keypoints_xy = np.zeros((0, POINTS, 2)) if keypoints_xy is None else keypoints_xy
        count = len(keypoints_xy)
        boxes = np.array([[0, 0, 100, 100]] * count if boxes_xyxy is None else boxes_xyxy, float)
        boxes = boxes.reshape(-1, 4)
        sides = boxes[:, 2:] - boxes[:, :2]
        return AnnotatedPeople(
            boxes_xyxy=boxes,
            areas=sides.prod(1) if areas is None else np.array(areas, float),
            keypoints_xy=np.array(keypoints_xy, float),
            annotated=np.ones((count, POINTS), bool) if annotated is None else annotated,
            crowds=np.zeros(count, bool) if crowds is None else np.array(crowds, bool),
            area_given=np.full(count, areas is not None),
        )

    def poses(self, keypoints_xy=None, scores=None, box_scores=None):
        keypoints_xy = np.zeros((0, POINTS, 2)) if keypoints_xy is None else keypoints_xy
        count = len(keypoints_xy)
        points = np.ones((count, POINTS)) if scores is None else scores
        return Poses(
            boxes_xyxy=np.array([[0, 0, 100, 100]] * count, np.float32).reshape(-1, 4),
            box_scores=np.array([1.0] * count if box_scores is None else box_scores, np.float32),
            keypoints_xy=np.array(keypoints_xy, np.float32),
            keypoint_scores=np.array(points, np.float32),
            source="test",
        )

    def scene(self, people=None, poses=None, annotated=(), predicted=(), owners=None):
        """Boxes are (x1, y1, x2, y2, label, score or crowd)."""
        return Scene(
            "image",
            people or self.people(),
            poses or self.poses(),
            AnnotatedBoxes(
                np.array([box[:4] for box in annotated], float).reshape(-1, 4),
                tuple(box[4] for box in annotated),
                np.array([box[5] for box in annotated], bool),
            ),
            Detections(
                np.array([box[:4] for box in predicted], np.float32).reshape(-1, 4),
                np.array([box[5] for box in predicted], np.float32),
                tuple(box[4] for box in predicted),
                (None,) * len(predicted),
                "test",
            ),
            owners,
        )

    def spread_out(self, seed=0, count=1):
        """Keypoints (count, 133, 2) somewhere in a box of 100 pixels."""
        return np.random.default_rng(seed).uniform(0, 100, (count, POINTS, 2)).round(1)


@pytest.fixture(scope="session")
def make():
    return Make()
