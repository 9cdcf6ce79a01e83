"""A lock that one process holds and that ends with it, however it ends."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from prelabel.errors import NotReady


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Hold a lock, or be refused at once while another process holds it.

    It is the lock of an otherwise empty SQLite file: every system has that, and frees it when the
    process is gone, after a kill -9 too.

    Args:
        path: The file; made where it is missing, and left where it is.
        what: What is locked, in words.

    Raises:
        NotReady: Another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise NotReady(
                what,
                f"another process is at it and holds {path}",
                "Wait until it is done, or stop it with Ctrl-C; it then says how to go on.",
            ) from error
        yield


def run_lock(data_folder: Path, url: str, project: int) -> Path:
    """The lock of whoever pushes predictions into a project, on this machine.

    Args:
        data_folder: Where files of this installation lie.
        url: Label Studio's address.
        project: The project's id.
    """
    name = hashlib.sha256(f"{url} {project}".encode()).hexdigest()[:16]
    return data_folder / "locks" / f"run-{name}"
