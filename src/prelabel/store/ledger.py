"""The ledger of what Label Studio asked for: a task belongs to whoever wrote it down first.

It is the journal of a campaign with two more states. A retrieve writes its tasks down before it
predicts the first of them, so that no other request and no job predicts them, too; what it then
answers is written down before the answer leaves; and the rest is a job's. Every step is one
conditional write to a task's row, whatever process takes it.

`State.ASKED`: Label Studio wants a prediction of the task; from `changed` on a job may make it.
`State.ANSWERED`: it was given one; at `changed` it should have stored it, and a job looks.
"""

import time
import zlib
from collections.abc import Callable, Sequence
from enum import Enum

from sqlalchemy import ColumnElement, Engine, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from prelabel.store.dialects import insert_into
from prelabel.store.journal import (
    STATE_OF_FEW,
    Campaign,
    Failed,
    Journal,
    Kept,
    State,
    blocks,
)
from prelabel.store.journal import campaigns as _campaigns
from prelabel.store.journal import tasks as _tasks
from prelabel.store.transactions import transaction

_task = _tasks.c
_JUST_S = 120.0
"""For so long a request may have been under way that Label Studio made before it got a push."""

_JUST_OF_ONE_S = 10.0
"""The same for a request for a single task, which is made in a moment."""

_LOOK_AGAIN_S = 15.0
"""What was answered and is asked for again is looked at after so long, however much it was."""

_OWED = (State.ASKED, State.ANSWERED)


class Seen(Enum):
    """What the ledger knows of a task that a person waits for."""

    UNKNOWN = "nothing"
    OPEN = "a job has it before it"
    SENT = "Label Studio is being given it, or just was"


class Ledger(Journal):
    """The ledger of one campaign. Threads and processes may share it.

    Every method raises `StoreUnavailable` where the database does not answer.

    Args:
        engine: The database.
        campaign: The project and the model version.
        clock: Gives seconds since 1970.
    """

    def __init__(
        self, engine: Engine, campaign: Campaign, clock: Callable[[], float] = time.time
    ) -> None:
        try:
            super().__init__(engine, campaign)
        except IntegrityError:  # another process made the same campaign at this moment
            super().__init__(engine, campaign)
        self.campaign = campaign
        self._clock = clock

    def claim(self, task_ids: Sequence[int], until: float, *, left: bool = False) -> set[int]:
        """Take tasks to predict them, so that nobody else does.

        Args:
            task_ids: The tasks.
            until: When a job may take those that nothing was written down of since, in seconds
                since 1970.
            left: Nobody brings what jobs have before them: what is overdue is taken from them.

        Returns:
            Those that are the caller's now. The others are at work elsewhere, or Label Studio
            was given them a moment ago: a job sees to them, and soon, for whoever asks again may
            have deleted them meanwhile.
        """
        now = self._clock()
        mine: set[int] = set()
        just_pushed = and_(STATE_OF_FEW == State.PUSHED, _task.changed > now - _JUST_S)
        soon = now + _LOOK_AGAIN_S
        just_answered = and_(STATE_OF_FEW == State.ANSWERED, _task.changed > soon)
        free: ColumnElement[bool] = STATE_OF_FEW.in_((State.PUSHED, State.FAILED))
        if left:
            overdue = and_(STATE_OF_FEW.in_(_OWED), _task.changed < now)
            free = or_(free, overdue, STATE_OF_FEW == State.PREDICTED)
        with transaction(self._engine) as connection:
            for ids in blocks(task_ids):
                these = update(_tasks).where(self._mine, _task.task.in_(ids))
                connection.execute(these.where(just_pushed).values(state=State.ASKED, changed=now))
                connection.execute(these.where(just_answered).values(changed=soon))
                again = these.where(free).values(
                    state=State.ASKED, changed=until, result=None, size=0
                )
                mine |= set(connection.scalars(again.returning(_task.task)))
                known = set(
                    connection.scalars(select(_task.task).where(self._mine, _task.task.in_(ids)))
                )
                new = [self._blank(task, until) for task in ids if task not in known]
                if new:
                    anew = insert_into(self._engine, _tasks).on_conflict_do_nothing()
                    added = anew.returning(_task.task)
                    mine |= set(connection.scalars(added, new))
        return mine

    def put_off(self, task_ids: Sequence[int]) -> None:
        """Leave claimed tasks to a job, from now on."""
        self._change(task_ids, (State.ASKED,), changed=self._clock())

    def answered(self, task_ids: Sequence[int], stored_at: float) -> set[int]:
        """Label Studio is given predictions of these tasks in an answer.

        Args:
            task_ids: The tasks, which were claimed or taken.
            stored_at: When it should have stored them, in seconds since 1970.

        Returns:
            Those that may be in the answer; the others a job has brought to it meanwhile.
        """
        known = {"state": State.ANSWERED, "changed": stored_at, "result": None, "size": 0}
        return self._change(task_ids, (*_OWED, State.PREDICTED), **known)

    def take(self, task_id: int) -> Kept | Seen:
        """Take one task for a person who waits for it.

        Returns:
            Its prediction, where a job has made it and not sent it; it is not sent any more.
        """
        now = self._clock()
        this = and_(self._mine, _task.task == task_id)
        waits = update(_tasks).where(this, _task.state == State.PREDICTED)
        with transaction(self._engine) as connection:
            state, changed = connection.execute(
                select(_task.state, _task.changed).where(this)
            ).first() or (None, 0.0)
            if state == State.PREDICTED:
                taken = connection.execute(
                    waits.values(state=State.ANSWERED, changed=now + _JUST_OF_ONE_S).returning(
                        _task.score, _task.result
                    )
                ).first()
                if taken is not None:
                    return Kept(task_id, taken.score, zlib.decompress(taken.result))
                state, changed = State.SENDING, now
        just_pushed = state == State.PUSHED and changed > now - _JUST_OF_ONE_S
        being_stored = state == State.ANSWERED and changed > now
        if state == State.SENDING or just_pushed or being_stored:
            return Seen.SENT
        return Seen.OPEN if state in _OWED else Seen.UNKNOWN

    def due(self, after_id: int, most: int, *, last_id: int | None = None) -> list[int]:
        """The tasks that a job is to look at now, in the order of ids.

        Args:
            after_id: Only tasks behind this one.
            most: How many at most.
            last_id: Only tasks up to this one, itself included.
        """
        asked = select(_task.task).where(self._mine, self._is_due, _task.task > after_id)
        if last_id is not None:
            asked = asked.where(_task.task <= last_id)
        with transaction(self._engine) as connection:
            return list(connection.scalars(asked.order_by(_task.task).limit(most)))

    def number_due(self) -> int:
        """How many tasks a job is to look at, or to push, now."""
        return self._count(or_(self._is_due, _task.state.in_((State.PREDICTED, State.SENDING))))

    def number_left(self, after_id: int) -> int:
        """How many tasks behind an id a job is to look at now."""
        return self._count(and_(self._is_due, _task.task > after_id))

    def next_due(self) -> float | None:
        """When there will be something to look at, in seconds since 1970."""
        first = select(func.min(_task.changed)).where(self._mine, _task.state.in_(_OWED))
        with transaction(self._engine) as connection:
            found = connection.scalar(first)
        return None if found is None else float(found)

    def number_answered(self) -> int:
        """Of how many tasks Label Studio should have stored by now what it was answered."""
        return self._count(and_(self._is_due, _task.state == State.ANSWERED))

    def look_later(self, delay_s: float) -> None:
        """Label Studio is still storing what it was answered."""
        waits = and_(self._mine, self._is_due, _task.state == State.ANSWERED)
        later = update(_tasks).where(waits).values(changed=self._clock() + delay_s)
        with transaction(self._engine) as connection:
            connection.execute(later)

    def ask(self, task_ids: Sequence[int]) -> None:
        """Label Studio has not stored what it was answered for these tasks."""
        self._change(task_ids, (State.ANSWERED,), state=State.ASKED, changed=self._clock())

    def drop_all(self) -> None:
        """Nothing of this campaign is asked for any more."""
        with transaction(self._engine) as connection:
            owed = delete(_tasks).where(self._mine, _task.state.in_(_OWED))
            connection.execute(owed)

    def drop(self, task_ids: Sequence[int]) -> None:
        """These tasks are wanted no more."""
        with transaction(self._engine) as connection:
            for ids in blocks(task_ids):
                connection.execute(delete(_tasks).where(self._mine, _task.task.in_(ids)))

    def keep(self, predictions: Sequence[Kept]) -> None:
        """Write predictions of asked tasks down; those that are asked no more are dropped."""
        # Not what is being sent: another made it, who was faster.
        self._settle(predictions, (State.ASKED,))

    def fail(self, failures: Sequence[Failed]) -> None:
        """Write failures of tasks down that are asked, or being sent."""
        self._settle(failures, (State.ASKED, State.SENDING))

    def adopt(self) -> None:
        """Take over what is asked of other model versions of the same project.

        What was predicted under their names goes on under them.
        """
        same = self.campaign
        others = select(_campaigns.c.id).where(
            _campaigns.c.url == same.url,
            _campaigns.c.project == same.project,
            _campaigns.c.project_created == same.project_created,
            _campaigns.c.model_version != same.model_version,
        )
        theirs = and_(_task.campaign.in_(others), self._is_due)
        taken = delete(_tasks).where(theirs).returning(_task.task, _task.state)
        with transaction(self._engine) as connection:
            # In one step, as a worker may be writing down what it made under their names.
            found = {task for task, state in connection.execute(taken) if state == State.ASKED}
            rows = [self._blank(task, self._clock()) for task in sorted(found)]
            if rows:
                connection.execute(insert_into(self._engine, _tasks).on_conflict_do_nothing(), rows)

    @property
    def _is_due(self) -> ColumnElement[bool]:
        return and_(_task.state.in_(_OWED), _task.changed <= self._clock())

    def _count(self, which: ColumnElement[bool]) -> int:
        with transaction(self._engine) as connection:
            return connection.scalars(select(func.count()).where(self._mine, which)).one()

    def _settle(self, outcomes: Sequence[Kept] | Sequence[Failed], states: Sequence[State]) -> None:
        if not outcomes:
            return
        is_open = or_(*(_task.state == state for state in states))
        these = update(_tasks).where(self._mine, _task.task == bindparam("of"), is_open)
        now = self._clock()
        rows = [{"of": one.task_id, "changed": now, **one.columns()} for one in outcomes]
        with transaction(self._engine) as connection:
            connection.execute(these, rows)


def owing(engine: Engine, url: str, project: int) -> list[Campaign]:
    """The campaigns of a project in which anything is asked, answered or waits to be pushed."""
    open_states = (*_OWED, State.PREDICTED, State.SENDING)
    is_open = select(_task.campaign).where(_task.state.in_(open_states))
    asked = select(_campaigns).where(
        _campaigns.c.url == url, _campaigns.c.project == project, _campaigns.c.id.in_(is_open)
    )
    with transaction(engine) as connection:
        return [
            Campaign(row.url, row.project, row.project_created, row.model_version)
            for row in connection.execute(asked)
        ]


def failed_since(engine: Engine, url: str, project: int, since: float) -> list[Failed]:
    """The tasks of a project that failed since a time, in seconds since 1970."""
    mine = select(_campaigns.c.id).where(_campaigns.c.url == url, _campaigns.c.project == project)
    failed = and_(_task.state == State.FAILED, _task.changed >= since)
    asked = select(_task.task, _task.kind, _task.reason, _task.retry)
    with transaction(engine) as connection:
        found = connection.execute(
            asked.where(_task.campaign.in_(mine), failed).order_by(_task.task)
        )
        return [Failed(*row) for row in found]


def forget(engine: Engine, url: str, project: int) -> None:
    """Nobody wants any more what is asked of a project and not yet begun by anyone."""
    mine = select(_campaigns.c.id).where(_campaigns.c.url == url, _campaigns.c.project == project)
    waits = and_(_task.state == State.ASKED, _task.changed <= time.time())
    with transaction(engine) as connection:
        connection.execute(delete(_tasks).where(_task.campaign.in_(mine), waits))
