"""Whether weights still come: the bytes in the folders where libraries put them."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread

import structlog

log = structlog.get_logger(__name__)


class Arriving:
    """Counts the bytes of files, whoever writes them: often it is another process that fetches.

    It counts in a thread of its own, because a share that hangs must not hold up who asks.

    Args:
        folders: Gives where weights come to; called in that thread. One that is missing is empty.
    """

    def __init__(self, folders: Callable[[], Iterable[Path]]) -> None:
        self._folders = folders
        self._bytes = 0
        self._is_counting = False
        self._lock = Lock()

    def __call__(self) -> int:
        """How many there were when it was last asked; they are counted again from now on."""
        with self._lock:
            if not self._is_counting:
                self._is_counting = True
                Thread(target=self._count, name="weights-count", daemon=True).start()
            return self._bytes

    def _count(self) -> None:
        try:
            self._bytes = sum(map(_bytes_in, self._folders()))
        except Exception:
            log.exception("defect", thing="count of weights")
        finally:
            self._is_counting = False


def _bytes_in(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # it was moved to its place meanwhile
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118 - many
    return total
