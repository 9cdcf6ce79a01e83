"""Outcomes of tasks that were not begun, each with its reason."""

from prelabel.errors import NotReached
from prelabel.labelstudio.tasks import Task
from prelabel.runtime.deadline import Deadline


def no_room(task: Task) -> NotReached:
    """The outcome of a task that was not taken."""
    return NotReached(
        str(task),
        "too many tasks wait already",
        "Retrieve predictions again later, for fewer tasks at a time, or raise MAX_QUEUED_TASKS.",
    )


def model_not_ready(task: Task, deadline: Deadline) -> NotReached:
    """The outcome of a task that came while the model was loading, or its weights were fetched."""
    return NotReached(
        str(task),
        f"the model was still loading when the time budget of {deadline.budget_s:g} s ended",
        "Retrieve again when /health says model_loaded; `prelabel warmup` waits for it.",
    )
