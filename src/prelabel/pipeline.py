"""The one way from tasks to predictions; server, batch run and preview all walk it.

tasks → image addresses → images → findings → regions in percent
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import structlog

from prelabel.errors import ModelError, OperatorError, PrelabelError, TaskError
from prelabel.gathering import Access, Gatherer, Pages, Studio
from prelabel.geometry import box_areas
from prelabel.labelstudio.regions.check import problems
from prelabel.labelstudio.regions.write import Page, mean_score
from prelabel.labelstudio.tasks import Task
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


def predict_tasks(
    tasks: Iterable[Task], plan: Plan, studio: Studio, access: Access, deadline: Deadline
) -> Iterator[tuple[int, Outcome]]:
    """Predict each task, in the order in which their images arrive.

    Args:
        tasks: Tasks of one project. Neighbouring frames are looked for in a sequence of them;
            of tasks that come one by one (read only a little ahead) in the project itself.
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
        yield from ((index, unusable) for index, _ in enumerate(tasks))
        return
    known = tasks if isinstance(tasks, Sequence) else ()
    gatherer = Gatherer(plan, studio, access, known, deadline)
    waiting = enumerate(tasks)
    loading: dict[Future[Pages], _Numbered] = {}
    loaded: list[_Gathered] = []
    batch_size = max(step.predictor.batch_size for step in plan.steps)
    try:
        while not deadline.passed:
            for index, task in _take(waiting, studio.ahead - len(loading) - len(loaded)):
                future = studio.fetchers.submit(gatherer.pages, index, task)
                loading[future] = _Numbered(index, task)
            if not loading and not loaded:
                return
            patience_s = 0.0 if loaded else deadline.remaining_s()
            arrived, _ = wait(loading, timeout=patience_s, return_when=FIRST_COMPLETED)
            for future in arrived:
                one = loading.pop(future)
                try:
                    loaded.append(_Gathered(one.index, one.task, future.result()))
                except PrelabelError as error:
                    yield one.index, error
                except Exception as error:  # noqa: BLE001 - _defect logs it; the others go on
                    yield one.index, _defect(one.task, error)
            batch, loaded = loaded[:batch_size], loaded[batch_size:]
            outcomes = _predict_batch([one.pages for one in batch], plan)
            yield from zip([one.index for one in batch], outcomes, strict=True)
    finally:
        for future in loading:
            future.cancel()


@dataclass(frozen=True, slots=True)
class _Numbered:
    """A task with its place among all."""

    index: int
    task: Task


@dataclass(frozen=True, slots=True)
class _Gathered:
    """A task with its images."""

    index: int
    task: Task
    pages: Pages


def _predict_batch(batch: Sequence[Pages], plan: Plan) -> list[Outcome]:
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


def _paged(pages: Pages, step: Step) -> list[tuple[Image, int | None]]:
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


def _nothing_to_fill(task: Task) -> TaskError:
    return TaskError(
        str(task),
        "its label config has nothing that prelabel fills",
        "Add RectangleLabels or KeyPointLabels on an Image to the label config.",
    )


def _take(waiting: Iterator[tuple[int, Task]], count: int) -> list[tuple[int, Task]]:
    return list(islice(waiting, max(count, 0)))
