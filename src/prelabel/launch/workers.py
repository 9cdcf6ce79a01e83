"""The processes of `prelabel worker`: each does jobs until it is told to end."""

import multiprocessing
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import SpawnProcess

import structlog

from prelabel.assembly.jobs import runners_of_worker
from prelabel.errors import PrelabelError
from prelabel.launch.processes import await_signal, ending_on_signals, undisturbed
from prelabel.logs import configure
from prelabel.runtime.ending import Ending
from prelabel.settings import Settings, load

log = structlog.get_logger(__name__)

_STOPPING_S = 5.0
"""How long a job may take to notice that it must end; it is handed back in any case, and the
process is gone within 25 s."""

_GONE_AFTER_S = 25.0
_LOOK_S = 0.5
_RESTART_PAUSE_S = 2.0


def run(settings: Settings) -> None:
    """Do jobs in as many processes as the settings say, until SIGTERM or Ctrl-C.

    Raises:
        SettingsError: The settings name no Redis, or a database that cannot be opened.
        MissingPackage: What speaks to Redis is not installed.
    """
    if settings.redis_url and not settings.database_url:
        log.warning("without DATABASE_URL only workers on this machine see the jobs")
    if settings.worker_processes == 1:
        _work(settings)
    else:
        # What is wrong with the settings is said once, and here.
        runners_of_worker(settings)
        _keep_up(settings.worker_processes)


def _work(settings: Settings) -> None:
    """Do jobs in this process, which ends where a model hangs: its jobs are begun elsewhere."""
    ending = Ending(is_started_anew=True)
    runners = runners_of_worker(settings, ending.hung)
    with ending_on_signals():
        try:
            for runner in runners:
                runner.start()
            log.info("working", process=os.getpid(), threads=settings.worker_threads)
            await_signal()
        except KeyboardInterrupt:
            log.info("stopping")
    with undisturbed(), ThreadPoolExecutor(len(runners)) as stopping:
        list(stopping.map(lambda runner: runner.stop(_STOPPING_S), runners))
    ending.closed(lambda: ending.is_due)


def _work_as_child() -> None:
    """What a further process runs; it reads the same settings."""
    try:
        settings = load()
        configure(settings.log_level, settings.log_format)
        _work(settings)
    except PrelabelError as error:
        sys.exit(f"prelabel: {error}")


def _keep_up(count: int) -> None:
    """Keep so many processes at work; one that ended by itself is replaced."""
    with ending_on_signals():
        workers = []
        try:
            workers = [_start() for _ in range(count)]
            while True:
                time.sleep(_LOOK_S)
                for place, worker in enumerate(workers):
                    if not worker.is_alive():
                        log.error("worker ended by itself", exit_code=worker.exitcode)
                        time.sleep(_RESTART_PAUSE_S)
                        workers[place] = _start()
        except KeyboardInterrupt:
            log.info("stopping", processes=len(workers))
    with undisturbed():
        _stop(workers)


def _start() -> SpawnProcess:
    worker = multiprocessing.get_context("spawn").Process(target=_work_as_child)
    worker.start()
    return worker


def _stop(workers: list[SpawnProcess]) -> None:
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + _GONE_AFTER_S
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        worker.kill()
