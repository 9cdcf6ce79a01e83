"""Prometheus metrics of the server."""

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

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
_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 85, 100)


class Metrics:
    """The series of one server process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Histogram(
            "prelabel_request_seconds",
            "Time to answer a request.",
            ("route", "status"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._predictions = Counter(
            "prelabel_predictions",
            "Tasks answered, by outcome.",
            ("outcome",),
            registry=self._registry,
        )
        self._events = Counter(
            "prelabel_events", "Events received, by action.", ("action",), registry=self._registry
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests.labels(route, str(status)).observe(seconds)

    def predicted(self, outcome: str) -> None:
        """Count one task."""
        self._predictions.labels(outcome).inc()

    def received(self, action: str) -> None:
        """Count one event; callers do not choose the names of series."""
        self._events.labels(action if action in ACTIONS else "other").inc()

    def exposition(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self._registry)
