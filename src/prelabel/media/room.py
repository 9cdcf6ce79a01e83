"""How much memory decoded images may take before further ones are waited with."""

import weakref
from dataclasses import dataclass
from threading import Condition

from prelabel.types import Image


@dataclass(slots=True)
class Line:
    """The tasks of one request that wait for room.

    Attributes:
        is_empty_handed: Whether the request has no image to go on with.
    """

    is_empty_handed: bool = False


class ImageRoom:
    """Counts the pixels that are alive, wherever they are held; safe for several threads.

    An image is counted from its decoding until nobody holds it any more. Nobody waits for ever: a
    task that has begun to load goes on, and a request that has no image left begins another task.
    What is alive may therefore pass the limit by the images of a task for each thread that loads
    and for each request.
    """

    def __init__(self, most_bytes: int) -> None:
        """Take the limit, in bytes of pixels."""
        self._most_bytes = most_bytes
        self._bytes = 0
        self._waiting = 0
        self._changed = Condition()

    @property
    def bytes(self) -> int:
        """Memory that the pixels take now."""
        return self._bytes

    @property
    def most_bytes(self) -> int:
        """From so many bytes on, further tasks wait."""
        return self._most_bytes

    @property
    def waiting(self) -> int:
        """How many tasks wait for room now."""
        return self._waiting

    def keep(self, image: Image) -> Image:
        """Count an image that was decoded just now; returns it."""
        size = image.pixels_rgb.nbytes
        with self._changed:
            self._bytes += size
        weakref.finalize(image.pixels_rgb, self._give_back, size).atexit = False
        return image

    def wait(self, line: Line, timeout_s: float) -> None:
        """Return when there is room for a request's next task, or after so many seconds without."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(
                    lambda: self._bytes < self._most_bytes or line.is_empty_handed, timeout_s
                )
            finally:
                self._waiting -= 1
            line.is_empty_handed = False

    def hurry(self, line: Line) -> None:
        """Let one task of a request go on at once: it has nothing else to do."""
        with self._changed:
            line.is_empty_handed = True
            self._changed.notify_all()

    def _give_back(self, size: int) -> None:
        # Runs wherever the last reference goes, in the middle of the above too: the lock of a
        # Condition lets the thread that holds it in.
        with self._changed:
            self._bytes -= size
            self._changed.notify_all()
