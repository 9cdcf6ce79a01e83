"""Doing jobs: claim one in the table, keep its lease, do it, and write down how it ended.

Every runner does them in this way; runners differ in how they hear of a job.
"""

import json
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from threading import Event, Thread
from typing import Any, Protocol, Self, TypeAlias

import structlog

from prelabel.errors import PrelabelError, StoreUnavailable
from prelabel.runtime.outage import Outage
from prelabel.store.jobs import Job, Jobs

log = structlog.get_logger(__name__)

Report: TypeAlias = Callable[[float, str], None]
"""Takes how far the work is, 0..1, and what it is at; raises `Stopped` where it must end."""

Work: TypeAlias = Callable[[Job, Report], Mapping[str, Any]]
"""Does a job and gives its result, as JSON; `message` in it becomes the job's message."""

LEASE_S = 20.0
"""After so long without a sign of life, a job is taken from its worker."""

_BEAT_S = 1.0
"""How often a worker gives a sign of life and learns that its job was cancelled."""

_RETRY_S = 1.0
"""Pause before the end of a job is written again to a database that did not answer."""

_KEPT_JOBS = 500


class Stopped(Exception):
    """The job was cancelled or taken away, or this process ends."""


class LeftBehind(Exception):
    """The job is at something from which it does not come back, and this process ends.

    Nobody hands it back: its lease runs out as if its worker had been killed, and the attempt
    counts.
    """


class Runner(Protocol):
    """What a server needs of whoever does its jobs."""

    def start(self) -> None:
        """Begin, with what an earlier process left."""

    def wake(self) -> None:
        """A job was submitted."""

    def stop(self, timeout_s: float) -> None:
        """Take no more jobs, and hand back those at work; they are begun anew elsewhere."""


def outage(thing: str) -> Outage:
    """What says that jobs wait for something that does not answer, and that it is back."""
    return Outage("jobs wait", "jobs go on", thing=thing)


class Worker:
    """Does jobs of the table, one in each thread that asks it to.

    Work may be done twice, after a worker was killed or handed it back; it must not mind.

    Args:
        jobs: The table.
        work: What does a job, by its kind.
        lease_s: See `LEASE_S`.

    Attributes:
        store_outage: Says when the database is away.
    """

    def __init__(self, jobs: Jobs, work: Mapping[str, Work], *, lease_s: float = LEASE_S) -> None:
        self._jobs = jobs
        self._work = work
        self._lease_s = lease_s
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._stopping = Event()
        self._at_work: dict[str, Job] = {}
        self.store_outage = outage("the database")

    @property
    def stopping(self) -> bool:
        """Whether no more jobs are to be begun."""
        return self._stopping.is_set()

    def take(self, job_id: str | None = None) -> Job | None:
        """Take the job whose turn it is.

        Args:
            job_id: Take this job, if it is its turn, and no other.

        Returns:
            None where there is nothing to do, or the database does not answer.
        """
        try:
            return None if self.stopping else self._claim(job_id)
        except Exception:
            log.exception("defect", thing="jobs")  # the thread is there for all later jobs, too
            return None

    def do(self, job: Job) -> None:
        """Do a job that was taken, to its end."""
        log.info("job begins", job=job.id, kind=job.kind, project=job.project)
        try:
            with _Lease(self._jobs, job, self._lease_s, self._stopping) as lease:
                self._at_work[job.id] = job
                self._write(self._do(job, lease.report))
        except Exception:
            log.exception("defect", thing="jobs")
        finally:
            self._at_work.pop(job.id, None)

    def stop(self) -> None:
        """Begin no more jobs, and end those at work at their next report."""
        self._stopping.set()

    def hand_back(self) -> None:
        """Give up what is still at work: it is begun anew elsewhere, and counts here no more."""
        for job in list(self._at_work.values()):
            try:
                self._jobs.hand_back(job.id, self._owner)
            except StoreUnavailable as error:  # its lease runs out, which is the same, but later
                log.warning("job not handed back", job=job.id, reason=str(error))

    def _claim(self, job_id: str | None) -> Job | None:
        try:
            # Where the machine slept, or its clock was set, leases are over that are kept.
            kept = tuple(self._at_work)
            job = self._jobs.claim(
                self._owner, tuple(self._work), self._lease_s, job_id=job_id, but=kept
            )
        except StoreUnavailable as error:
            self.store_outage.begins(error)
            return None
        self.store_outage.ends()
        return job

    def _do(self, job: Job, report: Report) -> Callable[[], bool]:
        """Do a job, and give what writes down how it ended."""
        try:
            result = self._work[job.kind](job, report)
            json.dumps(result, allow_nan=False)  # what the table could not hold is a defect here
        except Stopped:
            log.info("job stopped", job=job.id)
            return partial(self._jobs.hand_back, job.id, self._owner)
        except LeftBehind:
            log.warning("job left behind", job=job.id)
            return lambda: True  # its lease runs out, too
        except StoreUnavailable as error:
            log.warning("job broken off", job=job.id, reason=str(error))
            return lambda: True  # its lease runs out, and it is begun anew, but not for ever
        except PrelabelError as error:
            log.warning("job failed", job=job.id, reason=str(error))
            return partial(self._jobs.fail, job.id, self._owner, str(error))
        except Exception as error:
            log.exception("defect", job=job.id)
            return partial(self._jobs.fail, job.id, self._owner, _defect(error))
        message = str(result.get("message", ""))
        log.info("job done", job=job.id, message=message)
        return partial(self._jobs.finish, job.id, self._owner, result, message)

    def _write(self, end: Callable[[], bool]) -> None:
        """Write down how a job ended, as soon as the database lets us."""
        while True:
            try:
                end()
                self._jobs.prune(_KEPT_JOBS)
            except StoreUnavailable as error:
                self.store_outage.begins(error)
                if self._stopping.wait(_RETRY_S):
                    return
            else:
                return


class _Lease:
    """Keeps a job ours while it is worked on, however long one step of the work takes."""

    def __init__(self, jobs: Jobs, job: Job, lease_s: float, stopping: Event) -> None:
        self._jobs = jobs
        self._job = job
        self._lease_s = lease_s
        self._stopping = stopping
        self._lost = Event()
        self._ended = Event()
        self._progress = (0.0, "begins")
        self._thread = Thread(target=self._keep, name="job-lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def report(self, progress: float, message: str) -> None:
        """Say how far the work is; the table learns of it within a second."""
        if self._lost.is_set() or self._stopping.is_set():
            raise Stopped
        self._progress = (progress, message)

    def _keep(self) -> None:
        job, owner = self._job, self._job.owner or ""
        while not self._ended.wait(min(_BEAT_S, self._lease_s / 4)):
            progress, message = self._progress
            try:
                mine = self._jobs.renew(
                    job.id, owner, self._lease_s, progress=progress, message=message
                )
            except StoreUnavailable:  # the claims and the end of the job say so in the log
                continue
            if not mine:
                self._lost.set()
                return


def _defect(error: Exception) -> str:
    return str(
        PrelabelError(
            "the job",
            f"met a defect of prelabel ({type(error).__name__})",
            "Please report what the log says of it.",
        )
    )
