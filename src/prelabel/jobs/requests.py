"""Asking for trainings, as events of Label Studio do: at once, and each project once."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Lock, Thread
from typing import Any

import structlog

from prelabel.errors import StoreUnavailable
from prelabel.jobs.training import KIND, TrainingRequest
from prelabel.store.jobs import Job, Jobs

log = structlog.get_logger(__name__)

_AGAIN_S = 2.0
"""Pause before a database that did not answer is told of a training again."""


class Trainings:
    """What the server calls when someone asks for a training.

    Args:
        jobs: The table.
        url: The Label Studio that projects belong to; "" where none is set.
        can_fetch: Whether annotations can be fetched from it.
        delay_s: How long a delayed request waits for further ones.
        wake: Tells the runner that a job was submitted.
    """

    def __init__(
        self,
        jobs: Jobs,
        url: str,
        *,
        can_fetch: bool,
        delay_s: float,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._jobs = jobs
        self._url = url
        self._can_fetch = can_fetch
        self._delay_s = delay_s
        self._wake = wake
        self._owed: set[int] = set()
        self._lock = Lock()

    def start(
        self,
        project_id: int,
        *,
        payload_tasks: Sequence[Mapping[str, Any]] | None = None,
        label_config: str | None = None,
        created: int | None = None,
        delayed: bool = False,
    ) -> Job:
        """Ask for the training of a project, or join the request that waits already.

        Args:
            project_id: Its number in Label Studio.
            payload_tasks: Tasks with annotations to learn from; without them they are fetched.
            label_config: The project's, where it is known.
            created: When the project was made, in whole seconds since 1970, where it is known.
            delayed: Wait a little, because more such requests are likely.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        tasks = None if payload_tasks is None else [dict(task) for task in payload_tasks]
        request = TrainingRequest(project_id, tasks, label_config, created)
        # Without a login a request without tasks must not take the tasks of one that waits.
        teaches = tasks is not None or self._can_fetch
        job = self._jobs.submit(
            KIND,
            f"{self._url}#{project_id}",
            payload=request.write() if teaches else b"",
            delay_s=self._delay_s if delayed else 0,
        )
        self._wake()
        return job

    def start_for_click(
        self, project_id: int, *, created: int | None = None, delayed: bool = False
    ) -> Job | None:
        """As `start`, for Label Studio, which tells nobody that it was refused.

        Returns:
            None where the database does not answer: it is told as soon as it does, by this process.
        """
        try:
            return self.start(project_id, created=created, delayed=delayed)
        except StoreUnavailable as error:
            with self._lock:
                is_owed = project_id in self._owed
                self._owed.add(project_id)
            if not is_owed:
                log.warning("training not written down", project=project_id, reason=str(error))
                Thread(target=self._start_late, args=(project_id, created), daemon=True).start()
            return None

    def _start_late(self, project_id: int, created: int | None) -> None:
        job: Job | None = None
        try:
            while job is None:
                time.sleep(_AGAIN_S)
                with suppress(StoreUnavailable):
                    job = self.start(project_id, created=created)
        finally:
            with self._lock:
                self._owed.discard(project_id)
        log.info("training written down after all", project=project_id)

    def status(self, job_id: str) -> Job | None:
        """The training of this id; None where nothing is known of it."""
        return self._jobs.get(job_id)
