"""What a run adds up for its summary, in memory that does not grow with the project."""

import heapq
import random
from array import array
from collections import Counter, deque
from threading import Lock
from typing import Any

from prelabel.batch.summary import Counts, Sample
from prelabel.labelstudio.regions.write import SHAPES
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Prediction
from prelabel.store.journal import Failed

MOST_FAILURES = 1000
_SCORES_PER_LABEL = 2000
_SAMPLES = 12


class Tally:
    """Counts outcomes and keeps fair samples of them. Threads may share one."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.failure_kinds: Counter[str] = Counter()
        self.lasting = 0
        """Failures that do not pass by themselves."""
        self.labels: Counter[str] = Counter()
        self._failures: deque[Failed] = deque(maxlen=MOST_FAILURES)
        self._scores: dict[str, array[float]] = {}
        self._surest: list[tuple[float, int, Sample]] = []
        self._least: list[tuple[float, int, Sample]] = []
        self._empty: list[Sample] = []
        self._random = random.Random(0)  # noqa: S311 - a fair sample, and the same each time

    def add(self, kind: str, number: int = 1) -> None:
        """Count tasks as one of the fields of `Counts`."""
        with self._lock:
            self._counts[kind] += number

    def skip(self, reasons: Counter[str]) -> None:
        """Count tasks that need nothing."""
        with self._lock:
            self.skipped.update(reasons)
            self._counts["skipped"] += reasons.total()

    def predicted(self, task: Task, prediction: Prediction) -> None:
        """Count a prediction and look at its regions."""
        with self._lock:
            self._counts["predicted" if prediction.result else "empty"] += 1
            for region in prediction.result:
                self._look_at(region)
            self._sample(task, prediction)

    def failed(self, failure: Failed) -> None:
        """Count a task without a prediction."""
        with self._lock:
            self._counts["failed"] += 1
            self.lasting += not failure.retry
            self.failure_kinds[failure.kind] += 1
            self._failures.append(failure)

    def counts(self, wanted: int = 0, left: int = 0) -> Counts:
        """All counts so far, with how many tasks were to be predicted and how many still are."""
        with self._lock:
            return Counts(**self._counts, listed=self._counts["skipped"] + wanted, left=left)

    @property
    def failures(self) -> tuple[Failed, ...]:
        """The last failures, at most `MOST_FAILURES`, by task."""
        with self._lock:
            return tuple(sorted(self._failures, key=lambda failure: failure.task_id))

    def scores(self) -> dict[str, tuple[float, ...]]:
        """Scores of regions by label."""
        with self._lock:
            return {label: tuple(kept) for label, kept in sorted(self._scores.items())}

    def samples(self) -> dict[str, tuple[Sample, ...]]:
        """The tasks of the contact sheet: `surest`, `least_sure` and `empty`."""
        with self._lock:
            return {
                "surest": tuple(one for *_, one in sorted(self._surest, reverse=True)),
                "least_sure": tuple(one for *_, one in sorted(self._least, reverse=True)),
                "empty": tuple(self._empty),
            }

    def _look_at(self, region: dict[str, Any]) -> None:
        kind = region.get("type")
        if kind not in SHAPES:
            return
        for label in region["value"].get(kind) or ():
            self.labels[label] += 1
            kept = self._scores.setdefault(label, array("f"))
            score = float(region.get("score") or 0.0)
            if len(kept) < _SCORES_PER_LABEL:
                kept.append(score)
            else:  # each of all scores stays with the same probability
                place = self._random.randrange(self.labels[label])
                if place < _SCORES_PER_LABEL:
                    kept[place] = score

    def _sample(self, task: Task, prediction: Prediction) -> None:
        number = task.number or 0
        sample = Sample(number, task.data, prediction.score, prediction.result)
        if not prediction.result:
            if len(self._empty) < _SAMPLES:
                self._empty.append(sample)
            return
        for heap, sign in ((self._surest, 1), (self._least, -1)):
            entry = (sign * prediction.score, -number, sample)
            if len(heap) < _SAMPLES:
                heapq.heappush(heap, entry)
            elif entry[:2] > heap[0][:2]:
                heapq.heapreplace(heap, entry)
