"""Runs jobs on many machines: the table says what is to be done, Redis tells the workers.

A message carries the id of a job and nothing else; whoever gets it claims that job in the table.
So a message that is lost, late or doubled does no harm: what may not be begun is not, and what
waits without a message is told of again, by any process that is alive.
"""

import logging
from collections.abc import Callable, Mapping
from threading import Event, Thread

import dramatiq
import structlog
from dramatiq.brokers.redis import RedisBroker
from dramatiq.common import dq_name
from redis import Redis, RedisError

from prelabel.errors import SettingsError, StoreUnavailable
from prelabel.jobs.work import LEASE_S, Work, Worker, outage
from prelabel.store.jobs import Jobs

log = structlog.get_logger(__name__)

_QUEUE = "jobs"
_ACTOR = "do-job"
_MOST_TOLD = 100
"""Jobs that workers are told of at a time: Redis holds no more messages than that at once."""

_TOLD_FOR_S = 60
"""After so long a message counts as lost, for example with the worker that had fetched it."""

_REDIS_TIMEOUT_S = 5.0
_FETCH_PAUSE_MS = 100
"""Longest pause between two looks of an idle worker at the queue."""


def open_queue(url: str, name: str) -> RedisBroker:
    """A queue of messages in a Redis, which need not answer yet.

    Args:
        url: Where it is, such as "redis://:password@host:6379/0".
        name: What it is for, such as "training".

    Raises:
        SettingsError: It is no address of a Redis.
    """
    client = _client(url)
    # No middleware: how often a job is tried, and for how long, is the table's business.
    broker = RedisBroker(  # type: ignore[no-untyped-call]  # this class alone has no types there
        client=client, namespace=f"prelabel:{name}", middleware=[]
    )
    for queue in (_QUEUE, dq_name(_QUEUE)):
        logging.getLogger(f"dramatiq.worker.ConsumerThread({queue})").addFilter(_is_news)
    return broker


def version_at(url: str) -> str:
    """The version of the Redis at an address, which must answer.

    Raises:
        SettingsError: It is no address of a Redis.
        StoreUnavailable: It does not answer, or not to this password.
    """
    try:
        with _client(url) as client:
            return str(client.info("server")["redis_version"])
    except RedisError as error:
        raise StoreUnavailable(
            "REDIS_URL",
            f"the Redis does not answer ({type(error).__name__})",
            "Start it, or correct the address and the password; till then jobs wait.",
        ) from error


def _client(url: str) -> Redis:
    try:
        return Redis.from_url(
            url,
            socket_timeout=_REDIS_TIMEOUT_S,
            socket_connect_timeout=_REDIS_TIMEOUT_S,
            socket_keepalive=True,
        )
    except ValueError as error:
        raise SettingsError(  # without the reason, which may quote a password
            "REDIS_URL", "is no address of a Redis", "Write redis://:password@host:6379/0."
        ) from error


class DistributedRunner:
    """Tells workers of jobs whose turn it is, and does some of them itself, or none.

    Args:
        jobs: The table, which all processes share.
        work: What does a job, by its kind.
        queue: Where messages go, as `open_queue` gives it; each runner needs its own.
        threads: Jobs that are done here at a time; 0 where only others do them.
        poll_s: Pause between two looks at the table; `wake` cuts it short.
        lease_s: See `LEASE_S`.
    """

    def __init__(
        self,
        jobs: Jobs,
        work: Mapping[str, Work],
        queue: RedisBroker,
        *,
        threads: int = 0,
        poll_s: float = 1.0,
        lease_s: float = LEASE_S,
    ) -> None:
        self._jobs = jobs
        self._kinds = tuple(work)
        self._queue = queue
        self._poll_s = poll_s
        self._worker = Worker(jobs, work, lease_s=lease_s)
        self._listener = _listener(queue, self._do, threads) if threads else None
        self._awake = Event()
        self._redis_outage = outage("Redis")
        self._has_started = False
        self._thread = Thread(target=self._tell, name="jobs-teller", daemon=True)

    def start(self) -> None:
        """Begin, with what is due and what nobody does any more."""
        self._has_started = True
        if self._listener:
            self._listener.start()
        self._thread.start()

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
        if not self._has_started:
            return
        if self._listener:
            try:
                self._listener.stop(round(timeout_s * 1000))
            except RedisError as error:  # what it had fetched is told of again by others
                self._redis_outage.begins(error)
            self._worker.hand_back()
        self._thread.join(_REDIS_TIMEOUT_S)

    def _do(self, job_id: str) -> None:
        """Do the job that a message names, if it is still to be done."""
        try:
            self._queue.client.delete(self._told(job_id))
        except RedisError as error:  # then it is told of again a little later, if need be
            self._redis_outage.begins(error)
        job = self._worker.take(job_id)
        if job is not None:
            self._worker.do(job)
            self.wake()  # the next one of the same project may have waited for it

    def _tell(self) -> None:
        while not self._worker.stopping:
            try:
                self._tell_of_due()
            except RedisError as error:
                self._redis_outage.begins(error)
            except StoreUnavailable as error:
                self._worker.store_outage.begins(error)
            except Exception:
                log.exception("defect", thing="jobs")  # the thread is there for all later jobs, too
            self._awake.wait(self._poll_s)
            self._awake.clear()

    def _tell_of_due(self) -> None:
        """Send a message for each job whose turn it is, unless one is on its way."""
        client = self._queue.client
        client.ping()
        self._redis_outage.ends()
        due = self._jobs.due(self._kinds, _MOST_TOLD)
        self._worker.store_outage.ends()
        for job_id in due:
            if client.set(self._told(job_id), 1, nx=True, ex=_TOLD_FOR_S):
                message = dramatiq.Message[None](_QUEUE, _ACTOR, (job_id,), {}, {})
                self._queue.enqueue(message)

    def _told(self, job_id: str) -> str:
        """The key in Redis that stands while a message about a job is on its way."""
        return f"{self._queue.namespace}:told:{job_id}"


def _listener(queue: RedisBroker, do: Callable[[str], None], threads: int) -> dramatiq.Worker:
    """What fetches messages, no more than are worked on, and has each dealt with in a thread."""
    dramatiq.actor(actor_name=_ACTOR, queue_name=_QUEUE, broker=queue)(do)
    listener = dramatiq.Worker(queue, worker_timeout=_FETCH_PAUSE_MS, worker_threads=threads)
    listener.queue_prefetch = threads
    return listener


def _is_news(record: logging.LogRecord) -> bool:
    """Not each attempt to reach a Redis that is away: the runner says once that it is."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, RedisError) and "connection error" not in str(record.msg)
