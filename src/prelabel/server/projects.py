"""What the server remembers of each project: how to reach its images, and how it went."""

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from threading import Lock

from prelabel.errors import NotReached, PrelabelError
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Outcome, Prediction
from prelabel.plan import Plan
from prelabel.server.introduction import Introduction
from prelabel.store.ledger import Seen

_MOST_PROJECTS = 1000
_MOST_CHARACTERS = 8_000_000
"""Of the label configs of all: each of `_MOST_PROJECTS` may have all keypoints of a body."""

_LAST_FAILURES = 20


@dataclass(frozen=True, slots=True)
class Failure:
    """One task that got no prediction.

    Attributes:
        time: When, in UTC, as ISO 8601.
        request_id: Of the request that asked for it.
        task: The task in words.
        task_id: Its number in Label Studio, where it has one.
        kind: The class of the error.
        reason: What was wrong, and what to do.
    """

    time: str
    request_id: str
    task: str
    task_id: int | None
    kind: str
    reason: str


@dataclass(slots=True)
class Project:
    """One project, as seen since the server started.

    Attributes:
        key: Its number in Label Studio, as text.
        plan: Of the label config as last set up; None where none was.
        characters: How long that label config is.
        introduction: Who sent the last set-up, in its own words.
        counts: Tasks by outcome: predicted, empty, failed, not_reached.
        kinds: Tasks without prediction, by the class of the error.
        failures: The last of them.
    """

    key: str
    plan: Plan | None = None
    characters: int = 0
    introduction: Introduction | None = None
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    failures: deque[Failure] = field(default_factory=lambda: deque(maxlen=_LAST_FAILURES))


class Projects:
    """All projects seen, the least recently seen forgotten first. Safe for several threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Project] = OrderedDict()
        self._lock = Lock()

    def get(self, key: int | str | None) -> Project:
        """The project of this number; a new one where it was not seen before."""
        name = "" if key is None else str(key)
        with self._lock:
            project = self._known.setdefault(name, Project(name))
            self._known.move_to_end(name)
            if len(self._known) > _MOST_PROJECTS:
                self._known.popitem(last=False)
            return project

    def planned(self, project: Project, plan: Plan, characters: int) -> None:
        """Remember the plan of a label config, and how long that is."""
        with self._lock:
            project.plan, project.characters = plan, characters
            while sum(one.characters for one in self._known.values()) > _MOST_CHARACTERS:
                self._known.popitem(last=False)

    def all(self) -> list[Project]:
        """All projects, the latest seen first."""
        with self._lock:
            return list(reversed(self._known.values()))

    def record(self, project: Project, task: Task, outcome: Outcome, request_id: str) -> None:
        """Count one task's outcome and keep the reason of a failure."""
        kind = kind_of(outcome)
        with self._lock:
            project.counts[kind] += 1
            if not isinstance(outcome, Prediction):
                failure = _failure(request_id, str(task), task.number, outcome)
                project.kinds[failure.kind] += 1
                if not _is_told(failure, project.failures):
                    project.failures.append(failure)

    def refused(self, error: PrelabelError, request_id: str) -> None:
        """Keep why a request was not even read, or not understood: the latest of each kind."""
        project = self.get(None)
        with self._lock:
            failure = _failure(request_id, WHOLE, None, error)
            again = (WHOLE, failure.kind)
            kept = [one for one in project.failures if (one.task, one.kind) != again]
            project.failures = deque([*kept, failure], _LAST_FAILURES)

    def report(self) -> list[dict[str, object]]:
        """All projects with their counts and last failures, the latest seen first."""
        with self._lock:
            return [
                {
                    "project": project.key or NONE_GIVEN,
                    "asked": project.counts.total(),
                    **{kind: project.counts[kind] for kind in KINDS},
                    "reasons": _reasons(project.kinds, project.failures),
                    "last_failures": [asdict(one) for one in reversed(project.failures)],
                }
                for project in reversed(self._known.values())
            ]


NONE_GIVEN = "(none given)"
"""The project of requests that name none, or cannot be read."""

WHOLE = "all of a request"
"""The task of a failure that was every task's."""

KINDS = ("predicted", "empty", "failed", "not_reached")
"""How a task can end: with regions, looked at without finding any, with an error, or not."""


def kind_of(outcome: Outcome) -> str:
    """Which of `KINDS` an outcome is."""
    if isinstance(outcome, Prediction):
        return "predicted" if outcome.result else "empty"
    return "not_reached" if isinstance(outcome, NotReached) else "failed"


def _failure(request_id: str, task: str, number: int | None, error: PrelabelError) -> Failure:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Failure(now, request_id, task, number, type(error).__name__, str(error))


def _is_told(failure: Failure, before: Sequence[Failure]) -> bool:
    """Whether it is one more task of a click that a job does, which must not hide errors."""
    one_click = (failure.request_id, failure.kind)
    return Seen.OPEN.value in failure.reason and any(
        one_click == (told.request_id, told.kind) and Seen.OPEN.value in told.reason
        for told in before
    )


def _reasons(kinds: Counter[str], failures: Sequence[Failure]) -> list[dict[str, object]]:
    """Why tasks failed, the most frequent first, each with its latest words if they are kept."""
    latest = {failure.kind: failure.reason for failure in failures}
    return [
        {"kind": kind, "tasks": count, "example": latest.get(kind, "")}
        for kind, count in kinds.most_common()
    ]
