"""Who does jobs: threads of this process, or workers that hear of them over a Redis."""

import time
from collections.abc import Mapping, Sequence
from types import ModuleType

from prelabel.errors import MissingPackage
from prelabel.jobs.local import LocalRunner
from prelabel.jobs.work import Runner, Work
from prelabel.store.jobs import Jobs


class Together:
    """Several runners as one, each for kinds of its own.

    Args:
        runners: They are begun in this order.
    """

    def __init__(self, runners: Sequence[Runner]) -> None:
        self._runners = tuple(runners)

    def start(self) -> None:
        """Begin them all."""
        for runner in self._runners:
            runner.start()

    def wake(self) -> None:
        """A job was submitted to one of them."""
        for runner in self._runners:
            runner.wake()

    def stop(self, timeout_s: float) -> None:
        """Stop them all within that time; see `Runner`."""
        # One after the other: at the end of a process Python 3.12 begins no thread any more.
        until = time.monotonic() + timeout_s
        for runner in self._runners:
            runner.stop(max(0.0, until - time.monotonic()))


def make_runner(
    redis_url: str, jobs: Jobs, does: Mapping[str, Work], *, threads: int = 0, alone: int = 1
) -> Runner:
    """What does jobs of some kinds, or has them done; not begun yet.

    Args:
        redis_url: Where the Redis is; "" where there is none, and this process does the jobs.
        jobs: The table.
        does: What does a job, by its kind. Servers and workers must group the kinds alike.
        threads: Jobs that are done here at a time where there is a Redis.
        alone: Jobs that are done here at a time where there is none.

    Raises:
        SettingsError: `redis_url` is no address of a Redis.
        MissingPackage: What speaks to Redis is not installed.
    """
    if not redis_url:
        return LocalRunner(jobs, does, threads=alone)
    distributed = _distributed()
    queue = distributed.open_queue(redis_url, "+".join(sorted(does)))
    runner: Runner = distributed.DistributedRunner(jobs, does, queue, threads=threads)
    return runner


def redis_version(redis_url: str) -> str:
    """The version of the Redis at an address, which must answer.

    Raises:
        SettingsError: It is no address of a Redis.
        StoreUnavailable: It does not answer.
        MissingPackage: What speaks to Redis is not installed.
    """
    return str(_distributed().version_at(redis_url))


def _distributed() -> ModuleType:
    try:
        from prelabel.jobs import distributed  # noqa: PLC0415 - its packages are optional
    except ModuleNotFoundError as error:
        raise MissingPackage(
            "REDIS_URL",
            f"needs the package {error.name}, which is not installed",
            "Install it: pip install 'prelabel[scale]'.",
        ) from error
    return distributed
