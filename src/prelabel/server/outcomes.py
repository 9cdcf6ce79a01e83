"""How the outcomes of tasks are told: to Label Studio, and in the log."""

from collections.abc import Sequence
from typing import Any

import structlog

from prelabel.pipeline import Outcome, Prediction

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


def log_failures(outcomes: Sequence[Outcome]) -> None:
    """One line per kind of failure, so that ten thousand broken links are not as many lines."""
    reasons: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if not isinstance(outcome, Prediction):
            reasons.setdefault(type(outcome).__name__, []).append(outcome)
    for kind, failures in reasons.items():
        first = str(failures[0])
        log.warning("tasks without prediction", kind=kind, tasks=len(failures), first=first)
