"""What is checked before a run begins, so that it does not fail on its first thousand tasks."""

import time
from collections.abc import Callable
from itertools import count

from prelabel.batch.push import Manners, backoff_s
from prelabel.errors import InvalidRequest, NotReady, OperatorError, RequestRefused
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.predictions import Fate, import_predictions
from prelabel.labelstudio_api.session import Json
from prelabel.plan import Plan, Predictors, make_plan
from prelabel.runtime.batcher import first_hang


def prepare(project: Json, predictors: Predictors) -> tuple[Plan, tuple[str, ...]]:
    """Have everything ready that a project's tasks need.

    Args:
        project: As Label Studio gives it.
        predictors: What finds boxes and poses.

    Returns:
        The plan, with its predictors loaded, and what the operator should know, each a full
        sentence.

    Raises:
        NotReady: There is nothing to fill, or no predictor can be used.
    """
    try:
        plan = make_plan(project["label_config"], predictors)
    except InvalidRequest as error:
        raise NotReady(error.thing, error.cause, error.next_step) from error
    named = f"the label config of project {project['id']}"
    if plan.videos:
        raise NotReady(
            named,
            "has videos, which no model looks at: only tracks that people began are carried on",
            "Draw some, press Start Training, then retrieve predictions in Label Studio.",
        )
    if not plan.steps:
        raise NotReady(
            named,
            "has nothing that prelabel fills",
            "Add RectangleLabels or KeyPointLabels on an Image to it.",
        )
    for step in plan.steps:
        try:
            step.predictor.load()
        except OperatorError as error:
            raise NotReady(error.thing, error.cause, error.next_step) from error
    reasons = [str(step.predictor.health().get("reason") or "") for step in plan.steps]
    said = dict.fromkeys([*plan.warnings, *(reason for reason in reasons if reason)])
    return plan, tuple(said)


def check_loaded(plan: Plan) -> None:
    """Refuse to begin in a process that nobody starts anew, where a model hangs already.

    Raises:
        NotReady: One does not get on with being loaded.
    """
    if hung := first_hang(step.predictor for step in plan.steps):
        raise NotReady(
            hung.model,
            hung.cause,
            "Look at where its weights lie or come from, and at the log of the GPU's driver "
            "(dmesg), then run the same command again.",
        )


def check_writing(
    studio: LabelStudio,
    project_id: int,
    manners: Manners,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Send no predictions at all, to learn whether some would be taken.

    Nothing can come twice of it, so it is repeated as a read is.

    Args:
        studio: Where predictions are to go.
        project_id: The project.
        manners: How often it is asked, and how long is waited between.
        pause: Waits; seconds.

    Raises:
        NotReady: The token may not write into this project.
        LabelStudioError: Label Studio cannot be reached.
    """
    for attempt in count(1):
        try:
            receipt = import_predictions(studio, project_id, b"[]")
        except RequestRefused as error:
            raise NotReady(error.thing, error.cause, error.next_step) from error
        if receipt.error is None or receipt.fate is Fate.REFUSED:
            return
        if attempt > manners.max_retries:
            raise receipt.error
        pause(backoff_s(attempt, manners.max_backoff_s, receipt.retry_after_s))
