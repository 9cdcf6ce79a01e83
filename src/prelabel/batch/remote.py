"""Predicting on a prelabel server elsewhere that cannot reach Label Studio, such as a GPU's.

The images are fetched here, made small and sent along. A few images go into each request, several
requests are on their way at a time, and images are fetched ahead of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any

import structlog

from prelabel.batch.backend import Answered, Backend
from prelabel.batch.packing import Packed, Squeeze, pack, put_right
from prelabel.batch.stages import StageClock
from prelabel.errors import (
    BodyTooLarge,
    ImageTooLarge,
    ModelError,
    NotReady,
    PrelabelError,
    TaskError,
)
from prelabel.gathering import Access, Studio
from prelabel.labelstudio.config import LabelConfig
from prelabel.labelstudio.regions.check import problems
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Outcome, Prediction
from prelabel.runtime.isolation import bare, named

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Shipping:
    """How images travel.

    Attributes:
        squeeze: How much they are made smaller.
        per_request: Tasks in one request.
        requests: Requests on their way at a time.
    """

    squeeze: Squeeze
    per_request: int = 4
    requests: int = 3


@dataclass(frozen=True, slots=True)
class _Parcel:
    """A task with its images, ready to go, and its place among all."""

    index: int
    packed: Packed


class Remote:
    """Predicts tasks on a backend, as `Predict` does.

    Args:
        backend: Where they are predicted.
        version: The model version that is expected of it.
        config: The project's label config.
        studio: Where images come from.
        access: Credentials for them.
        shipping: How they travel.
        clock: Times the stage "predict", the way there and back included.
    """

    def __init__(
        self,
        backend: Backend,
        version: str,
        config: LabelConfig,
        studio: Studio,
        access: Access,
        shipping: Shipping,
        clock: StageClock,
    ) -> None:
        self._backend = backend
        self._version = version
        self._config = config
        self._studio = studio
        self._access = access
        self._shipping = shipping
        self._clock = clock

    def __call__(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        """The index of each task and its outcome, in the order in which they come.

        Raises:
            OperatorError: The backend does not answer any more, or answers as another version.
        """
        waiting = enumerate(tasks)
        packing: dict[Future[_Parcel], int] = {}
        asked: dict[Future[list[tuple[int, Outcome]]], None] = {}
        ready: list[_Parcel] = []
        size = self._shipping.per_request
        with ThreadPoolExecutor(self._shipping.requests, thread_name_prefix="ask") as askers:
            while True:
                room = max(self._studio.ahead - len(packing) - len(ready), 0)
                for index, task in islice(waiting, room):
                    packing[self._studio.fetchers.submit(self._packed, index, task)] = index
                while ready and len(asked) < self._shipping.requests:
                    if len(ready) < size and packing and asked:
                        break  # more will be here before the server is free
                    asked[askers.submit(self._ask, ready[:size])] = None
                    ready = ready[size:]
                if not packing and not asked:
                    return
                begun: list[Future[Any]] = [*packing, *asked]
                done, _ = wait(begun, return_when=FIRST_COMPLETED)
                for parcel in done & packing.keys():
                    index = packing.pop(parcel)
                    try:
                        ready.append(parcel.result())
                    except PrelabelError as error:
                        yield index, bare(error)
                    except Exception as error:  # noqa: BLE001 - named logs it; the others go on
                        yield index, named("the image", error)
                for answer in done & asked.keys():
                    del asked[answer]
                    yield from answer.result()

    def _packed(self, index: int, task: Task) -> _Parcel:
        """Fetch a task's images and pack them.

        Raises:
            TaskError: One of them cannot be had.
        """
        load, access = self._studio.images.load, self._access
        images = {
            tag: [load(access.reference(uri, task.number)) for uri in tag.uris(task.data)]
            for tag in self._config.images
        }
        with self._clock.busy("decode", 0):
            return _Parcel(index, pack(task, images, self._shipping.squeeze))

    def _ask(self, parcels: Sequence[_Parcel]) -> list[tuple[int, Outcome]]:
        """Ask about tasks; about fewer at a time where they are too large together."""
        try:
            with self._clock.busy("predict", len(parcels)):
                answers = self._backend.predict([parcel.packed.task for parcel in parcels])
        except BodyTooLarge as error:
            if len(parcels) == 1:
                return [(parcels[0].index, ImageTooLarge(*error.args))]
            middle = len(parcels) // 2
            return [*self._ask(parcels[:middle]), *self._ask(parcels[middle:])]
        return [
            (parcel.index, self._outcome(parcel, answer))
            for parcel, answer in zip(parcels, answers, strict=True)
        ]

    def _outcome(self, parcel: _Parcel, answer: Answered | TaskError) -> Outcome:
        if isinstance(answer, TaskError):
            return answer
        if answer.model_version != self._version:
            raise NotReady(
                f"backend at {self._backend.url}",
                f"answers as {answer.model_version} and no more as {self._version}",
                "Run again to predict with the new version.",
            )
        result = put_right(answer.result, parcel.packed.sizes_hw)
        found = problems(result, self._config)
        if found:
            return ModelError(
                f"task {parcel.packed.task['id']}",
                f"the backend's prediction does not fit the label config ({'; '.join(found[:3])})",
                "Let both sides run the same release of prelabel.",
            )
        return Prediction(result, answer.score, answer.model_version)
