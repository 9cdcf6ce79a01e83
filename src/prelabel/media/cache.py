"""Images by reference: fetched and decoded once, kept while there is room."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from prelabel.media.decode import content_digest
from prelabel.media.references import CLOUD_SCHEMES, ImageReference
from prelabel.types import Image

Load = Callable[[ImageReference], Image]
_Key = tuple[str | int | None, ...]


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """How a cache is used.

    Attributes:
        hits: Images that were asked for and here.
        misses: Images that were not, and those that several wanted while one loaded it.
        images: Images kept now.
        bytes: The memory that their pixels take.
    """

    hits: int
    misses: int
    images: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Kept:
    image: Image
    until: float


class ImageCache:
    """Decoded images in memory, least recently used out first.

    Threads may share it: while one loads an image, others that want the same wait for it. They
    share its failure, too; a failure is not kept.

    Args:
        load: Loads an image that is not here.
        max_bytes: Room for pixels; an image that takes more by itself is not kept.
        ttl_s: Seconds after which an image is loaded again.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        load: Load,
        max_bytes: int = 512 * 1024 * 1024,
        ttl_s: float = 600.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._kept_bytes = 0
        self._loading: dict[_Key, Future[Image]] = {}
        self._hits = 0
        self._misses = 0

    def counts(self) -> CacheCounts:
        """How it is used, since it was made."""
        with self._lock:
            return CacheCounts(self._hits, self._misses, len(self._kept), self._kept_bytes)

    def load(self, reference: ImageReference) -> Image:
        """The upright image at a reference.

        Raises:
            TaskError: It cannot be fetched or decoded.
        """
        key = _key(reference)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.until > self._clock():
                self._kept.move_to_end(key)
                self._hits += 1
                return kept.image
            self._misses += 1
            loading = self._loading.get(key)
            if loading is None:
                mine = self._loading[key] = Future[Image]()
        if loading is not None:
            return loading.result()
        try:
            image = self._load(reference)
        except BaseException as error:
            with self._lock:
                del self._loading[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._loading[key]
            self._keep(key, image)
        mine.set_result(image)
        return image

    def _keep(self, key: _Key, image: Image) -> None:
        self._drop(key)
        if image.pixels_rgb.nbytes > self._max_bytes:
            return
        self._kept[key] = _Kept(image, self._clock() + self._ttl_s)
        self._kept_bytes += image.pixels_rgb.nbytes
        while self._kept_bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: _Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._kept_bytes -= kept.image.pixels_rgb.nbytes


def _key(reference: ImageReference) -> _Key:
    """All that decides what comes back; the task only where Label Studio asks for it."""
    uri = reference.uri
    scheme = uri.strip().partition(":")[0].lower()
    if scheme == "data":  # megabytes that would be kept, and not count as pixels do
        uri = content_digest(uri.encode("utf-8", "surrogatepass"))
    return (
        uri,
        reference.label_studio.url if reference.label_studio else None,
        reference.login,
        reference.password,
        reference.task_id if scheme in CLOUD_SCHEMES else None,
    )
