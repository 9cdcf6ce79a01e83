"""What the database knows of jobs and learnt versions, for the page and the metrics.

Neither may wait for a database that hangs: after a moment they get what it said last.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock

import structlog

from prelabel.errors import StoreUnavailable
from prelabel.store.jobs import Job
from prelabel.store.learned import LearnedVersion

log = structlog.get_logger(__name__)

SHOWN_JOBS = 50
"""The latest jobs, which the page and the metrics show."""

WAYS = ("learner", "nearest", "linear")
"""What finds hidden frames again, as the figures of a training name it."""


@dataclass(frozen=True, slots=True)
class Version:
    """One learnt version of a project.

    Attributes:
        version: Its number.
        created: When it was learnt, UTC.
        active: Whether it answers.
        status: How its training ended, for example "trained".
        annotated: How many annotated tasks it was learnt from.
        mean_iou: With annotated frames hidden in turn, by way of `WAYS`; None where unknown.
    """

    version: int
    created: datetime
    active: bool
    status: str
    annotated: int
    mean_iou: Mapping[str, float | None]

    @classmethod
    def of(cls, learned: LearnedVersion) -> "Version":
        """What the page shows of a stored version."""
        report = learned.report
        hidden = report.get("figures", {}).get("leave_one_out", {})
        return cls(
            learned.version,
            learned.created,
            learned.active,
            str(report.get("status", "")),
            int(report.get("annotated_tasks", 0)),
            {way: hidden.get(way, {}).get("mean_iou") for way in WAYS},
        )


@dataclass(frozen=True, slots=True)
class Taught:
    """What was learnt for a project.

    Attributes:
        project: Its number in Label Studio.
        versions: The latest, newest first.
    """

    project: int
    versions: Sequence[Version]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One look at the database.

    Attributes:
        jobs: The latest, newest first.
        taught: Projects that something was learnt for, those trained last first.
        trouble: Why this is not how it is now; "" where it is.
    """

    jobs: Sequence[Job] = ()
    taught: Sequence[Taught] = ()
    trouble: str = ""


class Records:
    """The latest that is known. Threads may share it.

    Args:
        read: Asks the database; raises `StoreUnavailable` where it does not answer.
        patience_s: So long an answer is waited for.
        fresh_s: So long an answer counts as new.
    """

    def __init__(
        self, read: Callable[[], Recorded], *, patience_s: float = 0.5, fresh_s: float = 0.5
    ) -> None:
        self._read = read
        self._patience_s = patience_s
        self._fresh_s = fresh_s
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="records")
        self._reading: Future[Recorded] | None = None
        self._known = Recorded()
        self._known_at = float("-inf")
        self._lock = Lock()

    def latest(self) -> Recorded:
        """How it is now, or was when the database last answered."""
        with self._lock:
            if time.monotonic() - self._known_at < self._fresh_s:
                return self._known
            if self._reading is None:
                self._reading = self._reader.submit(self._read)
            reading = self._reading
        wait_for([reading], self._patience_s)
        with self._lock:
            if not reading.done():
                trouble = "the database takes long to answer; this is what it said last"
                return replace(self._known, trouble=trouble)
            if reading is self._reading:
                self._take(reading)
            return self._known

    def forget(self) -> None:
        """Something was changed: what was read before it counts no more."""
        with self._lock:
            self._reading = None
            self._known_at = float("-inf")

    def close(self) -> None:
        """Let go of the thread."""
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _take(self, reading: Future[Recorded]) -> None:
        self._reading = None
        self._known_at = time.monotonic()
        try:
            self._known = reading.result()
        except StoreUnavailable as error:
            self._known = replace(self._known, trouble=str(error))
        except Exception:  # a defect in old rows must not take the page away
            log.exception("defect", thing="records")
            self._known = replace(self._known, trouble="what it says cannot be read; see the log")
