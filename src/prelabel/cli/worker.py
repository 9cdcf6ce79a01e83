"""`prelabel worker`: does the jobs of servers that share a database and a Redis with it."""

from typing import Annotated

import typer


def worker(
    processes: Annotated[int | None, typer.Option(help="Processes [1].")] = None,
    threads: Annotated[int | None, typer.Option(help="Jobs at a time in each [2].")] = None,
    log_level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = None,
) -> None:
    """Do jobs of servers that share DATABASE_URL and REDIS_URL, until SIGTERM."""
    from prelabel.launch import workers
    from prelabel.logs import configure
    from prelabel.settings import hand_down, load

    flags = {"worker_processes": processes, "worker_threads": threads, "log_level": log_level}
    settings = load(**flags)
    hand_down(flags)
    configure(settings.log_level, settings.log_format)
    workers.run(settings)
