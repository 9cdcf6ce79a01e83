"""The one way from tasks to predictions; server, batch run and preview all walk it.

tasks → image addresses → images → findings → regions in percent
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from itertools import islice
from threading import Lock
from typing import Any, Protocol

import numpy as np
import structlog

from prelabel.errors import (
    ModelError,
    NotReached,
    OperatorError,
    PrelabelError,
    TaskError,
    consequence_of,
)
from prelabel.geometry import box_areas
from prelabel.labelstudio.config import ImageTag
from prelabel.labelstudio.regions.check import problems
from prelabel.labelstudio.regions.write import Page, mean_score
from prelabel.labelstudio.tasks import Task
from prelabel.learning.frames import FrameKey, frame_key, neighbours
from prelabel.media.references import ImageReference, Origin
from prelabel.plan import Plan, Step
from prelabel.predictors.base import Answer
from prelabel.predictors.body_parts import named_by_parts
from prelabel.predictors.pose_parts import parts_of
from prelabel.runtime.deadline import Deadline
from prelabel.types import Ask, Detections, Image, Poses

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one task is given.

    Attributes:
        result: Regions, as Label Studio stores them; empty for "looked, found nothing".
        score: Mean score of the regions, 0..1.
        model_version: What made it.
    """

    result: list[dict[str, Any]]
    score: float
    model_version: str


Outcome = Prediction | PrelabelError


class ImageSource(Protocol):
    """Where images come from."""

    def load(self, reference: ImageReference) -> Image:
        """The upright image at an address; TaskError where that is impossible."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """What a project's images may be fetched with."""

    login: str | None = None
    password: str | None = None
    label_studio: Origin | None = None


@dataclass(frozen=True, slots=True)
class Studio:
    """The working parts that every run shares.

    Attributes:
        images: Where images come from.
        fetchers: Threads that fetch and decode.
        siblings: The tasks around a task in its project, for its neighbouring frames.
        ahead: How many tasks are fetched ahead of the predictor.
    """

    images: ImageSource
    fetchers: Executor
    siblings: Callable[[Task], Sequence[Task]]
    ahead: int = 8


def predict_tasks(
    tasks: Sequence[Task], plan: Plan, studio: Studio, access: Access, deadline: Deadline
) -> Iterator[tuple[int, Outcome]]:
    """Predict each task, in the order in which their images arrive.

    Args:
        tasks: Tasks of one project.
        plan: What to find in them.
        studio: The working parts.
        access: Credentials for their images.
        deadline: No new work is begun after it; running work is waited for.

    Yields:
        The index of a task and its prediction or the error that prevented it, each index once. A
        task that is not yielded was not reached in time.
    """
    if not plan.steps:
        yield from ((index, _nothing_to_fill(task)) for index, task in enumerate(tasks))
        return
    unusable = _load_predictors(plan)
    if unusable is not None:
        yield from ((index, unusable) for index in range(len(tasks)))
        return
    loader = _Loader(tasks, plan, studio, access, deadline)
    waiting = iter(range(len(tasks)))
    loading: dict[Future[_Pages], int] = {}
    loaded: list[tuple[int, _Pages]] = []
    batch_size = max(step.predictor.batch_size for step in plan.steps)
    try:
        while not deadline.passed:
            for index in _take(waiting, studio.ahead - len(loading) - len(loaded)):
                loading[studio.fetchers.submit(loader.pages, index)] = index
            if not loading and not loaded:
                return
            patience_s = 0.0 if loaded else deadline.remaining_s()
            arrived, _ = wait(loading, timeout=patience_s, return_when=FIRST_COMPLETED)
            for future in arrived:
                index = loading.pop(future)
                try:
                    loaded.append((index, future.result()))
                except PrelabelError as error:
                    yield index, error
                except Exception as error:  # noqa: BLE001 - _defect logs it; the others go on
                    yield index, _defect(tasks[index], error)
            batch, loaded = loaded[:batch_size], loaded[batch_size:]
            yield from zip(
                [index for index, _ in batch],
                _predict_batch([pages for _, pages in batch], plan),
                strict=True,
            )
    finally:
        for future in loading:
            future.cancel()


_Pages = dict[str, list[Image]]
"""The images of one task, by the name of the image tag that shows them."""


class _Loader:
    """Finds and loads what one task needs, with neighbouring frames where they help."""

    def __init__(
        self,
        tasks: Sequence[Task],
        plan: Plan,
        studio: Studio,
        access: Access,
        deadline: Deadline,
    ) -> None:
        self._tasks = tasks
        self._deadline = deadline
        self._plan = plan
        self._studio = studio
        self._access = access
        self._wants_neighbours = any(step.predictor.wants_neighbours for step in plan.steps)
        self._beside = _Beside(tasks, studio.siblings) if self._wants_neighbours else None

    def pages(self, index: int) -> _Pages:
        """All images of a task.

        Raises:
            TaskError: One of them cannot be had.
        """
        task = self._tasks[index]
        found: _Pages = {}
        for tag in dict.fromkeys(step.image for step in self._plan.steps):
            uris = tag.uris(task.data)
            found[tag.name] = [self._load(task, uri) for uri in uris]
            if self._beside is not None and not tag.is_list:
                (image,) = found[tag.name]
                before, after = self._beside.frames(index, tag)
                found[tag.name] = [
                    replace(
                        image,
                        before=self._load_if_possible(before, tag),
                        after=self._load_if_possible(after, tag),
                    )
                ]
        return found

    def _load(self, task: Task, uri: str) -> Image:
        if self._deadline.passed:  # of a hundred pages, the rest need not be fetched any more
            raise not_reached(task, self._deadline)
        access = self._access
        return self._studio.images.load(
            ImageReference(uri, task.number, access.login, access.password, access.label_studio)
        )

    def _load_if_possible(self, task: Task | None, tag: ImageTag) -> Image | None:
        """A neighbouring frame; without it the image is still worth looking at.

        Raises:
            TaskError: It is there, but cannot be had just now: an answer without it would be
                stored for good.
        """
        if task is None:
            return None
        try:
            (uri,) = tag.uris(task.data)
            return self._load(task, uri)
        except TaskError as error:
            if consequence_of(error).retry:
                raise
            log.debug("neighbour not loaded", task=str(task), reason=str(error))
            return None


class _Beside:
    """Which tasks hold the frames before and after a task's own."""

    def __init__(self, tasks: Sequence[Task], siblings: Callable[[Task], Sequence[Task]]) -> None:
        self._tasks = tasks
        self._siblings = siblings
        self._of_tag: dict[ImageTag, list[tuple[int | None, int | None]]] = {}
        self._lock = Lock()

    def frames(self, index: int, tag: ImageTag) -> tuple[Task | None, Task | None]:
        """The tasks before and after one: of this request, else of its project."""
        with self._lock:
            if tag not in self._of_tag:
                self._of_tag[tag] = neighbours([_frame(task, tag) for task in self._tasks])
            before, after = self._of_tag[tag][index]
        if before is None or after is None:
            task = self._tasks[index]
            known = [task, *(other for other in self._siblings(task) if other.id != task.id)]
            far_before, far_after = neighbours([_frame(other, tag) for other in known])[0]
            return (
                _pick(self._tasks, before) or _pick(known, far_before),
                _pick(self._tasks, after) or _pick(known, far_after),
            )
        return self._tasks[before], self._tasks[after]


def _pick(tasks: Sequence[Task], index: int | None) -> Task | None:
    return None if index is None else tasks[index]


def _frame(task: Task, tag: ImageTag) -> FrameKey | None:
    try:
        uri = tag.uris(task.data)[0]
    except TaskError:
        return None
    return frame_key(task.data, uri, inner_id=task.inner_id, task_id=task.number)


def _predict_batch(batch: Sequence[_Pages], plan: Plan) -> list[Outcome]:
    """One outcome per task of a batch; an error in one step of a task is the task's outcome."""
    found: list[list[_OnPage]] = [[] for _ in batch]
    errors: dict[int, PrelabelError] = {}
    for step in plan.steps:
        pages = [(row, page) for row, pages in enumerate(batch) for page in _paged(pages, step)]
        answer = _answer(step, [image for _, (image, _) in pages])
        for (row, (image, number)), finding in zip(pages, answer, strict=True):
            if isinstance(finding, PrelabelError):
                errors.setdefault(row, finding)
            else:
                page = Page(image.height, image.width, number)
                found[row].append(_OnPage(step, page, _wanted(finding, step.ask)))
    version = plan.model_version
    return [
        errors.get(row) or _prediction(on_pages, version, plan)
        for row, on_pages in enumerate(found)
    ]


def _load_predictors(plan: Plan) -> PrelabelError | None:
    """Have all predictors of a plan ready, so that it is settled which ones answer."""
    for step in plan.steps:
        try:
            step.predictor.load()
        except OperatorError as error:
            return error
    return None


def _answer(step: Step, images: Sequence[Image]) -> Answer:
    """One entry per image; an image on which the predictor breaks costs only itself."""
    try:
        answer = step.predictor.predict(images, step.ask)
        assert len(answer) == len(images), f"{len(answer)} answers for {len(images)} images"
    except PrelabelError as error:
        return [error] * len(images)
    except Exception as error:  # noqa: BLE001 - _defect logs it; the others go on
        if len(images) > 1:
            return [found for image in images for found in _answer(step, [image])]
        return [_defect(images[0].name, error)] * len(images)
    return answer


def _defect(thing: object, error: Exception) -> ModelError:
    """What nobody thought of: the log has all of it, the outcome its name."""
    log.error("defect", thing=str(thing), exc_info=error)
    return ModelError(
        str(thing),
        f"met a defect of prelabel ({type(error).__name__})",
        "Please report what the log says of it.",
    )


@dataclass(frozen=True, slots=True)
class _OnPage:
    """What one step found on one page of a task."""

    step: Step
    page: Page
    finding: Detections | Poses


def _paged(pages: _Pages, step: Step) -> list[tuple[Image, int | None]]:
    images = pages[step.image.name]
    return [(image, number if step.image.is_list else None) for number, image in enumerate(images)]


def _prediction(found: Sequence[_OnPage], version: str, plan: Plan) -> Outcome:
    result: list[dict[str, Any]] = []
    scores: list[float] = []
    try:
        for one in found:
            finding = _with_parts_of_poses(one, found)
            result += one.step.regions(finding, one.page)
            scores += one.step.scores(finding)
    except Exception as error:  # noqa: BLE001 - _defect logs it; the others go on
        return _defect("prediction", error)
    score = mean_score(scores) if result else 0.0
    return _checked(Prediction(result, score, version), plan)


def _with_parts_of_poses(one: _OnPage, found: Sequence[_OnPage]) -> Detections | Poses:
    """Boxes with their body parts by the poses on the same page, where it has any."""
    if isinstance(one.finding, Poses):
        return one.finding
    for other in found:
        beside = other.step.image == one.step.image and other.page == one.page
        if beside and isinstance(other.finding, Poses) and len(other.finding):
            parts = parts_of(other.finding, (one.page.height, one.page.width))
            return named_by_parts(one.finding, parts)
    return one.finding


def _checked(prediction: Prediction, plan: Plan) -> Outcome:
    """The prediction, or an error where Label Studio would not take it."""
    found = problems(prediction.result, plan.config)
    if found:
        return ModelError(
            "prediction",
            f"does not fit the label config ({'; '.join(found[:3])})",
            "This is a defect of prelabel: please report it with the label config.",
        )
    return prediction


def _wanted(finding: Detections | Poses, ask: Ask) -> Detections | Poses:
    """What lies where an annotator drew or pointed; everything where they did neither."""
    if not ask.within_xyxy and not ask.at_xy:
        return finding
    boxes = finding.boxes_xyxy
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    kept = np.zeros(len(boxes), bool)
    for x1, y1, x2, y2 in ask.within_xyxy:
        kept |= ((centres >= (x1, y1)) & (centres <= (x2, y2))).all(1)
    for x, y in ask.at_xy:
        at = ((boxes[:, :2] <= (x, y)) & (boxes[:, 2:] >= (x, y))).all(1)
        if at.any():  # of several that lie there, the smallest is what was meant
            kept[np.argmin(np.where(at, box_areas(boxes), np.inf))] = True
    return finding.take(np.flatnonzero(kept))


def not_reached(task: Task, deadline: Deadline) -> NotReached:
    """The outcome of a task whose turn did not come."""
    return NotReached(
        str(task),
        f"the time budget of {deadline.budget_s:g} s ended before its turn",
        "Retrieve predictions again: tasks that are done are not asked for twice.",
    )


def _nothing_to_fill(task: Task) -> TaskError:
    return TaskError(
        str(task),
        "its label config has nothing that prelabel fills",
        "Add RectangleLabels or KeyPointLabels on an Image to the label config.",
    )


def _take(waiting: Iterator[int], count: int) -> list[int]:
    return list(islice(waiting, max(count, 0)))
