"""Prometheus metrics that are read when somebody asks: queues, predictors, jobs, caches."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from prelabel.media.cache import CacheCounts
from prelabel.media.room import ImageRoom
from prelabel.predictors.base import Predictor
from prelabel.runtime.batcher import hang, waiting
from prelabel.runtime.callers import Priority
from prelabel.runtime.memory import MemoryCounts
from prelabel.server.admission import Occupancy
from prelabel.server.records import Records
from prelabel.store.jobs import Job

_MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux writes what a container may use: control groups 2 and 1; "max" is no limit."""


@dataclass(frozen=True, slots=True, eq=False)
class OfPredictors:
    """Which predictors answer, and what waits for them."""

    predictors: Mapping[str, Predictor]

    def collect(self) -> Iterator[Metric]:
        """The series."""
        loaded = GaugeMetricFamily(
            "prelabel_predictor_loaded",
            "Whether a predictor is ready, by what it finds (boxes, poses), name and device.",
            labels=("finds", "predictor", "device"),
        )
        fallback = GaugeMetricFamily(
            "prelabel_predictor_fallback",
            "Whether the second choice answers because the first cannot, by what it finds.",
            labels=("finds",),
        )
        depth = GaugeMetricFamily(
            "prelabel_queue_images",
            "Images that wait for a predictor, by what it finds and priority.",
            labels=("finds", "priority"),
        )
        oldest = GaugeMetricFamily(
            "prelabel_queue_oldest_seconds",
            "How long the first image in a queue has waited, by what is to be found.",
            labels=("finds",),
        )
        running = GaugeMetricFamily(
            "prelabel_batches_running",
            "Batches that models work on, by what they find.",
            labels=("finds",),
        )
        hangs = GaugeMetricFamily(
            "prelabel_model_hangs",
            "Whether a model does not come back, by what it finds: MODEL_HANG_SECONDS, "
            "MODEL_LOAD_HANG_SECONDS.",
            labels=("finds",),
        )
        for finds, predictor in self.predictors.items():
            health = predictor.health()
            about = [finds, predictor.name, str(health.get("device", "cpu"))]
            loaded.add_metric(about, float(bool(health.get("loaded"))))
            fallback.add_metric([finds], float(bool(health.get("reason"))))
            queue = waiting(predictor)
            if queue is not None:
                for priority, images in queue.images.items():
                    depth.add_metric([finds, word(priority)], images)
                oldest.add_metric([finds], queue.oldest_s)
                running.add_metric([finds], queue.running)
                hangs.add_metric([finds], float(hang(predictor) is not None))
        yield from (loaded, fallback, depth, oldest, running, hangs)


@dataclass(frozen=True, slots=True, eq=False)
class OfCache:
    """Decoded images kept in memory."""

    counts: Callable[[], CacheCounts]

    def collect(self) -> Iterator[Metric]:
        """The series."""
        counts = self.counts()
        asked = CounterMetricFamily(
            "prelabel_image_cache",
            "Images asked of the cache, by outcome: hit or miss.",
            labels=("outcome",),
        )
        asked.add_metric(["hit"], counts.hits)
        asked.add_metric(["miss"], counts.misses)
        yield asked
        yield GaugeMetricFamily(
            "prelabel_image_cache_images", "Images kept in memory.", counts.images
        )
        yield GaugeMetricFamily(
            "prelabel_image_cache_bytes", "Memory that they take.", counts.bytes
        )


@dataclass(frozen=True, slots=True, eq=False)
class OfRoom:
    """Decoded images that are alive, kept or not, beside the most that may be."""

    room: ImageRoom

    def collect(self) -> Iterator[Metric]:
        """The series."""
        for name, text, value in (
            ("bytes", "Memory of decoded images that are worked on or kept.", self.room.bytes),
            (
                "bytes_limit",
                "From here on further images wait: MAX_QUEUED_MB and IMAGE_CACHE_MB together.",
                self.room.most_bytes,
            ),
            ("waiting_tasks", "Tasks whose images wait for that memory.", self.room.waiting),
        ):
            yield GaugeMetricFamily(f"prelabel_image_room_{name}", text, value)


@dataclass(frozen=True, slots=True, eq=False)
class OfState:
    """Whether requests may be sent here, as `/ready` says."""

    state: Callable[[], str]

    def collect(self) -> Iterator[Metric]:
        """The series."""
        text = "Whether requests may be sent here, as `/ready` says."
        yield GaugeMetricFamily("prelabel_ready", text, float(self.state() == "ok"))


@dataclass(frozen=True, slots=True, eq=False)
class OfMemory:
    """The prediction store, as this process uses it."""

    counts: Callable[[], MemoryCounts]

    def collect(self) -> Iterator[Metric]:
        """The series."""
        counts = self.counts()
        asked = CounterMetricFamily(
            "prelabel_prediction_store",
            "Images asked of the prediction store, by outcome: `hit`, `miss`, or `quarantined`, "
            "because they broke the model before.",
            labels=("outcome",),
        )
        asked.add_metric(["hit"], counts.hits)
        asked.add_metric(["miss"], counts.misses)
        asked.add_metric(["quarantined"], counts.refused)
        yield asked
        yield GaugeMetricFamily(
            "prelabel_prediction_store_bytes",
            "Room that all findings take in the database, when this process last looked.",
            counts.bytes,
        )
        yield CounterMetricFamily(
            "prelabel_prediction_store_dropped",
            "Findings that were not stored, because the database did not keep up.",
            counts.dropped,
        )


@dataclass(frozen=True, slots=True, eq=False)
class OfAdmission:
    """What waits for an answer, beside the most that may."""

    occupancy: Callable[[], Occupancy]

    def collect(self) -> Iterator[Metric]:
        """The series."""
        now = self.occupancy()
        for name, text, value in (
            ("tasks", "Tasks that were taken and have no outcome yet.", now.tasks),
            ("tasks_limit", "The most of them: MAX_QUEUED_TASKS.", now.most_tasks),
            ("bytes", "Memory of requests that are not answered yet.", now.held_bytes),
            ("bytes_limit", "The most of it: MAX_QUEUED_MB.", now.most_bytes),
        ):
            yield GaugeMetricFamily(f"prelabel_admitted_{name}", text, value)


class OfMachine:
    """What the machine, or the container, leaves to this process.

    Args:
        folder: Where files of this installation lie, or will.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def collect(self) -> Iterator[Metric]:
        """The series."""
        yield GaugeMetricFamily(
            "prelabel_memory_limit_bytes",
            "Memory of the container, or of the machine where the container has no limit.",
            memory_limit_bytes(),
        )
        places = (self._folder, *self._folder.parents)
        try:
            disk = shutil.disk_usage(next(one for one in places if one.exists()))
        except OSError:  # a disk that went away must not take the other series away
            return
        for name, text, value in (
            ("free", "Room left on the disk of DATA_DIR.", disk.free),
            ("size", "Size of the disk of DATA_DIR.", disk.total),
        ):
            yield GaugeMetricFamily(f"prelabel_data_disk_{name}_bytes", text, value)


@dataclass(frozen=True, slots=True, eq=False)
class OfRecords:
    """Jobs and learnt versions, as the database knew them when it last answered."""

    records: Records

    def collect(self) -> Iterator[Metric]:
        """The series."""
        known = self.records.latest()
        yield GaugeMetricFamily(
            "prelabel_database_up", "Whether the database answers.", float(not known.trouble)
        )
        yield from _of_jobs(known.jobs, datetime.now(UTC))
        yield from self._of_learner()

    def _of_learner(self) -> Iterator[Metric]:
        version = GaugeMetricFamily(
            "prelabel_learner_version",
            "The version learnt from annotations that answers, by project (the latest 12).",
            labels=("project",),
        )
        iou = GaugeMetricFamily(
            "prelabel_learner_mean_iou",
            "Mean IoU with annotated frames hidden in turn, by project and way: learner, nearest, "
            "linear.",
            labels=("project", "way"),
        )
        for taught in self.records.latest().taught:
            active = next((one for one in taught.versions if one.active), None)
            if active is not None:
                version.add_metric([str(taught.project)], active.version)
                for way, mean in active.mean_iou.items():
                    if mean is not None:
                        iou.add_metric([str(taught.project), way], mean)
        yield from (version, iou)


def _of_jobs(known: Sequence[Job], now: datetime) -> Iterator[Metric]:
    """Series of jobs, newest first, as they are now."""

    def by(name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"prelabel_{name}", text, labels=labels)

    jobs = by("jobs", "The latest 50 jobs, by kind and status.", "kind", "status")
    again = by(
        "jobs_begun_again",
        "Of them, jobs that wait or run though a worker began them and did not come back.",
        "kind",
    )
    untaken = by(
        "job_untaken_seconds",
        "How long a job has been due while nobody worked on any of its kind.",
        "kind",
    )
    seconds = by("job_last_seconds", "Duration of the last job done, by kind.", "kind")
    ended = by(
        "job_last_ended_timestamp_seconds",
        "When the last job ended, by kind and status, in seconds since 1970.",
        "kind",
        "status",
    )
    for about, count in Counter((job.kind, job.status) for job in known).items():
        jobs.add_metric(about, count)
    for kind in {job.kind for job in known}:
        of_kind = [job for job in known if job.kind == kind]
        begun_again = [job for job in of_kind if _is_begun_again(job)]
        again.add_metric([kind], len(begun_again))
        untaken.add_metric([kind], _untaken_s(of_kind, now))
        for status, job in _last_ended(of_kind).items():
            assert job.finished is not None
            ended.add_metric([kind, status], job.finished.timestamp())
            if status == "done" and job.started:
                seconds.add_metric([kind], (job.finished - job.started).total_seconds())
    yield from (jobs, again, untaken, seconds, ended)


def _is_begun_again(job: Job) -> bool:
    """Whether it has had more than one worker and has not ended."""
    begun_before = 0 if job.status == "queued" else 1
    return job.status in ("queued", "running") and job.attempts > begun_before


def _untaken_s(jobs: Sequence[Job], now: datetime) -> float:
    """Seconds for which one of these jobs has been due and none was worked on."""
    leases = [job.lease_until for job in jobs if job.status == "running" and job.lease_until]
    due = [job.due for job in jobs if job.status == "queued"]
    due += [lease for lease in leases if lease <= now]  # its worker did not come back
    if not due or any(lease > now for lease in leases):
        return 0.0
    since = max([min(due), *(job.finished for job in jobs if job.finished)])
    return max(0.0, (now - since).total_seconds())


def _last_ended(jobs: Sequence[Job]) -> dict[str, Job]:
    """The job of each status that ended last."""
    ended = sorted((job for job in jobs if job.finished), key=attrgetter("finished"))
    return {job.status: job for job in ended}


def memory_limit_bytes() -> int:
    """What the container may use, or what the machine has where that is less."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [path.read_text().strip() for path in _MEMORY_LIMITS if path.is_file()]
    return min([physical, *(int(limit) for limit in limits if limit.isdecimal())])


def word(priority: Priority) -> str:
    """A priority as a label and on the page."""
    return priority.name.lower()
