"""Prometheus metrics of the server: what is counted as it happens.

What is read only when somebody asks (queues, jobs, caches) stands in `gauges`.
"""

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import active_count
from types import MappingProxyType

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from prelabel import __version__
from prelabel.errors import PrelabelError
from prelabel.pipeline import Outcome, Prediction
from prelabel.server.agreement import Remembered, review
from prelabel.server.bounded import Bounded
from prelabel.server.confidences import Confidences
from prelabel.server.processes import labelled

CONTENT_TYPE = CONTENT_TYPE_LATEST
ACTIONS = frozenset(
    {
        *("START_TRAINING", "TRAIN", "PROJECT_UPDATED", "TASKS_CREATED", "TASKS_DELETED"),
        *("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED"),
        *("ANNOTATIONS_CREATED", "ANNOTATIONS_DELETED"),
        *("LABEL_LINK_CREATED", "LABEL_LINK_UPDATED", "LABEL_LINK_DELETED"),
    }
)
"""The events that Label Studio sends, and TRAIN for a call of `/train`."""
SUBMITTED = "ANNOTATION_CREATED"
"""An annotation counts once, as first submitted; an update would count its regions again."""
DROPPED = {429: "rate limit", 499: "caller left", 503: "no room"}
"""Requests that were not answered for want of time or room, by their status."""

NO_OTHERS: Mapping[str, Sequence[Metric]] = MappingProxyType({})

_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 85, 100)
_STAGE_SECONDS = (0.0005, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_REGIONS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class _Read(CollectorRegistry):
    """Series that were read already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """The series."""
        yield from self._families


class Metrics:
    """The series of one server process. Threads may share it."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._of_all = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._confidences = Confidences()
        self._remembered = Remembered()
        self._versions = Bounded()
        self._labels = Bounded()
        self.watch(self._confidences)
        self._count_requests()
        self._count_work()
        self._count_people()
        self._describe()

    def watch(self, collector: Collector, *, of_all: bool = False) -> None:
        """Add series that are read when they are asked for.

        Args:
            collector: Reads them.
            of_all: They are the same in every server process, as those of the database.
        """
        (self._of_all if of_all else self._registry).register(collector)

    def began(self) -> None:
        """A request came."""
        self._in_flight.inc()

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._in_flight.dec()
        self._requests.labels(route, str(status)).observe(seconds)
        if status in DROPPED:
            self._dropped.labels(DROPPED[status]).inc()

    def asked(self, tasks: int) -> None:
        """Count the tasks of a request."""
        self._asked.inc(tasks)

    def predicted(self, kind: str, outcome: Outcome) -> None:
        """Count one task, and how it ended."""
        self._predictions.labels(kind).inc()
        if isinstance(outcome, Prediction):
            self._by_version.labels(self._versions.name(outcome.model_version)).inc()
        else:
            self._failures.labels(type(outcome).__name__).inc()

    def found(self, task_id: int | None, outcome: Outcome) -> None:
        """Count the regions that a task is given; call it off the event loop.

        A pose brings hundreds of regions, which would hold `/health` up.
        """
        if isinstance(outcome, Prediction):
            self._regions.observe(len(outcome.result))
            self._confidences.add(outcome.result)
            if task_id is not None:
                self._remembered.add(task_id, outcome.result)

    @contextmanager
    def busy(self, stage: str, _items: int = 1) -> Iterator[None]:
        """Time a piece of work; the server's `Clock`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.took(stage, time.perf_counter() - began)

    def took(self, stage: str, seconds: float) -> None:
        """Count a piece of work whose time was taken elsewhere."""
        self._stages.labels(stage).observe(seconds)

    def ran(self, predictor: str, images: int, seconds: float) -> None:
        """Count one run of a model."""
        self._batch_images.labels(predictor).observe(images)
        self._batch_seconds.labels(predictor).observe(seconds)

    def fetched(self, size: int) -> None:
        """Count an image that was fetched, of so many bytes."""
        self._downloads.labels("ok").inc()
        self._downloaded.inc(size)

    def not_fetched(self, error: PrelabelError) -> None:
        """Count an image that could not be fetched."""
        self._downloads.labels(type(error).__name__).inc()

    def called(self, method: str, outcome: str, seconds: float) -> None:
        """Count one request to Label Studio."""
        self._calls.labels(method, outcome).observe(seconds)

    def received(self, action: str, annotation: object = None) -> None:
        """Count one event; callers do not choose the names of series.

        Args:
            action: What happened.
            annotation: The annotation in it, if it has one.
        """
        self._events.labels(action if action in ACTIONS else "other").inc()
        if action == SUBMITTED and isinstance(annotation, Mapping):
            reviewed = review(annotation, self._remembered)
            self._annotations.labels(reviewed.source).inc()
            for label, verdict in reviewed.verdicts:
                self._reviewed.labels(self._labels.name(label), verdict).inc()

    def exposition(self, processes: Mapping[str, Sequence[Metric]] = NO_OTHERS) -> bytes:
        """All series in Prometheus' text format; reads the gauges, so it may take a moment.

        Args:
            processes: The series of each of several server processes, this one among them; empty
                where it is the only one.
        """
        own = labelled(processes) if processes else self.of_process()
        return generate_latest(_Read([*own, *self._of_all.collect()]))

    def of_process(self) -> list[Metric]:
        """The series that another server process has, too, with other values."""
        return list(self._registry.collect())

    def families(self) -> list[Metric]:
        """All series with their names, kinds and help texts."""
        return [*self.of_process(), *self._of_all.collect()]

    def _count_requests(self) -> None:
        self._in_flight = Gauge(
            "prelabel_requests_in_flight",
            "Requests that are being answered.",
            registry=self._registry,
        )
        self._requests = self._histogram(
            "request_seconds", "Time to answer a request, by route and status.", "route", "status"
        )
        self._dropped = self._counter(
            "dropped_requests", "Requests given up or turned away, by reason.", "reason"
        )
        self._asked = self._counter("tasks_asked", "Tasks that predictions were asked for.")
        self._predictions = self._counter(
            "predictions",
            "Tasks answered, by outcome: predicted, empty, failed, not_reached.",
            "outcome",
        )
        self._by_version = self._counter(
            "predictions_by_version", "Predictions made, by model version.", "model_version"
        )
        self._failures = self._counter(
            "task_failures", "Tasks without prediction, by kind of error.", "kind"
        )
        self._regions = self._histogram(
            "prediction_regions", "Regions in one prediction.", buckets=_REGIONS
        )

    def _count_work(self) -> None:
        self._stages = self._histogram(
            "stage_seconds",
            "Time of one piece of work, by stage: queue, fetch, decode, predict, write.",
            "stage",
            buckets=_STAGE_SECONDS,
        )
        self._batch_images = self._histogram(
            "batch_images",
            "Images in one run of a model, by predictor.",
            "predictor",
            buckets=_BATCHES,
        )
        self._batch_seconds = self._histogram(
            "batch_seconds",
            "Time of one run of a model, by predictor.",
            "predictor",
            buckets=_STAGE_SECONDS,
        )
        self._downloads = self._counter(
            "images_fetched", "Images fetched, by outcome: `ok`, or the kind of error.", "outcome"
        )
        self._downloaded = self._counter("fetched_bytes", "Bytes of images fetched.")
        self._calls = self._histogram(
            "label_studio_call_seconds",
            "Time of one request to Label Studio, by method and outcome.",
            "method",
            "outcome",
        )

    def _count_people(self) -> None:
        self._events = self._counter("events", "Events received, by action.", "action")
        self._annotations = self._counter(
            "annotations",
            "Annotations submitted, by source: prediction, scratch, or skipped.",
            "source",
        )
        self._reviewed = self._counter(
            "reviewed_regions",
            "Regions of submitted annotations that were begun from a prediction, by label and "
            "verdict: kept, changed, removed, added.",
            "label",
            "verdict",
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"prelabel_{name}", text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS
    ) -> Histogram:
        return Histogram(f"prelabel_{name}", text, labels, buckets=buckets, registry=self._registry)

    def _describe(self) -> None:
        build = Gauge(
            "prelabel_build_info",
            "Always 1; its labels say what runs.",
            ("version", "python"),
            registry=self._registry,
        )
        build.labels(__version__, platform.python_version()).set(1)
        Gauge("prelabel_threads", "Threads of this process.", registry=self._registry).set_function(
            active_count
        )
