"""A database of its own for each test, and a Label Studio in memory with frames of a moving car."""

import time
from dataclasses import dataclass, field

import pytest

from prelabel.store import jobs, learned
from prelabel.store.database import open_database


def until(condition, timeout_s=10.0):
    """Wait for a condition and give its value."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)
    return found


CONFIG = """<View><Image name="image" value="$image"/>
<RectangleLabels name="label" toName="image"><Label value="car"/></RectangleLabels></View>"""


def region(frame, *, speed=1.0):
    """The car, which drives to the right, in percent of a picture of 640 x 480."""
    shape = {"x": 5 + 0.5 * speed * frame, "y": 40, "width": 10, "height": 12, "rotation": 0}
    return {
        "id": f"r{frame}",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": 640,
        "original_height": 480,
        "image_rotation": 0,
        "value": {**shape, "rectanglelabels": ["car"]},
    }


def annotated_task(frame, result=None):
    """A task as Label Studio lists it, annotated with the car or with something else."""
    annotation = {
        "id": 1000 + frame,
        "result": [region(frame)] if result is None else result,
        "was_cancelled": False,
        "created_at": "2026-01-02T03:04:05.000000Z",
        "updated_at": "2026-01-02T03:04:05.000000Z",
    }
    return {
        "id": frame + 1,
        "inner_id": frame + 1,
        "data": {"image": f"/data/upload/1/drive_{frame:05}.jpg"},
        "annotations": [annotation],
    }


@dataclass
class Studio:
    """Stands in for the client of a Label Studio that holds one project."""

    annotated: list = field(default_factory=list)
    created_at: str = "2026-01-02T03:04:05.678901Z"
    fetched: int = 0
    not_annotated: list = field(default_factory=list)

    def project(self, project_id):
        return {
            "id": project_id,
            "label_config": CONFIG,
            "created_at": self.created_at,
        }

    def annotated_task_count(self, project_id):
        return len(self.annotated)

    def tasks(self, project_id):
        every = (*self.annotated, *self.not_annotated)
        return ({"id": task["id"], "data": task["data"]} for task in every)

    def annotated_tasks(self, project_id):
        for task in self.annotated:
            self.fetched += 1
            yield task


@pytest.fixture
def engine(tmp_path):
    opened = open_database("", tmp_path)
    yield opened
    opened.dispose()


@pytest.fixture
def table(engine):
    return jobs.Jobs(engine)


@pytest.fixture
def versions(engine):
    return learned.LearnedVersions(engine)


@pytest.fixture
def task():
    return annotated_task


@pytest.fixture
def car():
    return region


@pytest.fixture
def studio():
    """A project of which every fifth of 60 frames is annotated."""
    return Studio([annotated_task(frame) for frame in range(0, 60, 5)])
