"""How the server stands up to more work than it can do, with a model that sleeps."""

import asyncio
import os
import platform
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import quantiles
from time import perf_counter

from prelabel.benchmarks import sleeping
from prelabel.benchmarks.crowd import Answer, metric, predict

BULK_CLIENTS, BULK_TASKS = 4, 32
PAUSE_S = 0.05
LABEL_STUDIO = "heartex/1.23.2"
ROOM = 64
"""MAX_QUEUED_TASKS of the server that is overloaded on purpose."""
FILES = 16
SIZES = {"small": (960, 540), "large": (1920, 1080)}
MB = 2**20


def load(seconds: float, clients: int, replicas: int) -> None:
    """Time people beside bulk clients, throughput against one at a time, and memory in a crowd."""
    with tempfile.TemporaryDirectory() as folder, sleeping.offered_in(Path(folder)) as settings:
        site = Site(Path(folder), settings)
        site.write_images()
        print(_method(seconds))
        asyncio.run(_person_beside_bulk(site, seconds))
        asyncio.run(_throughput(site, seconds, replicas))
        asyncio.run(_crowd(site, clients))
        asyncio.run(_overload(site, seconds))


@dataclass(frozen=True, slots=True)
class Site:
    """Where servers run and what they see.

    Attributes:
        folder: For their logs; holds `images`.
        settings: That make them use the sleeping model.
    """

    folder: Path
    settings: Mapping[str, str]

    @contextmanager
    def servers(self, count: int = 1, **more: str) -> Iterator[list[int]]:
        """Servers of our own; yields their ports."""
        from prelabel.launch import backend
        from prelabel.launch.processes import free_port

        environment = {
            **self.settings,
            "LOCAL_FILES_DOCUMENT_ROOT": str(self.folder / "images"),
            "IMAGE_CACHE_MB": "0",
            "PREDICTION_STORE_MB": "0",
            "SEQUENCE_LEARNING_ENABLED": "false",
            "LABEL_STUDIO_URL": "",
            "LOG_LEVEL": "WARNING",
            **more,
        }
        with ExitStack() as stack:
            ports = []
            for _ in range(count):
                port = free_port()
                log_path = self.folder / f"{port}.log"
                url = f"http://127.0.0.1:{port}"
                stack.enter_context(backend.start(url, log_path=log_path, environment=environment))
                ports.append(port)
            yield ports

    def write_images(self) -> None:
        """Make the images: files of noise, small and large."""
        import cv2
        import numpy as np

        generator = np.random.default_rng(0)
        for kind, size in SIZES.items():
            (self.folder / "images" / kind).mkdir(parents=True)
            for number in range(FILES):
                coarse = generator.integers(0, 256, (36, 64, 3), np.uint8)
                path = self.folder / "images" / kind / f"{number}.jpg"
                cv2.imwrite(str(path), cv2.resize(coarse, size))


def _addresses(count: int, kind: str = "small") -> list[str]:
    """Addresses of so many images, as Label Studio names local files."""
    return [f"/data/local-files/?d={kind}/{number % FILES}.jpg" for number in range(count)]


def _method(seconds: float) -> str:
    first, full = (1000 * sleeping.batch_s(n) for n in (1, sleeping.BATCH_SIZE))
    return (
        f"machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        f"\nmodel: sleeps {first:.0f} ms for one image, {full:.0f} ms for a batch of "
        f"{sleeping.BATCH_SIZE}, one batch at a time, and computes nothing: this shows scheduling"
        f"\nimages: JPEG files of 960 x 540, for memory 1920 x 1080, decoded for each task"
        f"\nservers: `prelabel serve`, on loopback; clients: this process, a connection a request"
        f"\nbulk: {BULK_CLIENTS} clients a server, {BULK_TASKS} tasks a request, the next at once"
        f"\nperson: 1 task a request, the next {1000 * PAUSE_S:.0f} ms after the answer"
        f"\n{seconds:g} s each"
    )


async def _person_beside_bulk(site: Site, seconds: float) -> None:
    """How long a person waits while bulk clients keep the queue full."""
    with site.servers() as ports:
        idle = await _person(ports[0], seconds / 2)
        print(_row("person, server idle", idle))
        rate, busy = await asyncio.gather(_bulk(ports, seconds), _person(ports[0], seconds))
        print(_row("person beside bulk", busy))
    usual = sorted(idle)[len(idle) // 2]
    wait_s = quantiles([one - usual for one in busy], n=100, method="inclusive")[94]
    full_s = sleeping.batch_s(sleeping.BATCH_SIZE)
    print(
        f"wait beyond the idle median, p95: {1000 * wait_s:.1f} ms; one batch: "
        f"{1000 * full_s:.0f} ms; bulk meanwhile {rate:.1f} tasks/s"
    )


async def _throughput(site: Site, seconds: float, replicas: int) -> None:
    """Tasks a second of one server and of several, against one task at a time."""
    print(f"one task at a time, no batches, no HTTP: {_one_by_one(site, seconds):.1f} tasks/s")
    for count in (1, replicas):
        with site.servers(count) as ports:
            rate = await _bulk(ports, seconds)
        print(f"{count} server(s), bulk: {rate:.1f} tasks/s")


def _one_by_one(site: Site, seconds: float) -> float:
    """Tasks a second of a loop that reads, decodes and predicts one image after the other.

    The reference backend does this for each request, and a Flask server around it besides.
    """
    import cv2

    from prelabel.types import Ask, Image, Phrase

    model, ask = sleeping.build({}), Ask((Phrase("a", "a"),))
    files = cycle(sorted((site.folder / "images" / "small").iterdir()))
    begin, done = perf_counter(), 0
    while perf_counter() < begin + seconds:
        pixels = cv2.cvtColor(cv2.imread(str(next(files))), cv2.COLOR_BGR2RGB)
        model.predict([Image(pixels)], ask)
        done += 1
    return done / (perf_counter() - begin)


async def _crowd(site: Site, clients: int) -> None:
    """Memory and threads of a server to which everybody comes at once, with one task each."""
    with site.servers() as ports:
        await predict(ports[0], _addresses(1))
        before = await metric(ports[0], "process_resident_memory_bytes")
        asked = asyncio.gather(*(predict(ports[0], _addresses(1, "large")) for _ in range(clients)))
        peak, threads = before, 0.0
        while not asked.done():
            await asyncio.sleep(PAUSE_S)
            peak = max(peak, await metric(ports[0], "process_resident_memory_bytes"))
            threads = max(threads, await metric(ports[0], "prelabel_threads"))
        answers = await asked
    print(
        f"{clients} clients at once, 1 task each: {_told(answers)}; the last after "
        f"{max(one.seconds for one in answers):.1f} s; resident memory {before / MB:.0f} MB before,"
        f" {peak / MB:.0f} MB at most; {threads:.0f} threads at most"
    )


async def _overload(site: Site, seconds: float) -> None:
    """What callers get from a server that is full."""
    with site.servers(MAX_QUEUED_TASKS=str(ROOM)) as ports:
        bulk = asyncio.gather(*(_bulk(ports, seconds) for _ in range(2)))
        await asyncio.sleep(10 * PAUSE_S)  # until it is full
        script, studio = await asyncio.gather(
            _repeated(ports[0], seconds, "bench"), _repeated(ports[0], seconds, LABEL_STUDIO)
        )
        await bulk
    refused = [one for one in script if one.retry_after]
    print(f"room for {ROOM} tasks: scripts {_told(script)}; Label Studio {_told(studio)}")
    if len(refused) > 1:
        print(_row("refusal", [one.seconds for one in refused]))


async def _repeated(port: int, seconds: float, agent: str) -> list[Answer]:
    """The answers to one retrieve after the other."""
    answers, end = [], perf_counter() + seconds
    while perf_counter() < end:
        answers.append(await predict(port, _addresses(BULK_TASKS), agent))
        await asyncio.sleep(PAUSE_S)
    return answers


async def _person(port: int, seconds: float) -> list[float]:
    """Seconds that each answer took."""
    times, end = [], perf_counter() + seconds
    while perf_counter() < end:
        answer = await predict(port, _addresses(1))
        _require(answer)
        times.append(answer.seconds)
        await asyncio.sleep(PAUSE_S)
    return times


async def _bulk(ports: Sequence[int], seconds: float) -> float:
    """Tasks a second that bulk clients of all servers get predictions for."""
    begin = perf_counter()

    async def client(port: int) -> int:
        done = 0
        while perf_counter() < begin + seconds:
            predicted = (await predict(port, _addresses(BULK_TASKS), LABEL_STUDIO)).predicted
            done += predicted
            await asyncio.sleep(0 if predicted else PAUSE_S)
        return done

    done = await asyncio.gather(*(client(port) for port in ports for _ in range(BULK_CLIENTS)))
    return sum(done) / (perf_counter() - begin)


def _require(answer: Answer) -> None:
    """A benchmark of failures would look fast."""
    if not answer.predicted:
        raise RuntimeError(f"the server answered {answer.status}: {answer.body!r:.200}")


def _told(answers: Sequence[Answer]) -> str:
    counts = Counter(
        f"{one.status} with predictions" if one.predicted else f"{one.status} without"
        for one in answers
    )
    odd = sum(1 for one in answers if not one.is_well_formed)
    return ", ".join(f"{count} x {kind}" for kind, count in counts.items()) + f", {odd} malformed"


def _row(name: str, times: Sequence[float]) -> str:
    cuts = quantiles([1000 * time for time in times], n=100, method="inclusive")
    return (
        f"{name}: p50 {cuts[49]:.1f} ms, p95 {cuts[94]:.1f} ms, p99 {cuts[98]:.1f} ms, "
        f"max {1000 * max(times):.1f} ms ({len(times)} requests)"
    )
