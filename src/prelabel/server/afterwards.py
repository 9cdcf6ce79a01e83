"""What goes on after an answer where no token allows to push it: it is found for the next click.

With a token, jobs do that, which outlive the server. Here nothing is promised: what a server that
ends had not found yet is found when it is asked for again.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock
from typing import Any

import structlog

from prelabel.batch.local import local
from prelabel.errors import NotReached
from prelabel.gathering import Access, Studio
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Outcome
from prelabel.plan import Plan
from prelabel.runtime.callers import Caller, Priority

log = structlog.get_logger(__name__)

_PROJECTS, _FETCHES = 2, 4
"""Projects that are worked on at a time, and images that are fetched for them; people go first."""

_MOST_CHARACTERS = 64_000_000
"""Task data that is kept for later, images inside it included."""

_TASK = 1000
"""As how many characters the task around its data counts."""


class Afterwards:
    """Predicts what was not reached, behind everybody else, for the prediction store.

    Args:
        studio: Where images come from.
        most_characters: Room for task data; what has none is left to the next click.
    """

    def __init__(self, studio: Studio, most_characters: int = _MOST_CHARACTERS) -> None:
        self._fetchers = ThreadPoolExecutor(_FETCHES, thread_name_prefix="fetch-afterwards")
        self._studio = replace(studio, fetchers=self._fetchers)
        self._runners = ThreadPoolExecutor(_PROJECTS, thread_name_prefix="afterwards")
        self._most_characters = most_characters
        self._characters = 0
        self._is_stopped = False
        self._at_work: dict[object, Caller] = {}
        self._lock = Lock()

    def give_way(self, project: object) -> None:
        """A project is asked for again: what goes on of it ends, and the request does it."""
        with self._lock:
            caller = self._at_work.pop(project, None)
        if caller is not None:
            caller.leave()

    def go_on(
        self,
        project: object,
        answered: Iterable[tuple[Task, Outcome]],
        plan: Plan,
        access: Access,
    ) -> None:
        """Predict what was not reached of an answered request, when nothing else is to be done."""
        self.give_way(project)
        late = [task for task, outcome in answered if isinstance(outcome, NotReached)]
        caller = Caller(Priority.BACKGROUND)
        with self._lock:
            kept, size = _fitting(late, self._most_characters - self._characters)
            if not kept or self._is_stopped:
                return
            self._characters += size
            self._at_work[project] = caller
            self._runners.submit(self._run, project, kept, size, plan, access, caller)

    def stop(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._is_stopped = True
            callers = list(self._at_work.values())
        for caller in callers:
            caller.leave()
        for pool in (self._runners, self._fetchers):
            pool.shutdown(wait=False, cancel_futures=True)

    def _run(
        self,
        project: object,
        tasks: Sequence[Task],
        size: int,
        plan: Plan,
        access: Access,
        caller: Caller,
    ) -> None:
        done = 0
        try:
            predict = local(plan.at(caller), self._studio, access)
            for _ in predict([] if caller.has_left else tasks):
                if caller.has_left:
                    break
                done += 1
            log.info("went on after an answer", project=project, tasks=len(tasks), done=done)
        except Exception:
            log.exception("defect", thing="what goes on after an answer")
        finally:
            with self._lock:
                self._characters -= size
                if self._at_work.get(project) is caller:
                    del self._at_work[project]


def _fitting(tasks: Sequence[Task], room: int) -> tuple[list[Task], int]:
    """The first tasks whose data fits, and its size in characters."""
    kept: list[Task] = []
    taken = 0
    for task in tasks:
        size = _TASK + sum(map(_size, task.data.values()))
        if taken + size > room:
            break
        kept.append(task)
        taken += size
    return kept, taken


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(repr(value))
