"""Whether the memory of a server grows with the number of images that it has seen."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from prelabel.benchmarks import image_server, paced
from prelabel.benchmarks.crowd import metric, predict
from prelabel.benchmarks.load import LABEL_STUDIO, Site

SIZE_WH = (1280, 720)
TASKS, CLIENTS = 50, 2
FIRST_SHARE = 0.1
"""So much of all images fills the caches; from there on nothing should grow."""

WANTED_GROWTH_MB = 50.0
_MB = 2**20
_SAMPLE_S = 0.25


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the server.

    Attributes:
        images: How many were answered by then.
        resident_mb: Resident memory of its process.
        threads: Threads of its process.
        files: Open file descriptors of its process.
    """

    images: int
    resident_mb: float
    threads: int
    files: int


def memory(images: int, model: str) -> bool:
    """Send so many different images through a real server, and print how much memory it takes.

    Args:
        images: How many; none of them twice.
        model: Name of the predictor of boxes, for example "opencv-fallback".

    Returns:
        Whether the memory after all images is at most `WANTED_GROWTH_MB` over that after the
        first tenth of them.
    """
    with (
        TemporaryDirectory() as folder,
        paced.offered_in(Path(folder)) as offered,
        _pictures() as url,
    ):
        width, height = SIZE_WH
        size = len(image_server.pictures(width, height)[0])
        print(
            f"{images:,} different JPEG files of {width} x {height} ({size / 1000:.0f} kB) over "
            f"loopback HTTP, {TASKS} tasks a request, {CLIENTS} requests at a time; model: {model}"
        )
        settings = {
            **offered,
            "BOXES_PREDICTOR": model,
            "FETCH_ALLOWED_HOSTS": "127.0.0.1",
            "DATA_DIR": folder,
        }
        site = Site(Path(folder), settings)
        (Path(folder) / "images").mkdir()
        # With the cache and the learning loop that a server has by default.
        with site.servers(IMAGE_CACHE_MB="128", SEQUENCE_LEARNING_ENABLED="true") as (port,):
            begin = perf_counter()
            samples = asyncio.run(_watched(port, images, url))
            seconds = perf_counter() - begin
    return _told(samples, images, seconds)


def _told(samples: Sequence[Sample], images: int, seconds: float) -> bool:
    """Print the samples at some places, and say whether memory stayed flat."""
    first = max(int(images * FIRST_SHARE), 1)
    for at in (0, first, images // 4, images // 2, images):
        one = next(sample for sample in samples if sample.images >= at)
        print(
            f"after {one.images:6,} images: {one.resident_mb:5.0f} MB resident, "
            f"{one.threads} threads, {one.files} open files"
        )
    later = [sample.resident_mb for sample in samples if sample.images >= first]
    growth_mb = samples[-1].resident_mb - later[0]
    print(
        f"peak {max(sample.resident_mb for sample in samples):.0f} MB; from {first:,} images on "
        f"{growth_mb:+.0f} MB (wanted at most {WANTED_GROWTH_MB:+.0f} MB); "
        f"{images / seconds:.0f} images/s, all predicted",
        flush=True,
    )
    return growth_mb <= WANTED_GROWTH_MB


async def _watched(port: int, images: int, url: str) -> list[Sample]:
    """Look at the server while it answers for all images."""
    numbers, done = iter(range(images)), 0
    samples = [await _sample(port, 0)]

    async def client() -> None:
        nonlocal done
        while uris := [f"{url}/{number}.jpg" for number in islice(numbers, TASKS)]:
            answer = await predict(port, uris, LABEL_STUDIO)
            if answer.predicted != len(uris):
                raise RuntimeError(f"the server answered {answer.status}: {answer.body!r:.300}")
            done += len(uris)

    asking = asyncio.gather(*(client() for _ in range(CLIENTS)))
    while not asking.done():
        await asyncio.wait({asking}, timeout=_SAMPLE_S)
        samples.append(await _sample(port, done))
    await asking
    return [*samples, await _sample(port, done)]


async def _sample(port: int, images: int) -> Sample:
    names = ("process_resident_memory_bytes", "prelabel_threads", "process_open_fds")
    resident, threads, files = [await metric(port, name) for name in names]
    return Sample(images, resident / _MB, int(threads), int(files))


@contextmanager
def _pictures() -> Iterator[str]:
    """Serve pictures of which no two are the same bytes; yields their address."""
    with image_server.server(0, *SIZE_WH) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()
