"""A lock that one process holds and that ends with it, however it ends."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from prelabel.errors import NotReady, SettingsError
from prelabel.store.sqlite_file import is_busy
from prelabel.store.text import said


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
        SettingsError: The file cannot be made, or not be locked.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, said(error)) from error
    with closing(connection):
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if not is_busy(error):
                raise _unusable(path, said(error)) from error
            raise NotReady(
                what,
                f"another process is at it and holds {path}",
                "Wait until it is done, or stop it with Ctrl-C; it then says how to go on.",
            ) from error
        if not os.access(path, os.W_OK):  # SQLite says yes, and to others as well
            raise _unusable(path, "it is not writable")
        yield


def _unusable(path: Path, reason: str) -> SettingsError:
    return SettingsError(
        str(path),
        f"cannot be locked ({reason})",
        "Make room there, or set DATA_DIR to another writable folder.",
    )


def run_lock(data_folder: Path, url: str, project: int) -> Path:
    """The lock of whoever pushes predictions into a project, on this machine.

    Args:
        data_folder: Where files of this installation lie.
        url: Label Studio's address.
        project: The project's id.
    """
    name = hashlib.sha256(f"{url} {project}".encode()).hexdigest()[:16]
    return data_folder / "locks" / f"run-{name}"
