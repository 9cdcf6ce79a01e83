"""The prediction store: what predictors found, by a key that says all that decides it.

A cache in the database that all processes share. What is missing in it costs time and nothing
else, so it is written without waiting for the disk, and the least recently used goes first.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Double,
    Engine,
    Index,
    Insert,
    Integer,
    LargeBinary,
    Table,
    bindparam,
    cast,
    create_engine,
    delete,
    event,
    func,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from prelabel.errors import StoreUnavailable
from prelabel.store.database import metadata
from prelabel.store.dialects import insert_into
from prelabel.store.finding_bytes import Finding, pack, unpack
from prelabel.store.journal import blocks
from prelabel.store.sqlite_file import watch_over
from prelabel.store.text import said

_table = Table(
    "prediction_store",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),  # bytes that the row takes, about
    Column("made", Double, nullable=False),  # seconds since 1970, UTC
    Column("used", Double, nullable=False),  # likewise, within an hour
    Index("prediction_store_by_use", "used", "size"),
)
_row = _table.c
# SQLite gives whatever was put into a column; text that is none would break the whole look-up.
_LOOK_UP = select(_row.key, cast(_row.content, LargeBinary), _row.used).where(
    _row.key.in_(bindparam("keys", expanding=True))
)

_ROW_BYTES = 140
"""What a row takes beside its content, with its places in two indexes; measured on SQLite, as is
the third that pages waste which are not full."""

_USED_WITHIN_S = 3600.0
"""How exactly it is known when a row was last used: a hit need not write each time."""

_FULL, _TRIMMED = 0.9, 0.85
"""Shares of the limit: over the first, rows go until the second is left. Between two looks other
processes write, too, each 1/64 of the limit at most."""

_STEPS = 64
_PATIENCE_S = 2.0
"""How long a look-up may wait for a database that is busy or away; then it is done without."""

_AT_A_TIME = 500
"""Rows that one transaction takes out: others write to the same database."""

_POOL = 8


@dataclass(frozen=True, slots=True)
class Found:
    """What the store knows of some keys.

    Attributes:
        findings: By key.
        stale: Keys whose last use is to be written down anew.
        broken: Keys whose rows cannot be read, and are to be forgotten.
    """

    findings: Mapping[bytes, Finding]
    stale: Sequence[bytes] = ()
    broken: Sequence[bytes] = ()


class Findings:
    """The store. Threads may share it.

    Every method raises `StoreUnavailable` where the database does not answer.

    Args:
        database: The database; a connection of the store's own waits less long for it.
        most_bytes: Room for rows.
        clock: Tells the time, in seconds since 1970.
    """

    def __init__(
        self, database: Engine, most_bytes: int, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = _hasty(database)
        self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._most_bytes = most_bytes
        self._clock = clock
        self._until_trim = 0
        self._bytes = 0

    @property
    def size(self) -> int:
        """Bytes that the rows took when this process last looked, with what it wrote since."""
        return self._bytes

    def read(self, keys: Sequence[bytes]) -> Found:
        """What is known under these keys."""
        if not keys:
            return Found({})
        with _translated(self._engine), self._reading.connect() as connection:
            rows = connection.execute(_LOOK_UP, {"keys": keys}).all()
        findings, stale, broken = {}, [], []
        now = self._clock()
        for key, content, used in rows:
            try:
                findings[key] = unpack(content)
                if not now - _USED_WITHIN_S < used <= now + _USED_WITHIN_S:
                    stale.append(key)
            except (ValueError, TypeError):
                broken.append(key)
        return Found(findings, stale, broken)

    def write(self, findings: Mapping[bytes, Finding]) -> None:
        """Keep findings, in place of what was kept under their keys; makes room for them."""
        now = self._clock()
        packed = {key: pack(finding) for key, finding in findings.items()}
        sizes = {key: size_on_disk(content) for key, content in packed.items()}
        rows = [
            {"key": key, "content": packed[key], "size": sizes[key], "made": now, "used": now}
            for key in sorted(packed)  # all in one order, so that no two wait for each other
            if sizes[key] <= self._most_bytes // _STEPS
        ]
        if not rows:
            return
        with self._transaction() as connection:
            connection.execute(self._insert(), rows)
        written = sum(sizes.values())
        self._bytes += written
        self._until_trim -= written
        if self._until_trim < 0:
            self.trim()

    def mark_used(self, keys: Sequence[bytes]) -> None:
        """These were used just now."""
        for some in blocks(keys):
            with self._transaction() as connection:
                these = update(_table).where(_row.key.in_(some))
                connection.execute(these.values(used=self._clock()))

    def forget(self, keys: Sequence[bytes]) -> None:
        """Take these out."""
        for some in blocks(keys):
            with self._transaction() as connection:
                connection.execute(delete(_table).where(_row.key.in_(some)))

    def trim(self) -> None:
        """Take the least recently used out, where the rows are about to pass the limit."""
        with _translated(self._engine), self._reading.connect() as connection:
            total = int(connection.scalar(select(func.sum(_row.size))) or 0)
        if total > _FULL * self._most_bytes:
            total -= self._forget_oldest(total - int(_TRIMMED * self._most_bytes))
        self._bytes = total
        self._until_trim = self._most_bytes // _STEPS

    def close(self) -> None:
        """Close all connections; they are opened anew where something is asked again."""
        self._engine.dispose()

    def _forget_oldest(self, size: int) -> int:
        """Take out as many of the oldest rows as take so many bytes; gives what they took."""
        oldest = select(_row.key, _row.size).order_by(_row.used).limit(_AT_A_TIME)
        freed = 0
        while freed < size:
            with _translated(self._engine), self._reading.connect() as connection:
                rows = connection.execute(oldest).all()
            chosen = []
            for key, row_size in rows:
                chosen.append(key)
                freed += row_size
                if freed >= size:
                    break
            if not chosen:
                break
            self.forget(chosen)
        return freed

    def _insert(self) -> Insert:
        new = insert_into(self._engine, _table)
        anew = {column.name: column for column in new.excluded if column.name != "key"}
        return new.on_conflict_do_update(index_elements=[_row.key], set_=anew)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with _translated(self._engine), self._engine.begin() as connection:
            yield connection


def size_on_disk(content: bytes) -> int:
    """Bytes that a row with this content takes, about."""
    return len(content) * 4 // 3 + _ROW_BYTES


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    """Whatever the database does not do is the same for a cache."""
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreUnavailable(
            f"the database {engine.url.render_as_string(hide_password=True)}",
            f"does not answer the prediction store ({said(error)})",
            "Predictions go on without what was found before. Check its server and its disk.",
        ) from error


def _hasty(database: Engine) -> Engine:
    """Connections to the same database that give up soon."""
    is_sqlite = database.dialect.name == "sqlite"
    arguments: dict[str, float] = {}
    if is_sqlite:
        arguments = {"timeout": _PATIENCE_S}
    elif database.driver in ("psycopg", "psycopg2"):
        arguments = {"connect_timeout": 2, "tcp_user_timeout": int(1000 * _PATIENCE_S)}
    engine = create_engine(
        database.url, pool_size=_POOL, pool_timeout=_PATIENCE_S, connect_args=arguments
    )
    event.listen(engine, "connect", _careless if is_sqlite else _impatient)
    if is_sqlite:
        watch_over(engine)
    return engine


def _careless(connection: Any, _record: object) -> None:
    """A power cut may cost what was found last, and nothing of the other tables."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _impatient(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET statement_timeout = {int(1000 * _PATIENCE_S)}")
    cursor.close()
    connection.commit()
