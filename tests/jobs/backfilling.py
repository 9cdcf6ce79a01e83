"""What tests of backfills share: a project of frames that all look alike, and who finds in them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from tests.batch.conftest import PROJECT, FakeLabelStudio, said

from prelabel.batch.push import Manners
from prelabel.errors import ImageUnreachable, NotReached
from prelabel.gathering import Access, Studio
from prelabel.jobs.backfill_means import Means
from prelabel.jobs.retrieves import Scope
from prelabel.labelstudio.tasks import Task
from prelabel.plan import Predictors
from prelabel.store.jobs import Jobs
from prelabel.types import Detections, Image

URL = "http://studio.test"
CREATED = 1_767_323_045
CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="body_distortion"/></RectangleLabels></View>'
)
SCOPE = Scope(PROJECT, CREATED, "finder")


class StudioWithBirthday(FakeLabelStudio):
    """The same, with a project of which it is known when it was made."""

    def answer(self, request):
        if request.method == "GET" and request.url.path == f"/api/projects/{PROJECT}/":
            made = {"id": PROJECT, "created_at": "2026-01-02T03:04:05.678901Z"}
            return said(200, {**made, "label_config": self.label_config})
        return super().answer(request)


@dataclass
class Finder:
    """Finds one box; may be made to wait, or to be called otherwise."""

    name: str = "finder"
    fingerprint: str = ""
    wants_neighbours: bool = False
    batch_size: int = 1
    seen: list = field(default_factory=list)
    before: object = lambda image: None

    def check(self): ...

    def load(self): ...

    def health(self):
        return {"loaded": True}

    def predict(self, images, ask):
        return [self._find(image, ask) for image in images]

    def _find(self, image, ask):
        self.seen.append(image.name)
        self.before(image)
        box, score = np.array([[1, 1, 8, 9]], np.float32), np.array([0.5], np.float32)
        return Detections(box, score, (ask.phrases[0].label,), (None,), self.name)


class Pictures:
    """A picture for each address but some."""

    def load(self, reference):
        if reference.uri == "gone.png":
            raise ImageUnreachable(reference.uri, "is gone", "Upload it again.")
        return Image(np.zeros((10, 10, 3), np.uint8), reference.uri)


def means_with(engine, studio, predictor, folder, *, chunk=500):
    """What backfills work with, without a pause between two writes."""
    return Means(
        engine,
        Jobs(engine),
        studio,
        Predictors(predictor, predictor),
        lambda plan, project, created: plan,
        Studio(Pictures(), ThreadPoolExecutor(4), lambda _: ()),
        lambda project: Access(),
        Manners(0.0, 1, 0.01, chunk),
        folder,
    )


def late(ids):
    return [(Task(id=task), NotReached("task", "was late", "Wait.")) for task in ids]


def click(retrieves, ids):
    """A retrieve of which nothing was reached in time."""
    mine = retrieves.begin(SCOPE, ids)
    retrieves.end(SCOPE, late(sorted(mine)))
    return mine
