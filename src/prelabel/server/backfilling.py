"""What goes on in the background after an answer, as the server sees it."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import structlog

from prelabel.errors import StoreUnavailable
from prelabel.jobs.retrieves import Retrieves
from prelabel.jobs.work import Runner
from prelabel.server.records import SHOWN_JOBS, Recorded
from prelabel.store.jobs import Jobs

log = structlog.get_logger(__name__)

_STOPPING_S = 5.0
_PATIENCE_S = 5.0
"""How long a request waits for the ledger; Label Studio waits 15 s longer than the deadline."""

_NOT_ASKED_FOR_S = 10.0
"""For so long a ledger that did not answer is not asked again: each request would wait for it."""

_THREADS = 4

_Answer = TypeVar("_Answer")


class Backfilling:
    """The parts that see to it that no click is lost.

    Args:
        retrieves: The ledgers of what is asked for.
        runner: Does the backfills.
        jobs: The table of jobs.
    """

    def __init__(self, retrieves: Retrieves, runner: Runner, jobs: Jobs) -> None:
        self.retrieves = retrieves
        self.runner = runner
        self.jobs = jobs
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ledger")
        self._away_until = 0.0

    async def ask(
        self, question: Callable[[], _Answer], late: Callable[[_Answer], None] | None = None
    ) -> _Answer | None:
        """What the ledgers answer; None where the database does not.

        Args:
            question: Asks them; one that changes something changes it also when it is too late.
            late: Told what they answered after all, when nobody waited for it any more.
        """
        if time.monotonic() < self._away_until:
            return None
        begun = self._threads.submit(question)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(begun), _PATIENCE_S)
        except (StoreUnavailable, TimeoutError) as error:
            self._away_until = time.monotonic() + _NOT_ASKED_FOR_S
            log.warning("retrieve not written down", reason=str(error) or "the database is slow")
            if late is not None:
                begun.add_done_callback(lambda done: self._tell(done, late))
            return None
        except Exception:
            log.exception("defect", thing="retrieves")  # it must not cost the answer
            return None

    def later(self, change: Callable[[], object]) -> None:
        """Change the ledgers when there is time, or not at all where the database does not answer.

        A server that ends leaves it; the job that a request was written down with sees to it.
        """
        with suppress(RuntimeError):  # the threads are gone
            self._threads.submit(change).add_done_callback(_log_trouble)

    def _tell(self, done: Future[_Answer], late: Callable[[_Answer], None]) -> None:
        if not done.cancelled() and done.exception() is None:
            self.later(lambda: late(done.result()))

    def start(self) -> None:
        """Begin to do jobs, with those that an earlier process left."""
        self.runner.start()

    def stop(self) -> None:
        """Hand back what is being done."""
        self.runner.stop(_STOPPING_S)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def cancel(self, job_id: str) -> bool:
        """End a job that waits or runs; False where there is none of this id.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        return await asyncio.to_thread(self._cancel, job_id)

    def _cancel(self, job_id: str) -> bool:
        job = self.jobs.get(job_id)
        if job is None or not self.jobs.cancel(job_id):
            return False
        self.retrieves.cancelled(job)
        return True

    def recorded(self) -> Recorded:
        """The latest jobs; waits for the database.

        Raises:
            StoreUnavailable: It does not answer.
        """
        return Recorded(self.jobs.recent(None, SHOWN_JOBS))


def _log_trouble(done: "Future[object]") -> None:
    if not done.cancelled() and done.exception() is not None:
        log.warning("answer not written down", reason=str(done.exception()))
