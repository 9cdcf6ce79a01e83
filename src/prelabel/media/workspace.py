"""How many pixels are decoded at the same time: a small file can become very many."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock


class Workspace:
    """Room for so many pixels, shared by all threads that decode.

    Decoding takes up to 16 bytes a pixel for a moment (4 to 9 is usual), so that a dozen pictures
    of a few kilobytes each, all at the pixel limit, would take 9 GB together.
    """

    def __init__(self, most_pixels: int) -> None:
        self._most = most_pixels
        self._taken = 0
        self._turn = Lock()
        self._changed = Condition()

    @contextmanager
    def for_pixels(self, pixels: int) -> Iterator[None]:
        """Hold room for an image, once there is some; one larger than all of it works alone."""
        # Who waits for much room holds the turn, so that many small ones do not overtake for ever.
        with self._turn, self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._most)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()
