"""What goes on in the background after an answer, as the server sees it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prelabel.server.records import Recorded
from prelabel.store.jobs import Jobs

if TYPE_CHECKING:
    from prelabel.jobs.retrieves import Retrieves
    from prelabel.jobs.work import Runner

SHOWN_JOBS = 50
_STOPPING_S = 5.0


@dataclass(frozen=True, slots=True)
class Backfilling:
    """The parts that see to it that no click is lost.

    Attributes:
        retrieves: The ledgers of what is asked for.
        runner: Does the backfills.
        jobs: The table of jobs.
    """

    retrieves: Retrieves
    runner: Runner
    jobs: Jobs

    def start(self) -> None:
        """Begin to do jobs, with those that an earlier process left."""
        self.runner.start()

    def stop(self) -> None:
        """Hand back what is being done."""
        self.runner.stop(_STOPPING_S)

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
