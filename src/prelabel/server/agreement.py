"""How much of a prediction people keep, from the events that Label Studio sends.

The editor of Label Studio 1.23.2 writes into each region of an annotation where it comes from
(`origin`, in its `Regions.js`): `prediction` where nobody touched it, `prediction-changed` where
its shape or a choice in it was edited, `manual` where it was drawn. It keeps the region's id. What
was deleted leaves no trace in the event; it is seen only where this process made the prediction
and still remembers its regions, or where Label Studio sends the prediction along (it does where
the project's `model_version` is that of the prediction).
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal

from prelabel.server.confidences import labels_of

Verdict = Literal["kept", "changed", "removed", "added"]
Source = Literal["prediction", "scratch", "skipped"]

MOST_REGIONS = 100_000
"""Regions remembered of predictions, to see which of them people delete: about 20 MB."""

_VERDICTS: dict[str, Verdict] = {"prediction": "kept", "prediction-changed": "changed"}

Regions = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Review:
    """What became of a prediction in one annotation.

    Attributes:
        source: Whether it was begun from a prediction, from nothing, or the task was skipped.
        verdicts: Label and verdict of each region; empty but where it was begun from a prediction.
    """

    source: Source
    verdicts: list[tuple[str, Verdict]] = field(default_factory=list)


class Remembered:
    """Which regions were predicted for a task, the oldest forgotten first. Threads may share it."""

    def __init__(self, most: int = MOST_REGIONS) -> None:
        self._most = most
        self._labels: OrderedDict[int, dict[str, str]] = OrderedDict()
        self._count = 0
        self._lock = Lock()

    def add(self, task_id: int, result: Regions) -> None:
        """Remember the latest prediction of a task."""
        labels = _labels_by_id(result)
        with self._lock:
            self._count += len(labels) - len(self._labels.pop(task_id, {}))
            self._labels[task_id] = labels
            while self._count > self._most:
                _, oldest = self._labels.popitem(last=False)
                self._count -= len(oldest)

    def of(self, task_id: object) -> Mapping[str, str]:
        """Labels of the regions predicted for a task, by id; empty where nothing is known."""
        with self._lock:
            return self._labels.get(task_id, {}) if isinstance(task_id, int) else {}


def review(annotation: Mapping[str, Any], remembered: Remembered) -> Review:
    """Compare an annotation with the prediction that it was begun from.

    Args:
        annotation: As an event carries it; whatever is not of its shape counts as not there.
        remembered: The predictions that this process made.
    """
    if annotation.get("was_cancelled"):
        return Review("skipped")
    found = list(_drawn(annotation.get("result")))
    touched = any(_origin(region) in _VERDICTS for region in found)
    if not touched and annotation.get("parent_prediction") is None:
        return Review("scratch")
    predicted = _sent_along(annotation) or remembered.of(annotation.get("task"))
    verdicts: list[tuple[str, Verdict]] = [
        (label, _VERDICTS.get(_origin(region), "added"))
        for region in found
        for label in labels_of(region)
    ]
    return Review("prediction", verdicts + _removed(found, predicted))


def _removed(found: Regions, predicted: Mapping[str, str]) -> list[tuple[str, Verdict]]:
    """Predicted regions that are not there; none where another prediction was begun from."""
    left = {str(region.get("id")) for region in found}
    taken_over = {str(region.get("id")) for region in found if _origin(region) in _VERDICTS}
    if not taken_over <= predicted.keys():
        return []
    return [(label, "removed") for one, label in predicted.items() if one not in left]


def _origin(region: Mapping[str, Any]) -> str:
    """Where the editor says that a region comes from; text also where an event is broken."""
    return str(region.get("origin"))


def _sent_along(annotation: Mapping[str, Any]) -> dict[str, str]:
    """Regions of the prediction in the event, where it is the one that was begun from."""
    prediction = annotation.get("prediction")
    if not isinstance(prediction, Mapping):
        return {}
    if prediction.get("id") != annotation.get("parent_prediction"):
        return {}
    return _labels_by_id(_drawn(prediction.get("result")))


def _labels_by_id(result: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {str(region.get("id")): label for region in result for label in labels_of(region)}


def _drawn(result: object) -> Iterator[Mapping[str, Any]]:
    for region in result if isinstance(result, list) else ():
        if isinstance(region, Mapping) and labels_of(region):
            yield region
