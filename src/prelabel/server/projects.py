"""What the server remembers of each project: how to reach its images, and how it went."""

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from threading import Lock

from prelabel.errors import NotReached
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Outcome, Prediction
from prelabel.server.introduction import Introduction
from prelabel.store.ledger import Seen

_MOST_PROJECTS = 1000
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
        label_config: As last set up.
        introduction: Who sent the last set-up, in its own words.
        counts: Tasks by outcome: predicted, empty, failed, not_reached.
        kinds: Tasks without prediction, by the class of the error.
        failures: The last of them.
    """

    key: str
    label_config: str = ""
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
                name = type(outcome).__name__
                project.kinds[name] += 1
                now = datetime.now(UTC).isoformat(timespec="seconds")
                failure = Failure(now, request_id, str(task), task.number, name, str(outcome))
                if not _is_told(failure, project.failures):
                    project.failures.append(failure)

    def report(self) -> list[dict[str, object]]:
        """All projects with their counts and last failures, the latest seen first."""
        with self._lock:
            return [
                {
                    "project": project.key or "(none given)",
                    "asked": project.counts.total(),
                    **{kind: project.counts[kind] for kind in KINDS},
                    "reasons": _reasons(project.kinds, project.failures),
                    "last_failures": [asdict(one) for one in reversed(project.failures)],
                }
                for project in reversed(self._known.values())
            ]


KINDS = ("predicted", "empty", "failed", "not_reached")
"""How a task can end: with regions, looked at without finding any, with an error, or not."""


def kind_of(outcome: Outcome) -> str:
    """Which of `KINDS` an outcome is."""
    if isinstance(outcome, Prediction):
        return "predicted" if outcome.result else "empty"
    return "not_reached" if isinstance(outcome, NotReached) else "failed"


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
