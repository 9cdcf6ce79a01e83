"""The tasks around a task in its project, where the frames beside its own are found."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import islice
from threading import Lock

import structlog
from pydantic import ValidationError

from prelabel.errors import LabelStudioError, consequence_of
from prelabel.labelstudio.tasks import Task
from prelabel.labelstudio_api.client import LabelStudio

log = structlog.get_logger(__name__)

_BLOCK = 100
_KEEP_S = 60.0
_MOST_BLOCKS = 64


Found = list[Task] | LabelStudioError


class Siblings:
    """Lists tasks by id around a given one, through the API, with a short memory.

    Frames of a sequence are imported one after the other, so their task ids are close together.
    An answer, a failure too, is kept for a minute: a Label Studio that does not answer must not
    cost every task a wait.
    """

    def __init__(self, label_studio: LabelStudio) -> None:
        self._label_studio = label_studio
        self._blocks: OrderedDict[tuple[int, int], tuple[float, Future[Found]]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, task: Task) -> Sequence[Task]:
        """Up to 300 tasks of the same project with ids around this one's.

        Raises:
            LabelStudioError: They cannot be listed just now; later they may be.
        """
        if task.project is None or task.number is None:
            return ()
        key = (task.project, task.number // _BLOCK)
        answer, is_mine = self._place(key)
        if is_mine:
            try:
                answer.set_result(self._ask(*key))
            except BaseException as error:  # others wait for it, and would for ever
                answer.set_exception(error)
                raise
        found = answer.result()
        if isinstance(found, LabelStudioError):
            raise found
        return found

    def _place(self, key: tuple[int, int]) -> tuple[Future[Found], bool]:
        """The answer for a block, to come or kept, and whether the caller has to get it."""
        with self._lock:
            kept = self._blocks.get(key)
            if kept is not None and time.monotonic() - kept[0] <= _KEEP_S:
                return kept[1], False
            answer: Future[Found] = Future()
            self._blocks[key] = (time.monotonic(), answer)
            if len(self._blocks) > _MOST_BLOCKS:
                self._blocks.popitem(last=False)
            return answer, True

    def _ask(self, project: int, block: int) -> Found:
        first = max(0, (block - 1) * _BLOCK)
        try:
            found = self._label_studio.tasks(project, after_id=first - 1, page_size=3 * _BLOCK)
            return [Task.model_validate(row) for row in islice(found, 3 * _BLOCK)]
        except LabelStudioError as error:
            log.warning("neighbouring frames not listed", project=project, reason=str(error))
            return error if consequence_of(error).retry else []
        except (KeyError, ValidationError) as error:
            log.warning("neighbouring frames not understood", project=project, reason=repr(error))
            return []
