"""Runs jobs in threads of this process."""

from collections.abc import Mapping
from threading import Event, Lock, Thread

from prelabel.jobs.work import LEASE_S, Work, Worker
from prelabel.store.jobs import Jobs


class LocalRunner:
    """A few threads that do what is due; one of those that are idle looks at the table.

    Args:
        jobs: The table.
        work: What does a job, by its kind.
        poll_s: Pause between two looks at the table; `wake` cuts it short.
        threads: Jobs that are done at a time.
        lease_s: See `LEASE_S`.
    """

    def __init__(
        self,
        jobs: Jobs,
        work: Mapping[str, Work],
        poll_s: float = 1.0,
        *,
        threads: int = 1,
        lease_s: float = LEASE_S,
    ) -> None:
        self._worker = Worker(jobs, work, lease_s=lease_s)
        self._poll_s = poll_s
        self._awake = Event()
        self._looking = Lock()
        self._threads = [Thread(target=self._run, name="jobs", daemon=True) for _ in range(threads)]

    def start(self) -> None:
        """Begin, with what an earlier process left."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Look at the table now: a job was submitted."""
        self._awake.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Take no more jobs, and hand back those at work; they are begun anew elsewhere.

        Args:
            timeout_s: Wait so long for the work to notice; then it goes on, but counts no more.
        """
        self._worker.stop()
        self._awake.set()
        started = [thread for thread in self._threads if thread.is_alive()]
        for thread in started:
            thread.join(timeout_s / len(started))
        if started:
            self._worker.hand_back()

    def _run(self) -> None:
        while True:
            with self._looking:
                if self._worker.stopping:
                    return
                job = self._worker.take()
                if job is None:
                    self._awake.wait(self._poll_s)
                    self._awake.clear()
                    continue
            self._worker.do(job)
            self.wake()  # the next one of the same project may have waited for it
