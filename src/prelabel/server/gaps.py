"""Answers to Label Studio before 1.13, which stores nothing of one that leaves a task out.

Newer ones take `[]` for a task and store the rest. Older ones end at it (`predict_tasks` in
label_studio/ml/models.py of 1.8.2, 1.10.1 and 1.12.1); but an answer without entries is to them
one without predictions, and after a single entry for many tasks they ask for each task alone.
"""

import re
from collections.abc import Sequence
from typing import Any

from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Outcome, Prediction

LABEL_STUDIO = "heartex/"
"""How the User-Agent of Label Studio begins; its release follows."""

_FIRST_THAT_TAKES_THEM = (1, 13)
_RELEASE = re.compile(re.escape(LABEL_STUDIO) + r"(\d{1,9})\.(\d{1,9})")


def are_taken(user_agent: str) -> bool:
    """Whether a caller takes `[]` for a task; all do but Label Studio before 1.13."""
    release = _RELEASE.match(user_agent)
    return release is None or (int(release[1]), int(release[2])) >= _FIRST_THAT_TAKES_THEM


def has_gaps(found: Sequence[tuple[Task, Outcome]], tasks: Sequence[Task]) -> bool:
    """Whether an answer to these tasks, with what was found, would leave one out."""
    return sum(isinstance(outcome, Prediction) for _, outcome in found) < len(tasks)


def without_gaps(entries: list[Any], *, brought: bool) -> list[Any]:
    """What an older Label Studio is answered where tasks are left out.

    Args:
        entries: One for each task, `[]` for one that is left out.
        brought: Whether a job brings the predictions that are there.

    Returns:
        The entries themselves where none is left out; else one of them, after which each task is
        asked for alone, or none.
    """
    there = [entry for entry in entries if entry != []]
    if len(there) == len(entries):
        return entries
    return [] if brought else there[:1]
