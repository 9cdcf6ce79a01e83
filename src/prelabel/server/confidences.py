"""How sure predictions are: a histogram of scores for each label.

A pose brings hundreds of regions, so they are counted here with plain integers, and become a
Prometheus histogram only when somebody asks.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily

from prelabel.server.bounded import Bounded

NAME = "prelabel_region_score"
HELP = "Confidence of the regions found, by label (the first 50 of a process; then `other`)."
BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Confidences:
    """Scores of the regions in predictions. Threads may share it."""

    def __init__(self) -> None:
        self._labels = Bounded()
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        self._lock = Lock()

    def add(self, result: Sequence[Mapping[str, Any]]) -> None:
        """Count the regions of one prediction; those without a score were drawn by people."""
        with self._lock:
            for region in result:
                score = region.get("score")
                if score is not None:
                    for label in labels_of(region):
                        self._add(self._labels.name(label), float(score))

    def _add(self, label: str, score: float) -> None:
        counts = self._counts.setdefault(label, [0] * (len(BOUNDS) + 1))
        counts[bisect_left(BOUNDS, score)] += 1
        self._sums[label] = self._sums.get(label, 0.0) + score

    def collect(self) -> Iterator[Metric]:
        """The histogram, as Prometheus' client asks for it."""
        family = HistogramMetricFamily(NAME, HELP, labels=("label",))
        with self._lock:
            for label, counts in self._counts.items():
                family.add_metric([label], _cumulative(counts), self._sums[label])
        yield family


def labels_of(region: Mapping[str, Any]) -> list[str]:
    """The labels of a region that is drawn; none of one that is chosen or typed, or is broken."""
    kind, value = region.get("type"), region.get("value")
    if not isinstance(kind, str) or not kind.endswith("labels") or not isinstance(value, Mapping):
        return []
    labels = value.get(kind) or ()
    is_list = isinstance(labels, list | tuple)
    return [label for label in labels if isinstance(label, str)] if is_list else []


def _cumulative(counts: Sequence[int]) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets
