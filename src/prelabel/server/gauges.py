"""Prometheus metrics that are read when somebody asks: queues, predictors, jobs, caches."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from threading import active_count

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from prelabel.media.cache import CacheCounts
from prelabel.predictors.base import Predictor
from prelabel.runtime.batcher import Batcher
from prelabel.runtime.callers import Priority
from prelabel.server.records import Records


def threads() -> float:
    """How many threads this process has."""
    return active_count()


class InFlight:
    """Requests that are being answered. Counted on the event loop alone."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, change: int) -> None:
        """One more, or one less."""
        self._count += change

    def collect(self) -> Iterator[Metric]:
        """The series."""
        name, text = "prelabel_requests_in_flight", "Requests that are being answered."
        yield GaugeMetricFamily(name, text, self._count)


class OfPredictors:
    """Which predictors answer, and what waits for them."""

    def __init__(self, predictors: Mapping[str, Predictor]) -> None:
        self._predictors = predictors

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
        for finds, predictor in self._predictors.items():
            health = predictor.health()
            about = [finds, predictor.name, str(health.get("device", "cpu"))]
            loaded.add_metric(about, float(bool(health.get("loaded"))))
            fallback.add_metric([finds], float(bool(health.get("reason"))))
            if isinstance(predictor, Batcher):
                waiting = predictor.waiting()
                for priority, images in waiting.images.items():
                    depth.add_metric([finds, word(priority)], images)
                oldest.add_metric([finds], waiting.oldest_s)
                running.add_metric([finds], waiting.running)
        yield from (loaded, fallback, depth, oldest, running)


class OfCache:
    """Decoded images kept in memory."""

    def __init__(self, counts: Callable[[], CacheCounts]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """The series."""
        counts = self._counts()
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


class OfRecords:
    """Jobs and learnt versions, as the database knew them when it last answered."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def collect(self) -> Iterator[Metric]:
        """The series."""
        known = self._records.latest()
        yield GaugeMetricFamily(
            "prelabel_database_up", "Whether the database answers.", float(not known.trouble)
        )
        jobs = GaugeMetricFamily(
            "prelabel_jobs", "The latest 50 jobs, by kind and status.", labels=("kind", "status")
        )
        for (kind, status), count in Counter((j.kind, j.status) for j in known.jobs).items():
            jobs.add_metric([kind, status], count)
        seconds = GaugeMetricFamily(
            "prelabel_job_last_seconds", "Duration of the last job done, by kind.", labels=("kind",)
        )
        # The newest job comes first, and the last of a kind to be written stays.
        latest = {job.kind: job for job in reversed(known.jobs) if job.status == "done"}
        for kind, job in latest.items():
            if job.started and job.finished:
                seconds.add_metric([kind], (job.finished - job.started).total_seconds())
        yield jobs
        yield seconds
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
        for taught in self._records.latest().taught:
            active = next((one for one in taught.versions if one.active), None)
            if active is not None:
                version.add_metric([str(taught.project)], active.version)
                for way, mean in active.mean_iou.items():
                    if mean is not None:
                        iou.add_metric([str(taught.project), way], mean)
        yield from (version, iou)


def word(priority: Priority) -> str:
    """A priority as a label and on the page."""
    return priority.name.lower()
