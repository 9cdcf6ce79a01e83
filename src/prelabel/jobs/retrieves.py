"""Retrieves, as the server that answers them sees the ledger: no click is lost, nothing is doubled.

What a retrieve asks for is written down before anything is predicted, and a job is submitted that
becomes due when the answer should have been given. So a server that is killed in between loses
nothing; and a job sees to it that Label Studio stored what it was answered.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from pydantic_core import from_json, to_json

from prelabel.errors import NotReached, PrelabelError, consequence_of
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Outcome, Prediction
from prelabel.store.database import Database
from prelabel.store.jobs import Job, Jobs
from prelabel.store.journal import Campaign, Failed, Kept
from prelabel.store.ledger import Ledger, Seen, forget

KIND = "backfill"

WAITS = "waits for Label Studio"
"""How the message of a backfill begins that cannot reach it."""

_MARGIN_S = 5.0
_STORES_PER_S = 10.0
"""Label Studio stored 19 predictions of an answer in a second, on two cores and SQLite."""

_STORES_AFTER_S = 15.0
_MOST_LEDGERS = 256

Answered: TypeAlias = Sequence[tuple[Task, Outcome]]
"""Tasks, each with what was found out about it."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A project of Label Studio, and the model version that answers it.

    Attributes:
        project: Its number.
        created: When it was made, in whole seconds since 1970.
        version: The model version.
    """

    project: int
    created: int
    version: str


class Retrieves:
    """What the server calls about the tasks that Label Studio asks for.

    Every method raises `StoreUnavailable` where the database does not answer.

    Args:
        engine: The database.
        jobs: The table of jobs.
        url: The Label Studio that projects belong to.
        budget_s: Time in which a request is answered.
        wake: Tells the runner that a job was submitted.
    """

    def __init__(
        self,
        engine: Database,
        jobs: Jobs,
        url: str,
        *,
        budget_s: float,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._jobs = jobs
        self._url = url
        self._budget_s = budget_s
        self._wake = wake
        self._ledger = lru_cache(_MOST_LEDGERS)(self._open)

    def begin(self, scope: Scope, task_ids: Sequence[int]) -> set[int]:
        """A retrieve of these tasks begins.

        Returns:
            Those that are to be predicted for it; a job has the others before it.
        """
        due_in_s = self._budget_s + _MARGIN_S
        left = self._nobody_brings(scope.project)
        mine = self._ledger(scope).claim(task_ids, time.time() + due_in_s, left=left)
        is_mine_alone = len(mine) == len(set(task_ids))
        self._submit(scope, due_in_s if is_mine_alone else 0.0)
        return mine

    def end(self, scope: Scope, found: Answered) -> set[int]:
        """A retrieve is about to be answered; what was not reached goes on in a job.

        Args:
            scope: The project.
            found: The tasks that `begin` gave, each with its outcome.

        Returns:
            Those whose predictions may be in the answer.
        """
        done = [task for task, outcome in found if isinstance(outcome, Prediction)]
        failed = [(t, o) for t, o in found if isinstance(o, PrelabelError)]
        late = [task for task, error in failed if goes_on(error)]
        ledger = self._ledger(scope)
        ledger.fail([_failed(task, error) for task, error in failed if not goes_on(error)])
        ledger.put_off(_ids(late))
        wait_s = stored_in_s(len(done))
        answered = ledger.answered(_ids(done), time.time() + wait_s)
        if late:
            self._submit(scope, 0.0)
        elif done:
            self._submit(scope, wait_s)
        return answered

    def abandon(self, scope: Scope, found: Answered) -> bool:
        """Nobody waits for an answer any more: a job brings to Label Studio what was found.

        Returns:
            Whether it can be relied on; not where the latest failed or waits in vain.
        """
        is_brought = not self._nobody_brings(scope.project)  # before a job of this begins
        ledger = self._ledger(scope)
        ledger.keep(
            [
                Kept(task.number, outcome.score, to_json(outcome.result))
                for task, outcome in found
                if isinstance(outcome, Prediction) and task.number is not None
            ]
        )
        ledger.put_off(_ids(task for task, _ in found))
        self._submit(scope, 0.0)
        return is_brought

    def take(self, scope: Scope, task_id: int) -> Prediction | Seen:
        """A person waits for a task: what is known of it, taken out of every job."""
        taken = self._ledger(scope).take(task_id)
        if isinstance(taken, Seen):
            return taken
        return Prediction(from_json(taken.result), taken.score, scope.version)

    def give(self, scope: Scope, task_id: int) -> bool:
        """A prediction of a taken task is about to be given; False where a job was faster."""
        return bool(self._ledger(scope).answered([task_id], time.time() + _STORES_AFTER_S))

    def cancelled(self, job: Job) -> None:
        """A job was cancelled: what it had before it is asked for no more."""
        if job.kind == KIND:
            forget(self._engine, self._url, project_of(job))

    def _nobody_brings(self, project: int) -> bool:
        """Whether the latest backfill failed, or cannot reach Label Studio."""
        begun = [
            job
            for job in self._jobs.recent(f"{self._url}#{project}")
            if job.kind == KIND and job.status != "queued"
        ]
        return bool(begun) and (
            begun[0].status == "failed"
            or (begun[0].status == "running" and begun[0].message.startswith(WAITS))
        )

    def _open(self, scope: Scope) -> Ledger:
        campaign = Campaign(self._url, scope.project, str(scope.created), scope.version)
        return Ledger(self._engine, campaign)

    def _submit(self, scope: Scope, delay_s: float) -> None:
        submit(self._jobs, self._url, scope.project, delay_s)
        self._wake()


def submit(
    jobs: Jobs, url: str, project: int, delay_s: float, *, doubles_until: float | None = None
) -> None:
    """Ask for the backfill of a project, or join the one that waits already.

    Args:
        jobs: The table.
        url: The Label Studio that the project belongs to.
        project: Its number.
        delay_s: Wait so long before it begins.
        doubles_until: Until when Label Studio may store what it was pushed meanwhile, in seconds
            since 1970; then the job looks for predictions that came twice.
    """
    payload = b"" if doubles_until is None else f"{doubles_until:.0f}".encode()
    jobs.submit(KIND, f"{url}#{project}", payload=payload, delay_s=delay_s)


def stored_in_s(answered: int) -> float:
    """How long after an answer Label Studio has stored so many predictions of it, seconds."""
    return _STORES_AFTER_S + answered / _STORES_PER_S


def project_of(job: Job) -> int:
    """The number of the project that a backfill is for."""
    return int(job.project.rpartition("#")[2])


def goes_on(error: PrelabelError) -> bool:
    """Whether a task that met this goes on in a job."""
    return consequence_of(error).retry


def in_work(task: Task) -> NotReached:
    """The outcome of a task that a job has before it."""
    return NotReached(
        str(task),
        "a job has it before it",
        "Nothing is to be done: its prediction comes by itself, and the jobs show how far it is.",
    )


def _failed(task: Task, error: PrelabelError) -> Failed:
    assert task.number is not None, "only tasks of Label Studio are claimed"
    return Failed.by(error, task.number, retry=consequence_of(error).retry)


def _ids(tasks: Iterable[Task]) -> list[int]:
    return [task.number for task in tasks if task.number is not None]
