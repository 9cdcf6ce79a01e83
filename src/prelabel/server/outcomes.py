"""Outcomes of tasks: those of tasks that were not begun, and how all are told."""

from asyncio import Future
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from prelabel.errors import NotReached
from prelabel.gathering import not_reached
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Outcome, Prediction
from prelabel.plan import Plan
from prelabel.runtime.deadline import Deadline

log = structlog.get_logger(__name__)


def entry(outcome: Outcome, instead: Any) -> Any:
    """What stands for a task in an answer.

    Args:
        outcome: What was found out about it.
        instead: What stands for a task without prediction.
    """
    if not isinstance(outcome, Prediction):
        return instead
    return {
        "result": outcome.result,
        "score": outcome.score,
        "model_version": outcome.model_version,
    }


def nothing_found(model_version: str) -> dict[str, object]:
    """An entry without regions, for an editor that needs an object."""
    return {"result": [], "score": 0.0, "model_version": model_version}


def log_failures(outcomes: Sequence[Outcome], request_id: str) -> None:
    """One line per kind of failure, so that ten thousand broken links are not as many lines."""
    reasons: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if not isinstance(outcome, Prediction):
            reasons.setdefault(type(outcome).__name__, []).append(outcome)
    for kind, failures in reasons.items():
        first = str(failures[0])
        tasks = len(failures)
        log.warning(
            "tasks without prediction", kind=kind, tasks=tasks, first=first, request_id=request_id
        )


def log_crash(running: "Future[None]") -> None:
    """A defect of ours must not cost the tasks that are done, but must be seen."""
    if not running.cancelled() and running.exception() is not None:
        log.error("predict crashed", exc_info=running.exception())


def no_room(task: Task) -> NotReached:
    """The outcome of a task that was not taken."""
    return NotReached(
        str(task),
        "too many tasks wait already",
        "Retrieve predictions again later, for fewer tasks at a time, or raise MAX_QUEUED_TASKS.",
    )


def never_begun(plan: Plan) -> Callable[[Task, Deadline], NotReached]:
    """What gives the outcomes of tasks of which none was done at the deadline."""
    is_loaded = all(step.predictor.health().get("loaded") for step in plan.steps)
    return not_reached if is_loaded else _model_not_ready


def _model_not_ready(task: Task, deadline: Deadline) -> NotReached:
    """The outcome of a task that came while the model was loading, or its weights were fetched."""
    return NotReached(
        str(task),
        f"the model was still loading when the time budget of {deadline.budget_s:g} s ended",
        "Retrieve again when /health says model_loaded; `prelabel warmup` waits for it.",
    )
