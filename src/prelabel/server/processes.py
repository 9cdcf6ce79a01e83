"""Several server processes that tell as one: each writes down what it counts, and reads the others.

Which of them a request comes to is chance. Without this, a scrape would find the counters of one
and then of another, lower ones, and the status page would change its mind with every look.
"""

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import gettempdir
from threading import Event, Thread
from typing import Any

import structlog
from prometheus_client import Metric
from prometheus_client.samples import Sample

log = structlog.get_logger(__name__)

EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Told:
    """What one process tells.

    Attributes:
        series: Its Prometheus series.
        status: Its part of the status, as `status.of_process` gives it.
    """

    series: Sequence[Metric]
    status: dict[str, Any]


class Processes:
    """The server processes that share a port. Threads may share it.

    Args:
        folder: Where each writes a file of its own; None where this process is the only one.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._tell: Callable[[], Told] | None = None
        self._over = Event()

    def begin(self, tell: Callable[[], Told]) -> None:
        """From now on tell the others what this process counts; nothing where there are none."""
        self._tell = tell
        if self._folder is not None:
            Thread(target=self._keep_telling, name="processes", daemon=True).start()

    def close(self) -> None:
        """Tell no more."""
        self._over.set()

    def all(self) -> dict[str, Told]:
        """What each tells, by its process id: this one now, others as of `EVERY_S` ago.

        Empty where this process is the only one.
        """
        if self._folder is None or self._tell is None:
            return {}
        told = {str(os.getpid()): self._tell()}
        for path in self._folder.glob("*.json"):
            if path.stem not in told and (other := _read(path)):
                told[path.stem] = other
        return told

    def _keep_telling(self) -> None:
        assert self._tell is not None
        while True:
            try:
                self._write(self._tell())
            except OSError as error:  # the others then show what it told before
                log.warning("not told to the other processes", reason=str(error))
            except Exception:  # a defect in one look must not end all that follow
                log.exception("defect", thing="what is told to the other processes")
            if self._over.wait(EVERY_S):
                return

    def _write(self, told: Told) -> None:
        assert self._folder is not None
        series = [
            [one.name, one.documentation, one.type, [sample[:3] for sample in one.samples]]
            for one in told.series
        ]
        path = self._folder / f"{os.getpid()}.json"
        unready = path.with_suffix(".part")
        unready.write_text(json.dumps({"series": series, "status": told.status}))
        unready.replace(path)


@contextmanager
def folder_of_children() -> Iterator[None]:
    """For the parent of server processes: makes the folder in which they tell of themselves.

    Where that cannot be, as with a full disk, each process tells of itself alone.
    """
    folder = _folder_of(os.getpid())
    rmtree(folder, ignore_errors=True)  # of a parent of this number that was killed
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        log.warning("figures are of one process each", reason=str(error))
    try:
        yield
    finally:
        rmtree(folder, ignore_errors=True)


def folder_of_siblings() -> Path | None:
    """The folder that the parent of this process made; None where it made none."""
    folder = _folder_of(os.getppid())
    try:
        about = folder.lstat()
    except OSError:
        return None
    return folder if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() else None


def _folder_of(parent: int) -> Path:
    return Path(gettempdir()) / f"prelabel-{os.getuid()}-{parent}"


def labelled(told: Mapping[str, Iterable[Metric]]) -> list[Metric]:
    """The series of several processes as one, each sample with the process that it is of."""
    families: dict[str, Metric] = {}
    for process, series in told.items():
        for one in series:
            family = families.setdefault(one.name, Metric(one.name, one.documentation, one.type))
            for name, labels, value, *_ in one.samples:
                family.samples.append(Sample(name, {**labels, "process": process}, value))
    return list(families.values())


def _read(path: Path) -> Told | None:
    """What a process told, None where it has died; its file is then taken away."""
    try:
        os.kill(int(path.stem), 0)
        content = json.loads(path.read_text())
    except ProcessLookupError:
        path.unlink(missing_ok=True)
        return None
    except (OSError, ValueError):  # of another user's, or taken away meanwhile
        return None
    series = []
    for name, documentation, kind, samples in content["series"]:
        family = Metric(name, documentation, kind)
        family.samples = [Sample(*sample) for sample in samples]
        series.append(family)
    return Told(series, content["status"])
