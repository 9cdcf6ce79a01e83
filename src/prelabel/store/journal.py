"""The journal of batch runs: what became of each task, kept until Label Studio holds it.

A prediction is written here before it is sent, and marked before and after each sending. So a
process that is killed at any moment loses nothing: what it had predicted is sent by the next run,
and what it was just sending is looked for in Label Studio first.
"""

import time
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Double,
    Engine,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from prelabel.errors import PrelabelError
from prelabel.store.database import metadata
from prelabel.store.text import storable
from prelabel.store.transactions import transaction

campaigns = Table(
    "run_campaigns",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("url", Text, nullable=False),
    Column("project", Integer, nullable=False),
    # A Label Studio that was set up anew counts its projects from 1 again.
    Column("project_created", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("anew_since", Double),
    UniqueConstraint("url", "project", "project_created", "model_version"),
)
tasks = Table(
    "run_tasks",
    metadata,
    Column("campaign", ForeignKey(campaigns.c.id), primary_key=True),
    Column("task", BigInteger, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("changed", Double, nullable=False),  # seconds since 1970, UTC
    Column("score", Double),
    Column("result", LargeBinary),  # zlib of JSON, while it is not pushed
    Column("size", Integer, nullable=False, default=0),  # of the JSON, in bytes
    Column("was_in_doubt", Boolean, nullable=False, default=False),
    Column("kind", Text),
    Column("reason", Text),
    Column("retry", Boolean),
    Index("run_tasks_by_state", "campaign", "state", "changed"),
)
_task = tasks.c
STATE_OF_FEW = _task.state.concat("")
"""The state, where tasks are named by their ids.

SQLite would look up all tasks of a state for each 500 ids otherwise: 100,000 take 4 s then.
"""
_KEPT_S = 30 * 24 * 3600.0
"""For so long it is known of older model versions which tasks Label Studio was brought."""

_FORGOTTEN_AT_ONCE = 50_000
"""Rows; a second's work, for which others wait."""

_Id = TypeVar("_Id")
_FAST = 1  # zlib; keypoints shrink to an eighth at once, and little more at leisure


class State(StrEnum):
    """What became of a task; `Ledger` tells more of the first two."""

    ASKED = "asked"
    ANSWERED = "answered"
    PREDICTED = "predicted"
    SENDING = "sending"
    PUSHED = "pushed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Campaign:
    """What one journal is about; a run with the same four goes on where another ended.

    Attributes:
        url: Label Studio's address.
        project: The project's id.
        project_created: When the project was made, in whole seconds since 1970.
        model_version: What the predictions are called.
    """

    url: str
    project: int
    project_created: str
    model_version: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A prediction that is to be pushed.

    Attributes:
        task_id: The task.
        score: The prediction's score.
        result: Its regions, as JSON.
    """

    task_id: int
    score: float
    result: bytes

    def columns(self) -> dict[str, object]:
        """What is written down of it."""
        result, size = zlib.compress(self.result, _FAST), len(self.result)
        return {"state": State.PREDICTED, "score": self.score, "result": result, "size": size}


@dataclass(frozen=True, slots=True)
class Failed:
    """A task without a prediction.

    Attributes:
        task_id: The task.
        kind: The class of the error, for example "ImageUnreachable".
        reason: The error in full: what, why and what to do.
        retry: Whether the same may succeed later without anyone acting.
    """

    task_id: int
    kind: str
    reason: str
    retry: bool

    @classmethod
    def by(cls, error: PrelabelError, task_id: int, *, retry: bool) -> Self:
        """A task that has no prediction because of this error."""
        return cls(task_id, type(error).__name__, str(error), retry)

    def columns(self) -> dict[str, object]:
        """What is written down of it."""
        reason = storable(self.reason)
        return {"state": State.FAILED, "kind": self.kind, "reason": reason, "retry": self.retry}


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal knows of a task.

    Attributes:
        state: What became of it.
        changed_at: When, in seconds since 1970.
        retry: For a failed one, whether it may succeed later without anyone acting.
    """

    state: State
    changed_at: float
    retry: bool


class Journal:
    """The journal of one campaign. Several threads may share it, but only one process writes."""

    def __init__(self, engine: Engine, campaign: Campaign) -> None:
        self._engine = engine
        self._id = self._found_or_made(campaign)

    def keep(self, predictions: Sequence[Kept]) -> None:
        """Write predictions down, in place of what was known of their tasks."""
        self._replace(predictions)

    def fail(self, failures: Sequence[Failed]) -> None:
        """Write failures down, in place of what was known of their tasks."""
        self._replace(failures)

    def entries(self, first_id: int, last_id: int) -> dict[int, Entry]:
        """What is known of the tasks between two ids, both included."""
        between = self._mine & _task.task.between(first_id, last_id)
        asked = select(_task.task, _task.state, _task.changed, _task.retry).where(between)
        with transaction(self._engine) as connection:
            return {
                task: Entry(State(state), changed, bool(retry))
                for task, state, changed, retry in connection.execute(asked)
            }

    def waiting(self, most: int, most_bytes: int) -> list[Kept]:
        """The predictions that have waited longest.

        At least one where there is any, however large it is.
        """
        longest = (
            select(_task.task, _task.size)
            .where(self._mine, _task.state == State.PREDICTED)
            .order_by(_task.changed, _task.task)
            .limit(most)
        )
        chosen: list[int] = []
        total = 0
        with transaction(self._engine) as connection:
            for task, size in connection.execute(longest):
                total += size
                if chosen and total > most_bytes:
                    break
                chosen.append(task)
        return self.results(chosen)

    def results(self, task_ids: Sequence[int]) -> list[Kept]:
        """The predictions of tasks that are not pushed yet."""
        found = []
        with transaction(self._engine) as connection:
            for ids in blocks(task_ids):
                asked = select(_task.task, _task.score, _task.result).where(
                    self._mine, _task.task.in_(ids), _task.result.is_not(None)
                )
                found += [
                    Kept(task, score, zlib.decompress(result))
                    for task, score, result in connection.execute(asked)
                ]
        return found

    def not_pushed(self) -> dict[int, float]:
        """The tasks that are predicted and not pushed, and when it was, in seconds since 1970."""
        waits = _task.state.in_((State.PREDICTED, State.SENDING))
        with transaction(self._engine) as connection:
            rows = connection.execute(select(_task.task, _task.changed).where(self._mine, waits))
            return {row.task: row.changed for row in rows}

    def forget(self, task_ids: Sequence[int]) -> None:
        """Nothing is known of these tasks any more."""
        with transaction(self._engine) as connection:
            for ids in blocks(task_ids):
                connection.execute(delete(tasks).where(self._mine, _task.task.in_(ids)))

    def in_doubt(self) -> dict[int, float]:
        """The tasks that were being sent, and when, in seconds since 1970."""
        asked = select(_task.task, _task.changed).where(self._mine, _task.state == State.SENDING)
        with transaction(self._engine) as connection:
            return {row.task: row.changed for row in connection.execute(asked)}

    def pushed(self, task_ids: Sequence[int]) -> None:
        """Label Studio holds the predictions of these tasks."""
        self._change(task_ids, state=State.PUSHED, changed=time.time(), result=None, size=0)

    def back(self, task_ids: Sequence[int]) -> None:
        """The predictions of these tasks were not taken, and are to be sent again."""
        # Not `changed`: what goes back keeps its place in the queue.
        self._change(task_ids, state=State.PREDICTED, was_in_doubt=True)

    def sending(self, task_ids: Sequence[int]) -> set[int]:
        """The predictions of these tasks are being sent, as far as they still are to be.

        Returns:
            Those that are; the others were given to Label Studio in another way.
        """
        left = (State.PREDICTED, State.SENDING)
        return self._change(task_ids, left, state=State.SENDING, changed=time.time())

    def doubted(self) -> list[int]:
        """The pushed tasks whose first sending had an unknown end."""
        asked = select(_task.task).where(
            self._mine, _task.state == State.PUSHED, _task.was_in_doubt
        )
        with transaction(self._engine) as connection:
            return list(connection.scalars(asked))

    def counts(self) -> Counter[State]:
        """How many tasks are in each state."""
        asked = select(_task.state, func.count()).where(self._mine).group_by(_task.state)
        with transaction(self._engine) as connection:
            return Counter({State(state): number for state, number in connection.execute(asked)})

    def anew_since(self) -> float:
        """When the predicting of all tasks anew was begun that is not ended yet; else now."""
        mine = campaigns.c.id == self._id
        with transaction(self._engine) as connection:
            begun = connection.scalar(select(campaigns.c.anew_since).where(mine))
            if begun is None:
                begun = time.time()
                connection.execute(update(campaigns).where(mine).values(anew_since=begun))
            return float(begun)

    def anew_ended(self) -> None:
        """All tasks were predicted anew."""
        with transaction(self._engine) as connection:
            ended = update(campaigns).where(campaigns.c.id == self._id)
            connection.execute(ended.values(anew_since=None))

    @property
    def _mine(self) -> ColumnElement[bool]:
        return _task.campaign == self._id

    def _found_or_made(self, campaign: Campaign) -> int:
        named = asdict(campaign)
        same = and_(*(campaigns.c[name] == value for name, value in named.items()))
        with transaction(self._engine) as connection:
            found = connection.scalar(select(campaigns.c.id).where(same))
            if found is None:
                _forget_long_pushed(connection, campaign)
                connection.execute(insert(campaigns).values(**named))
                found = connection.scalar(select(campaigns.c.id).where(same))
            assert found is not None, "it was just made"
            return int(found)

    def _blank(self, task_id: int, changed: float) -> dict[str, object]:
        """The row of a task of which nothing is known but that it is asked for."""
        columns = dict.fromkeys(column.name for column in tasks.columns)
        known = {"campaign": self._id, "task": task_id, "state": State.ASKED, "changed": changed}
        return {**columns, **known, "size": 0, "was_in_doubt": False}

    def _replace(self, outcomes: Sequence[Kept] | Sequence[Failed]) -> None:
        if not outcomes:
            return
        now = time.time()
        rows = [{**self._blank(one.task_id, now), **one.columns()} for one in outcomes]
        with transaction(self._engine) as connection:
            for ids in blocks([one.task_id for one in outcomes]):
                connection.execute(delete(tasks).where(self._mine, _task.task.in_(ids)))
            connection.execute(insert(tasks), rows)

    def _change(
        self, task_ids: Sequence[int], states: Sequence[State] = (), **values: object
    ) -> set[int]:
        """Change the rows of tasks, or of those that are in one of these states; gives them."""
        which = and_(self._mine, STATE_OF_FEW.in_(states)) if states else self._mine
        changed: set[int] = set()
        with transaction(self._engine) as connection:
            for ids in blocks(task_ids):
                these = update(tasks).where(which, _task.task.in_(ids)).values(**values)
                changed |= set(connection.scalars(these.returning(_task.task)))
        return changed


def _forget_long_pushed(connection: Connection, begins: Campaign) -> None:
    """Of a project that gets another model version, what older ones brought long ago.

    Label Studio holds it, and each training adds a row for every task otherwise.
    """
    of_project = select(campaigns.c.id).where(
        campaigns.c.url == begins.url,
        campaigns.c.project == begins.project,
        campaigns.c.anew_since.is_(None),
    )
    long_pushed = and_(_task.state == State.PUSHED, _task.changed < time.time() - _KEPT_S)
    named = select(_task.campaign, _task.task).where(_task.campaign.in_(of_project), long_pushed)
    row = tuple_(_task.campaign, _task.task)
    connection.execute(delete(tasks).where(row.in_(named.limit(_FORGOTTEN_AT_ONCE))))


def blocks(ids: Sequence[_Id]) -> list[Sequence[_Id]]:
    """Ids in portions that every database takes in one statement."""
    return [ids[start : start + 500] for start in range(0, len(ids), 500)]
