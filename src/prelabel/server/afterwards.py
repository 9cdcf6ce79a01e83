"""What goes on after an answer where no token allows to push it: it is found for the next click.

With a token, jobs do that, which outlive the server. Here nothing is promised: what a server that
ends had not found yet is found when it is asked for again.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
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


@dataclass(eq=False, slots=True)
class _Going:
    """What goes on of a project: the tasks, and which of them are done, by their places."""

    caller: Caller
    tasks: Sequence[Task]
    done: set[int] = field(default_factory=set)

    @property
    def left(self) -> list[Task]:
        """The tasks that are not done."""
        return [task for place, task in enumerate(self.tasks) if place not in self.done]


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
        self._at_work: dict[object, _Going] = {}
        self._interrupted: dict[object, _Going] = {}
        self._lock = Lock()

    def give_way(self, project: object) -> None:
        """A project is asked for again: what goes on of it stands back until that is answered."""
        with self._lock:
            going = self._at_work.pop(project, None)
            if going is not None:
                self._interrupted[project] = going
        if going is not None:
            going.caller.leave()

    def go_on(
        self,
        project: object,
        answered: Iterable[tuple[Task, Outcome]],
        plan: Plan,
        access: Access,
    ) -> None:
        """Predict what was not reached, of this request and of those before, behind everybody."""
        asked = list(answered)
        late = [task for task, outcome in asked if isinstance(outcome, NotReached)]
        if late:
            self.give_way(project)
        numbers = {task.number for task, _ in asked}
        with self._lock:
            before = self._interrupted.pop(project, None)
            if before is not None:
                late += [task for task in before.left if task.number not in numbers]
            kept, size = _fitting(late, self._most_characters - self._characters)
            if not kept or self._is_stopped:
                return
            self._characters += size
            going = self._at_work[project] = _Going(Caller(Priority.BACKGROUND), kept)
            self._runners.submit(self._run, project, going, size, plan, access)

    def stop(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._is_stopped = True
            at_work = list(self._at_work.values())
        for going in at_work:
            going.caller.leave()
        for pool in (self._runners, self._fetchers):
            pool.shutdown(wait=False, cancel_futures=True)

    def _run(
        self,
        project: object,
        going: _Going,
        size: int,
        plan: Plan,
        access: Access,
    ) -> None:
        caller, tasks, done = going.caller, going.tasks, going.done
        try:
            predict = local(plan.at(caller), self._studio, access)
            for place, _ in predict([] if caller.has_left else tasks):
                if caller.has_left:
                    break
                done.add(place)
            log.info("went on after an answer", project=project, tasks=len(tasks), done=len(done))
        except Exception:
            log.exception("defect", thing="what goes on after an answer")
        finally:
            with self._lock:
                self._characters -= size
                if self._at_work.get(project) is going:
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
