"""Projects with a memory: what annotators drew, as Label Studio exports it."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from prelabel import keypoints
from prelabel.labelstudio.config import LabelConfig, parse
from prelabel.labelstudio.keypoint_labels import keypoint_labels
from prelabel.labelstudio.prompts import part_choices
from prelabel.labelstudio.regions.write import (
    Page,
    PartChoice,
    PersonBox,
    PointLabels,
    box_regions,
    pose_regions,
)
from prelabel.labelstudio.templates import boxes_config, pose_config
from prelabel.types import Detections, Poses

POINTS = len(keypoints.NAMES)


def people(*persons):
    """Poses of persons, each a dict of keypoint index to (x, y); the box lies around them."""
    poses = Poses.none(POINTS, "drawn")
    if not persons:
        return poses
    xy = np.zeros((len(persons), POINTS, 2), np.float32)
    scores = np.zeros((len(persons), POINTS), np.float32)
    boxes = np.zeros((len(persons), 4), np.float32)
    for row, points in enumerate(persons):
        for index, place in points.items():
            xy[row, index], scores[row, index] = place, 1
        drawn = np.array(list(points.values()), np.float32)
        boxes[row] = (*drawn.min(0), *drawn.max(0))
    return Poses(boxes, np.ones(len(persons), np.float32), xy, scores, "drawn")


def boxes(*rows):
    """Detections of (label, body part, box)."""
    return Detections(
        np.array([row[2] for row in rows], np.float32).reshape(-1, 4),
        np.ones(len(rows), np.float32),
        tuple(row[0] for row in rows),
        tuple(row[1] for row in rows),
        "drawn",
    )


@dataclass
class Project:
    """A label config and its tasks."""

    xml: str
    tasks: list = field(default_factory=list)

    @property
    def config(self) -> LabelConfig:
        return parse(self.xml)

    def drawn(self, found, image_hw=(480, 640), page=None, *, with_box=True):
        """What annotators draw for poses or boxes, as regions."""
        where = Page(*image_hw, index=page)
        if isinstance(found, Detections):
            control = next(c for c in self.config.controls if c.tag == "RectangleLabels")
            choices = self.config.control("body_part")
            choice = choices and PartChoice(choices, part_choices(choices.labels), frozenset())
            return box_regions(found, control, choice, where)
        control = next(c for c in self.config.controls if c.tag == "KeyPointLabels")
        rectangle = next((c for c in self.config.controls if c.tag == "RectangleLabels"), None)
        parent = PersonBox(rectangle, "person") if rectangle and with_box else None
        return pose_regions(
            found, [PointLabels(control, keypoint_labels(control.labels))], parent, where
        )

    def add(self, *results, uri=None, **fields):
        """A task with these results as annotations; a dict is an annotation as it is."""
        number = len(self.tasks) + 1
        annotations = [
            {"id": place, "updated_at": f"2026-01-0{place}T00:00:00.000000Z"}
            | (given if isinstance(given, dict) else {"result": given})
            for place, given in enumerate(results, start=1)
        ]
        data = {"image": uri or f"/data/upload/1/{number:08x}-photo.png"}
        self.tasks.append({"id": number, "data": data, "annotations": annotations, **fields})
        return number


@pytest.fixture(scope="session")
def draw():
    """The makers of projects, poses and boxes."""

    class Draw:
        people = staticmethod(people)
        boxes = staticmethod(boxes)
        project = Project

        @staticmethod
        def pose_project(points="133"):
            return Project(pose_config(points))

        @staticmethod
        def box_project():
            return Project(boxes_config())

    return Draw
