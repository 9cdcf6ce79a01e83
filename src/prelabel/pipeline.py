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

from prelabel.errors import ModelError, PrelabelError, TaskError
from prelabel.gathering import Access, Gatherer, Pages, Studio
from prelabel.geometry import box_areas
from prelabel.labelstudio.regions.check import problems
from prelabel.labelstudio.regions.marks import kept
from prelabel.labelstudio.regions.write import Page, mean_score
from prelabel.labelstudio.tasks import Task
from prelabel.plan import Plan
from prelabel.predictors.base import Answer
from prelabel.predictors.body_parts import named_by_parts
from prelabel.predictors.pose_parts import parts_of
from prelabel.recall import Recall, Recalled
from prelabel.runtime.clock import Clock
from prelabel.runtime.deadline import Deadline
from prelabel.runtime.isolation import answer_each, bare, defect, named
from prelabel.steps import Step
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
        yield from ((index, _without_model(task, plan)) for index, task in enumerate(tasks))
        return
    unusable = _load_predictors(plan)
    if unusable is not None:
        yield from ((index, unusable) for index, _ in enumerate(tasks))
        return
    known = tasks if isinstance(tasks, Sequence) else ()
    gatherer = Gatherer(plan, studio, access, known, deadline)
    recall = Recall(plan, known)
    waiting = enumerate(tasks)
    loading: dict[Future[Pages], _Recalled] = {}
    loaded: list[_Gathered] = []
    batch_size = max(step.predictor.batch_size for step in plan.steps)
    try:
        while not deadline.passed:
            taken = list(islice(waiting, studio.ahead - len(loading) - len(loaded)))
            for index, task in taken:
                one = _Recalled(index, task, recall.of(task))
                drawn = recall.drawn(one.recalled)
                if drawn is None:
                    loading[studio.fetchers.submit(gatherer.pages, index, task)] = one
                else:  # nobody knows better than those who annotated it
                    yield index, _annotated(drawn, plan)
            if not taken and not loading and not loaded:
                return
            gatherer.hurry(is_empty_handed=not loaded)
            patience_s = 0.0 if loaded else deadline.remaining_s()
            for one, pages in _arrived(loading, patience_s):
                if isinstance(pages, PrelabelError):
                    yield one.index, pages
                else:
                    loaded.append(_Gathered(one.index, pages, one.recalled))
            yield from _predict_batch(loaded[:batch_size], plan, studio.clock)
            del loaded[:batch_size]  # their images need not stay while others are waited for
    finally:
        for future in loading:
            future.cancel()


@dataclass(frozen=True, slots=True)
class _Recalled:
    """A task with its place among all and what was learnt of it."""

    index: int
    task: Task
    recalled: Recalled


@dataclass(frozen=True, slots=True)
class _Gathered:
    """A task's place among all, its images, and what was learnt of them."""

    index: int
    pages: Pages
    recalled: Recalled


def _arrived(
    loading: dict[Future[Pages], _Recalled], patience_s: float
) -> Iterator[tuple[_Recalled, Pages | PrelabelError]]:
    """The tasks whose images have come, or why they have not; taken out of `loading`."""
    arrived, _ = wait(loading, timeout=patience_s, return_when=FIRST_COMPLETED)
    for future in arrived:
        one = loading.pop(future)
        try:
            yield one, future.result()
        except PrelabelError as error:
            yield one, bare(error)
        except Exception as error:  # noqa: BLE001 - a defect is logged; the others go on
            yield one, named(str(one.task), error)


def _annotated(drawn: Sequence[bytes], plan: Plan) -> Prediction:
    """What people drew on a task's images, as the prediction for it."""
    result = [region for one in drawn for region in kept(one, plan.config)]
    return Prediction(result, 1.0 if result else 0.0, plan.model_version)


def _predict_batch(
    batch: Sequence[_Gathered], plan: Plan, clock: Clock
) -> list[tuple[int, Outcome]]:
    """Each task's index and outcome; an error in one step of a task is the task's outcome."""
    found: list[list[_OnPage]] = [[] for _ in batch]
    errors: dict[int, PrelabelError] = {}
    version = plan.model_version
    for step in plan.steps:
        pages = [
            (row, image, number)
            for row, one in enumerate(batch)
            for number, image in one.pages[step.image.name]
            if step.page in (None, number)
        ]
        with clock.busy("predict", len(pages)):
            answer = _answer(step, [image for _, image, _ in pages])
        for (row, image, number), finding in zip(pages, answer, strict=True):
            page = Page(image.height, image.width, number)
            seen = _with_learnt(finding, step, page, batch[row], plan)
            if isinstance(seen, PrelabelError):
                errors.setdefault(row, seen)
            else:
                found[row].append(_OnPage(step, page, seen))
    if plan.model_version != version:  # another predictor has taken over meanwhile
        return _predict_batch(batch, plan, clock)
    with clock.busy("write", len(batch)):
        return [
            (one.index, errors.get(row) or _prediction(found[row], version, plan))
            for row, one in enumerate(batch)
        ]


def _with_learnt(
    finding: Detections | Poses | PrelabelError,
    step: Step,
    page: Page,
    one: _Gathered,
    plan: Plan,
) -> Detections | Poses | PrelabelError:
    """What is wanted of what a step found, together with what was learnt of the same image."""
    if isinstance(finding, PrelabelError):
        return finding
    answer = one.recalled.get(step.image.name)
    try:
        wanted = _wanted(finding, step.ask)
        if answer is None or plan.lesson is None:
            return wanted
        return step.with_learnt(wanted, answer, (page.height, page.width), plan.lesson.prefer)
    except Exception as error:  # noqa: BLE001 - defect logs it; the others go on
        return defect("prediction", error)


def _load_predictors(plan: Plan) -> PrelabelError | None:
    """Have all predictors of a plan ready, so that it is settled which ones answer."""
    for step in plan.steps:
        try:
            step.predictor.load()
        except PrelabelError as error:
            return error
        except Exception as error:  # noqa: BLE001 - named logs it; each task is told
            return named(step.predictor.name, error)
    return None


def _answer(step: Step, images: Sequence[Image]) -> Answer:
    """One entry per image; an image on which the predictor breaks costs only itself."""
    return answer_each(lambda some: step.predictor.predict(some, step.ask), images)


@dataclass(frozen=True, slots=True)
class _OnPage:
    """What one step found on one page of a task."""

    step: Step
    page: Page
    finding: Detections | Poses


def _prediction(found: Sequence[_OnPage], version: str, plan: Plan) -> Outcome:
    result: list[dict[str, Any]] = []
    scores: list[float] = []
    try:
        for one in found:
            finding = _with_parts_of_poses(one, found)
            result += one.step.regions(finding, one.page)
            scores += one.step.scores(finding)
    except Exception as error:  # noqa: BLE001 - defect logs it; the others go on
        return defect("prediction", error)
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
    if ask.within_xyxy and isinstance(finding, Poses):
        # Each box was taken for a person. That one is there is known by its keypoints alone.
        kept &= (finding.keypoint_scores > 0).any(1)
    return finding.take(np.flatnonzero(kept))


def _without_model(task: Task, plan: Plan) -> Outcome:
    """The outcome of a task at which no model looks: what was learnt of its video."""
    if plan.elsewhere:
        return TaskError(
            str(task),
            "what was drawn with the smart tool marks no place that prelabel looks into",
            "Draw a rectangle, an ellipse or a keypoint, with a label that prelabel fills.",
        )
    if not plan.videos:
        return TaskError(
            str(task),
            "its label config has nothing that prelabel fills",
            "Add RectangleLabels or KeyPointLabels on an Image, outside of any Repeater.",
        )
    learned = plan.lesson.learned if plan.lesson else None
    learnt = [
        found
        for step in plan.videos
        if learned and task.number is not None
        if (found := step.regions(learned, task.number)) is not None
    ]
    if not learnt:
        return TaskError(
            str(task),
            "nobody drew a track in its video that was learnt from",
            "Draw an object on a few frames, submit, press Start Training, and retrieve again.",
        )
    result = [region for regions in learnt for region in regions]
    scores = [region["score"] for region in result if "score" in region]
    return _checked(Prediction(result, mean_score(scores), plan.model_version), plan)
