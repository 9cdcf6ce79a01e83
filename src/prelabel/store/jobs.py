"""The table of jobs: what is to be done in the background, by whom, and how far it is.

A large job may be done in parts, by several workers beside each other. A part is a job as any
other, of a kind and a project whose names begin with those of the whole.

It works for several processes on one SQLite file and for many machines on one PostgreSQL: every
step is a single conditional write, and two unique indexes hold what must never be, two jobs of
one kind and project waiting, or two running. Whoever works on a job holds a lease and renews it;
a worker that was killed loses its job when the lease runs out, by the clocks of the machines,
which must agree to a few seconds.
"""

import time
import uuid
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Double,
    Engine,
    Integer,
    LargeBinary,
    Row,
    Select,
    String,
    Table,
    Text,
    and_,
    case,
    delete,
    exists,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from prelabel.store.database import metadata
from prelabel.store.dialects import one_row_where
from prelabel.store.text import storable
from prelabel.store.transactions import transaction

Status = Literal["queued", "running", "done", "failed", "cancelled"]

MOST_ATTEMPTS = 3
"""After so many workers in a row that got nowhere and did not come back, a job kills them."""

_LONGEST_LEASE_S = 600.0
"""A lease that ends later was given before the clock was set back, and counts as over."""

PART = "-part"
"""How the kind of a part ends."""

_OF_WHOLE = "|"
"""What stands between the project of the whole and the name of a part."""

_table = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("project", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("progress", Double, nullable=False),
    Column("message", Text, nullable=False),
    Column("result", JSON),
    Column("payload", LargeBinary, nullable=False),  # zlib
    Column("attempts", Integer, nullable=False),
    Column("created", Double, nullable=False),  # this and all times: seconds since 1970, UTC
    Column("due", Double, nullable=False),
    Column("started", Double),
    Column("finished", Double),
    Column("owner", Text),
    Column("lease_until", Double),
)
_job = _table.c
_WITHOUT_PAYLOAD = [column for column in _job if column is not _job.payload]
for _status in ("queued", "running"):
    one_row_where(f"status = '{_status}'", f"jobs_one_{_status}", _table, "kind", "project")


def part_of(project: str, name: str) -> str:
    """The project of a part of a job, as `Jobs.submit` takes it."""
    return f"{project}{_OF_WHOLE}{name}"


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to do in the background.

    Attributes:
        id: 32 hexadecimal digits.
        kind: What is to be done, for example "training".
        project: Whose it is; of one kind and project, one job waits and one runs at most.
        status: Where it stands.
        progress: How far it is, 0..1.
        message: What it is at, or why it ended.
        result: What it found out, as JSON; None before it is done.
        attempts: How many workers began it since one of them got somewhere, itself included.
        created: When it was first asked for, UTC, as all times here.
        due: When it may begin.
        started: When the latest worker began it.
        finished: When it ended.
        owner: Who works on it.
        lease_until: Until when the owner need not say again that it is alive.
        payload: What came with the request; only `Jobs.claim` gives it.
    """

    id: str
    kind: str
    project: str
    status: Status
    progress: float
    message: str
    result: Mapping[str, Any] | None
    attempts: int
    created: datetime
    due: datetime
    started: datetime | None
    finished: datetime | None
    owner: str | None
    lease_until: datetime | None
    payload: bytes = field(default=b"", repr=False)


class Jobs:
    """The jobs of all processes that share a database. Safe for several threads.

    Every method raises `StoreUnavailable` where the database does not answer.

    Args:
        engine: The database.
        clock: Gives seconds since 1970.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def submit(self, kind: str, project: str, *, payload: bytes = b"", delay_s: float = 0) -> Job:
        """Ask for a job, or join the one of this kind and project that waits already.

        A joined job gets the new payload where there is one, and never begins later than it
        would have: a click makes a delayed job due, and no stream of delayed requests keeps a
        job from its turn.

        Args:
            kind: What is to be done.
            project: For whom.
            payload: What the worker needs to know.
            delay_s: Wait so long for further requests before it begins.
        """
        now = self._clock()
        due = now + delay_s
        packed = {"payload": zlib.compress(payload)} if payload else {}
        joined = (
            update(_table)
            .where(_job.kind == kind, _job.project == project, _job.status == "queued")
            .values(due=case((_job.due > due, due), else_=_job.due), **packed)
            .returning(*_WITHOUT_PAYLOAD)
        )
        added = (
            insert(_table)
            .values(
                id=uuid.uuid4().hex,
                kind=kind,
                project=project,
                status="queued",
                progress=0.0,
                message="",
                payload=packed.get("payload", b""),
                attempts=0,
                created=now,
                due=due,
            )
            .returning(*_WITHOUT_PAYLOAD)
        )
        while True:
            try:
                with transaction(self._engine) as connection:
                    row = connection.execute(joined).first() or connection.execute(added).one()
                    return _as_job(row)
            except IntegrityError:  # another process asked in between: join that one
                continue

    def due(self, kinds: Sequence[str], limit: int) -> list[str]:
        """The ids of the jobs that `claim` would give now, those that are due longest first."""
        with transaction(self._engine) as connection:
            return [row.id for row in connection.execute(_next(kinds, self._clock(), limit))]

    def claim(
        self,
        owner: str,
        kinds: Sequence[str],
        lease_s: float,
        *,
        job_id: str | None = None,
        but: Collection[str] = (),
    ) -> Job | None:
        """Take the job that has been due longest, or one whose worker did not come back.

        Args:
            owner: Who takes it; nobody else may have this name.
            kinds: What the owner can do.
            lease_s: Time after which the owner counts as gone, unless it renews.
            job_id: Take this one, if it may be taken now, and no other.
            but: Not these.
        """
        while True:
            now = self._clock()
            wanted = _next(kinds, now).where(_job.id.not_in(but))
            try:
                with transaction(self._engine) as connection:
                    found = connection.execute(
                        wanted if job_id is None else wanted.where(_job.id == job_id)
                    ).first()
                    if found is None:
                        return None
                    if found.status == "running" and found.attempts >= MOST_ATTEMPTS:
                        _give_up(connection, found, now)
                        continue
                    taken = connection.execute(
                        update(_table)
                        .where(_as_seen(found))
                        .values(
                            status="running",
                            owner=owner,
                            lease_until=now + lease_s,
                            attempts=found.attempts + 1,
                            started=now,
                        )
                        .returning(_table)
                    ).first()
            except IntegrityError:  # another process began a job of this project in between
                continue
            if taken is not None:
                return _as_job(taken, zlib.decompress(taken.payload) if taken.payload else b"")

    def renew(
        self, job_id: str, owner: str, lease_s: float, *, progress: float, message: str
    ) -> bool:
        """Say that the owner is alive and how far it is.

        Returns:
            False where the job is no longer the owner's, or was cancelled: it must stop.
        """
        return self._change(
            _held(job_id, owner),
            progress=progress,
            message=storable(message),
            lease_until=self._clock() + lease_s,
        )

    def finish(self, job_id: str, owner: str, result: Mapping[str, Any], message: str = "") -> bool:
        """End a job with what it found out; False where it is no longer the owner's."""
        ended = self._ended("done", message)
        return self._change(_held(job_id, owner), result=dict(result), progress=1.0, **ended)

    def fail(self, job_id: str, owner: str, reason: str) -> bool:
        """End a job that could not be done; False where it is no longer the owner's."""
        return self._change(_held(job_id, owner), **self._ended("failed", reason))

    def cancel(self, job_id: str) -> bool:
        """End a job that waits or runs, with its parts; workers stop at their next renewal."""
        is_open = and_(_job.id == storable(job_id), _job.status.in_(("queued", "running")))
        ended = update(_table).where(is_open).values(**self._ended("cancelled", "was cancelled"))
        with transaction(self._engine) as connection:
            row = connection.execute(ended.returning(_job.kind, _job.project)).first()
            if row is not None:
                connection.execute(delete(_table).where(_are_parts(row.kind, row.project)))
        return row is not None

    def hand_back(self, job_id: str, owner: str) -> bool:
        """Let another worker begin a job anew, as if this owner had never taken it."""
        released = {"owner": None, "lease_until": None, "started": None, "progress": 0.0}
        try:
            return self._change(
                _held(job_id, owner), status="queued", attempts=_job.attempts - 1, **released
            )
        except IntegrityError:  # the same was asked for again meanwhile
            ended = self._ended("cancelled", "a later request for the same waits already")
            return self._change(_held(job_id, owner), **ended)

    def got_somewhere(self, job_id: str, owner: str) -> None:
        """The owner got further than those before, whose attempts count no more."""
        self._change(_held(job_id, owner), attempts=1)

    def is_held(self, job_id: str, owner: str) -> bool:
        """Whether the job is the owner's, and to be done still."""
        return bool(self._read(select(*_WITHOUT_PAYLOAD).where(_held(job_id, owner))))

    def parts(self, whole: Job) -> list[Job]:
        """The parts of a job, whatever became of them, the oldest first."""
        found = select(*_WITHOUT_PAYLOAD).where(_are_parts(whole.kind, whole.project))
        return self._read(found.order_by(_job.created))

    def forget(self, job_ids: Sequence[str]) -> None:
        """Take jobs out of the table; whoever works on one stops at its next renewal."""
        if job_ids:
            with transaction(self._engine) as connection:
                connection.execute(delete(_table).where(_job.id.in_(job_ids)))

    def get(self, job_id: str) -> Job | None:
        """The job of this id."""
        this = _job.id == storable(job_id)  # callers write ids as they like
        return next(iter(self._read(select(*_WITHOUT_PAYLOAD).where(this))), None)

    def recent(self, project: str | None = None, limit: int = 20) -> list[Job]:
        """The newest jobs but parts of others, of one project or of all."""
        query = select(*_WITHOUT_PAYLOAD).where(_job.kind.not_like(f"%{PART}"))
        query = query.order_by(_job.created.desc()).limit(limit)
        return self._read(query if project is None else query.where(_job.project == project))

    def prune(self, keep: int) -> int:
        """Forget all jobs that ended but the newest; how many were forgotten."""
        newest = select(_job.id).where(_job.finished.is_not(None))
        newest = newest.order_by(_job.finished.desc()).limit(keep)
        gone = delete(_table).where(_job.finished.is_not(None), _job.id.not_in(newest))
        with transaction(self._engine) as connection:
            return connection.execute(gone).rowcount

    def _ended(self, status: Status, message: str) -> dict[str, Any]:
        ended: dict[str, Any] = {"status": status, "finished": self._clock(), "payload": b""}
        return ended | {"message": storable(message), "owner": None, "lease_until": None}

    def _change(self, which: ColumnElement[bool], **values: Any) -> bool:
        with transaction(self._engine) as connection:
            return connection.execute(update(_table).where(which).values(**values)).rowcount == 1

    def _read(self, query: Select[Any]) -> list[Job]:
        with transaction(self._engine) as connection:
            return [_as_job(row) for row in connection.execute(query)]


def _next(kinds: Sequence[str], now: float, limit: int = 1) -> Select[Any]:
    """The jobs whose turn it is: due with no other of its project at work, or left by its owner."""
    other = _table.alias()
    at_work = exists().where(
        other.c.kind == _job.kind, other.c.project == _job.project, other.c.status == "running"
    )
    waits = and_(_job.status == "queued", _job.due <= now, ~at_work)
    is_kept = _job.lease_until.between(now, now + _LONGEST_LEASE_S)
    left = and_(_job.status == "running", ~is_kept)
    columns = (_job.id, _job.status, _job.attempts, _job.owner)
    return (
        select(*columns)
        .where(_job.kind.in_(kinds), or_(waits, left))
        .order_by(_job.due, _job.created)
        .limit(limit)
    )


def _as_seen(found: Row[Any]) -> ColumnElement[bool]:
    """That nobody took or ended the job since it was looked at."""
    return and_(
        _job.id == found.id,
        _job.status == found.status,
        _job.attempts == found.attempts,
        _job.owner.is_not_distinct_from(found.owner),
    )


def _give_up(connection: Connection, found: Row[Any], now: float) -> None:
    reason = f"its worker did not come back {found.attempts} times"
    connection.execute(
        update(_table)
        .where(_as_seen(found))
        .values(status="failed", message=reason, finished=now, owner=None, payload=b"")
    )


def _are_parts(kind: str, project: str) -> ColumnElement[bool]:
    beginning = part_of(project, "")
    return and_(_job.kind == kind + PART, _job.project.startswith(beginning, autoescape=True))


def _held(job_id: str, owner: str) -> ColumnElement[bool]:
    return and_(_job.id == job_id, _job.owner == owner, _job.status == "running")


def _as_job(row: Row[Any], payload: bytes = b"") -> Job:
    values = {name: value for name, value in row._mapping.items() if name != "payload"}  # noqa: SLF001 - its documented name
    for name in ("created", "due", "started", "finished", "lease_until"):
        seconds = values[name]
        values[name] = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return Job(**values, payload=payload)
