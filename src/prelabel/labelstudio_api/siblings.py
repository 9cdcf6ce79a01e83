"""The tasks around a task in its project, where the frames beside its own are found."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from threading import Lock

import structlog

from prelabel.errors import LabelStudioError
from prelabel.labelstudio.tasks import Task
from prelabel.labelstudio_api.client import LabelStudio

log = structlog.get_logger(__name__)

_BLOCK = 100
_KEEP_S = 60.0
_MOST_BLOCKS = 64


class Siblings:
    """Lists tasks by id around a given one, through the API, with a short memory.

    Frames of a sequence are imported one after the other, so their task ids are close together.
    An answer, a failure too, is kept for a minute: a Label Studio that does not answer must not
    cost every task a wait.
    """

    def __init__(self, label_studio: LabelStudio) -> None:
        self._label_studio = label_studio
        self._blocks: OrderedDict[tuple[int, int], tuple[float, list[Task]]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, task: Task) -> Sequence[Task]:
        """Up to 300 tasks of the same project with ids around this one's."""
        if task.project is None or task.number is None:
            return ()
        block = task.number // _BLOCK
        key = (task.project, block)
        with self._lock:  # held while asking, so that a hundred tasks of a block ask once
            asked_at, tasks = self._blocks.get(key, (-_KEEP_S, []))
            if time.monotonic() - asked_at > _KEEP_S:
                tasks = self._ask(task.project, block)
                self._blocks[key] = (time.monotonic(), tasks)
                if len(self._blocks) > _MOST_BLOCKS:
                    self._blocks.popitem(last=False)
        return tasks

    def _ask(self, project: int, block: int) -> list[Task]:
        first = max(0, (block - 1) * _BLOCK)
        try:
            found = self._label_studio.tasks(project, after_id=first - 1, page_size=3 * _BLOCK)
            rows = list(islice(found, 3 * _BLOCK))
        except LabelStudioError as error:
            log.warning("neighbouring frames not listed", project=project, reason=str(error))
            return []
        return [Task.model_validate(row) for row in rows]
