"""What goes on in the background after an answer, as the server sees it."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import structlog

from prelabel.errors import StoreUnavailable
from prelabel.server.records import Recorded
from prelabel.store.jobs import Jobs

if TYPE_CHECKING:
    from prelabel.jobs.retrieves import Retrieves
    from prelabel.jobs.work import Runner

log = structlog.get_logger(__name__)

SHOWN_JOBS = 50
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

    def __init__(self, retrieves: "Retrieves", runner: "Runner", jobs: Jobs) -> None:
        self.retrieves = retrieves
        self.runner = runner
        self.jobs = jobs
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ledger")
        self._away_until = 0.0

    async def ask(self, question: Callable[[], _Answer]) -> _Answer | None:
        """What the ledgers answer; None where the database does not."""
        if time.monotonic() < self._away_until:
            return None
        asked = asyncio.get_running_loop().run_in_executor(self._threads, question)
        try:
            return await asyncio.wait_for(asked, _PATIENCE_S)
        except (StoreUnavailable, TimeoutError) as error:
            self._away_until = time.monotonic() + _NOT_ASKED_FOR_S
            log.warning("retrieve not written down", reason=str(error) or "the database is slow")
            return None

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
