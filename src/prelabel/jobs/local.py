"""Runs jobs in a thread of this process, one after the other."""

from collections.abc import Mapping
from threading import Event, Thread

from prelabel.jobs.work import LEASE_S, Work, Worker
from prelabel.store.jobs import Jobs


class LocalRunner:
    """One thread that looks at the table and does what is due.

    Args:
        jobs: The table.
        work: What does a job, by its kind.
        poll_s: Pause between two looks at the table; `wake` cuts it short.
        lease_s: See `LEASE_S`.
    """

    def __init__(
        self,
        jobs: Jobs,
        work: Mapping[str, Work],
        poll_s: float = 1.0,
        *,
        lease_s: float = LEASE_S,
    ) -> None:
        self._worker = Worker(jobs, work, lease_s=lease_s)
        self._poll_s = poll_s
        self._awake = Event()
        self._thread = Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier process left."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the table now: a job was submitted."""
        self._awake.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Take no more jobs, and hand back the one at work; it is begun anew elsewhere.

        Args:
            timeout_s: Wait so long for the work to notice; then it goes on, but counts no more.
        """
        self._worker.stop()
        self._awake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
            self._worker.hand_back()

    def _run(self) -> None:
        while not self._worker.stopping:
            if not self._worker.do_next():
                self._awake.wait(self._poll_s)
                self._awake.clear()
