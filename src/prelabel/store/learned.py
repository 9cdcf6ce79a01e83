"""The table of learnt versions: what the sequence learner knew after each training."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import (
    JSON,
    Boolean,
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
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from prelabel.errors import NoSuchVersion
from prelabel.store.database import metadata
from prelabel.store.dialects import one_row_where
from prelabel.store.transactions import transaction

KEPT = 20
"""How many of its latest versions a project can go back to."""

LISTED = 200
"""How many of its latest versions a project tells of: where each annotation trains, a year makes
tens of thousands."""

_table = Table(
    "learned",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("created", Double, nullable=False),  # seconds since 1970, UTC
    Column("digest", String(64), nullable=False),
    Column("model", LargeBinary),  # NULL where it is not kept any more
    Column("report", JSON, nullable=False),
    Column("active", Boolean, nullable=False),
)
_row = _table.c
one_row_where("active", "learned_one_active", _table, "scope")


@dataclass(frozen=True, slots=True)
class Scope:
    """A project for all time: its number alone is used again where a database is made anew.

    Attributes:
        url: Its Label Studio, without a slash at its end; "" where none is set.
        project: Its number there.
        created: When it was made, in whole seconds since 1970; 0 where that is not known.
    """

    url: str
    project: int
    created: int

    def __str__(self) -> str:
        return f"{self.url}#{self.project}.{self.created}"

    @classmethod
    def read(cls, written: str) -> Self:
        """The scope that was written as `str` gives it."""
        url, _, number = written.rpartition("#")
        project, _, created = number.partition(".")
        return cls(url, int(project), int(created))


@dataclass(frozen=True, slots=True)
class LearnedVersion:
    """What one training left, without the model itself.

    Attributes:
        scope: Whose it is.
        version: Counts up from 1 in each scope.
        created: When it was learnt, UTC.
        digest: Of what it knows.
        report: The result of the training.
        active: Whether it answers.
        kept: Whether its model is still there, so that it can be made to answer.
    """

    scope: Scope
    version: int
    created: datetime
    digest: str
    report: Mapping[str, Any]
    active: bool
    kept: bool


@dataclass(frozen=True, slots=True)
class Active:
    """The version that answers for a project, with its model."""

    version: int
    digest: str
    model: bytes
    report: Mapping[str, Any]


class LearnedVersions:
    """The learnt versions of all projects. Safe for several threads and processes.

    Every method raises `StoreUnavailable` where the database does not answer.

    Args:
        engine: The database.
        clock: Gives seconds since 1970.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def active(self, scope: Scope) -> Active | None:
        """The version that answers; None where none does."""
        query = select(_row.version, _row.digest, _row.model, _row.report)
        with transaction(self._engine) as connection:
            row = connection.execute(query.where(_of(scope), _row.active)).first()
        return None if row is None else Active(*row)

    def active_numbers(self) -> dict[Scope, int]:
        """The number of the version that answers, for each project that has one."""
        query = select(_row.scope, _row.version).where(_row.active)
        with transaction(self._engine) as connection:
            return {Scope.read(scope): version for scope, version in connection.execute(query)}

    def add(
        self, scope: Scope, model: bytes, digest: str, report: Mapping[str, Any], *, activate: bool
    ) -> int:
        """Store what was learnt, and let it answer from now on if `activate`.

        A training that is done twice adds nothing the second time: what answers already, or was
        stored before and is again not to answer, keeps its number.

        Returns:
            Its version.
        """
        known = select(func.max(_row.version)).where(_of(scope), _row.digest == digest)
        known = known.where(_row.active) if activate else known
        last = select(func.coalesce(func.max(_row.version), 0)).where(_of_any_address(scope))
        while True:
            try:
                with transaction(self._engine) as connection:
                    _hold(connection, scope)
                    found = connection.scalars(known).one()
                    if found is not None:
                        return int(found)
                    version = int(connection.scalars(last).one()) + 1
                    # First, so that what has answered until now can be gone back to.
                    _drop_old_models(connection, scope, version)
                    _forget_oldest(connection, scope, version)
                    if activate:
                        _retire(connection, scope)
                    connection.execute(
                        insert(_table).values(
                            scope=str(scope),
                            version=version,
                            created=self._clock(),
                            digest=digest,
                            model=model,
                            report=dict(report),
                            active=activate,
                        )
                    )
                    return version
            except IntegrityError:  # another process took this number in between
                continue

    def activate(self, scope: Scope, version: int) -> None:
        """Let an earlier version answer again.

        Raises:
            NoSuchVersion: It is not there, or its model is not kept any more.
        """
        this = and_(_of(scope), _row.version == version, _row.model.is_not(None))
        with transaction(self._engine) as connection:
            _hold(connection, scope)
            _retire(connection, scope)
            if connection.execute(update(_table).where(this).values(active=True)).rowcount == 0:
                raise _no_such(scope, version)

    def history(self, scope: Scope, most: int = LISTED) -> list[LearnedVersion]:
        """The latest versions of a project and the one that answers, newest first.

        Args:
            scope: The project.
            most: How many.
        """
        last = select(func.max(_row.version)).where(_of(scope)).scalar_subquery()
        return self._read(and_(_of(scope), or_(_row.version > last - most, _row.active)))

    def show(self, scope: Scope, version: int) -> LearnedVersion:
        """One version of a project.

        Raises:
            NoSuchVersion: It is not there.
        """
        found = self._read(and_(_of(scope), _row.version == version))
        if not found:
            raise _no_such(scope, version)
        return found[0]

    def scope(self, url: str, project: int) -> Scope:
        """The newest project of this number that something was learnt for.

        Raises:
            NoSuchVersion: There is none.
        """
        with transaction(self._engine) as connection:
            written = connection.scalars(select(_row.scope).distinct()).all()
        scopes = [found for found in map(Scope.read, written) if found.project == project]
        mine = [found for found in scopes if found.url == url]
        if not mine:
            raise NoSuchVersion(
                f"project {project} of {url or 'no Label Studio'}",
                "nothing was learnt for it yet",
                f"Run `prelabel train --project {project}`, or check LABEL_STUDIO_URL.",
            )
        return max(mine, key=lambda found: found.created)

    def _read(self, which: ColumnElement[bool]) -> list[LearnedVersion]:
        columns = [column for column in _row if column is not _row.model]
        kept = _row.model.is_not(None).label("kept")
        query: Select[Any] = select(*columns, kept).where(which).order_by(_row.version.desc())
        with transaction(self._engine) as connection:
            return [_as_version(row) for row in connection.execute(query)]


def _of(scope: Scope) -> ColumnElement[bool]:
    return _row.scope == str(scope)


def _of_any_address(scope: Scope) -> ColumnElement[bool]:
    """The same project, also where its Label Studio had another address when it was learnt.

    A number that was given there must not come again: Label Studio would take its predictions of
    back then for those of the new version, and not ask.
    """
    if not scope.created:
        return _of(scope)
    return _row.scope.endswith(f"#{scope.project}.{scope.created}", autoescape=True)


def _hold(connection: Connection, scope: Scope) -> None:
    """Let nobody else change which version answers; in SQLite whoever writes is alone anyway."""
    connection.execute(
        select(_row.version).where(_of(scope)).order_by(_row.version).with_for_update()
    )


def _retire(connection: Connection, scope: Scope) -> None:
    connection.execute(update(_table).where(_of(scope), _row.active).values(active=False))


def _drop_old_models(connection: Connection, scope: Scope, newest: int) -> None:
    old = and_(_of(scope), _row.version <= newest - KEPT, _row.model.is_not(None))
    connection.execute(update(_table).where(old, ~_row.active).values(model=None))


def _forget_oldest(connection: Connection, scope: Scope, newest: int) -> None:
    old = and_(_of(scope), _row.version <= newest - LISTED, ~_row.active)
    connection.execute(delete(_table).where(old))


def _no_such(scope: Scope, version: int) -> NoSuchVersion:
    return NoSuchVersion(
        f"version {version} of project {scope.project}",
        "was not learnt, or is not kept any more",
        f"Choose one of `prelabel learned list --project {scope.project}`.",
    )


def _as_version(row: Row[Any]) -> LearnedVersion:
    return LearnedVersion(
        scope=Scope.read(row.scope),
        version=row.version,
        created=datetime.fromtimestamp(row.created, UTC),
        digest=row.digest,
        report=row.report,
        active=row.active,
        kept=row.kept,
    )
