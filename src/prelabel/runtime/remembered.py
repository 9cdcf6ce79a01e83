"""A predictor that is asked only for what nobody knows: the prediction store answers the rest."""

from collections.abc import Sequence
from datetime import UTC, datetime

from prelabel.errors import ModelError, PrelabelError
from prelabel.predictors.base import Answer, Predictor
from prelabel.predictors.wrapping import Wrapping
from prelabel.runtime.batch_queue import Waiting
from prelabel.runtime.batcher import apart, at, hang, waiting
from prelabel.runtime.callers import Caller
from prelabel.runtime.hanging import Hang
from prelabel.runtime.isolation import answer_each
from prelabel.runtime.memory import Memory
from prelabel.runtime.noted import is_of_the_moment, keys_of, model_of
from prelabel.store.finding_bytes import Break, Finding
from prelabel.types import Ask, Detections, Image, Poses

BREAKS_REFUSED = 2
"""An image that broke a predictor so often is not given to it again for a while."""

REFUSED_S = 3600.0
"""How long that is; a driver may have been mended meanwhile, or a machine replaced."""


class Remembered(Wrapping):
    """A `Predictor` that gives what is known of an image, and asks another one for the rest.

    It stands in front of the queue: what is known waits for nobody. Its answers never raise for
    an image.

    Args:
        predictor: What answers where nothing is known, with a `Noted` in it. `load` it first, as
            always: then it is settled which one answers.
        memory: What is known.
    """

    def __init__(self, predictor: Predictor, memory: Memory) -> None:
        super().__init__(predictor)
        self._memory = memory

    def at(self, caller: Caller) -> "Remembered":
        """The same, as this caller sees it."""
        return Remembered(at(self._predictor, caller), self._memory)

    def waiting(self) -> Waiting | None:
        """What stands in the queue behind it; None where there is none."""
        return waiting(self._predictor)

    def hang(self) -> Hang | None:
        """The call from which the predictor does not come back, if there is one."""
        return hang(self._predictor)

    def predict(self, images: Sequence[Image], ask: Ask) -> Answer:
        """One entry per image, in order: what is known, else what the predictor says now."""
        if is_of_the_moment(ask):
            return answer_each(lambda some: self._predictor.predict(some, ask), images)
        model = model_of(self._predictor)
        keys = keys_of(images, ask, model, wants_neighbours=self.wants_neighbours)
        known = self._memory.recall([key for key in keys if key])
        entries = [
            self._entry(known.get(key), image) for key, image in zip(keys, images, strict=True)
        ]
        self._count(entries, keys)
        open_at = [place for place, entry in enumerate(entries) if entry is None]
        suspects = [place for place in open_at if _is_suspect(known.get(keys[place]))]
        others = [place for place in open_at if place not in suspects]
        self._ask(self._predictor, images, ask, others, entries)
        for place in suspects:  # if the model hangs again, it is known on which
            self._ask(apart(self._predictor), images, ask, [place], entries)
        return [entry for entry in entries if entry is not None]

    def _ask(
        self,
        predictor: Predictor,
        images: Sequence[Image],
        ask: Ask,
        places: Sequence[int],
        entries: list[Detections | Poses | PrelabelError | None],
    ) -> None:
        """Have the images at these places looked at, and enter what is found."""
        asked = [images[place] for place in places]
        answer = answer_each(lambda some: predictor.predict(some, ask), asked)
        for place, entry in zip(places, answer, strict=True):
            entries[place] = entry

    def _entry(
        self, finding: Finding | None, image: Image
    ) -> Detections | Poses | PrelabelError | None:
        """What is answered of an image without asking; None where nobody knows."""
        if not isinstance(finding, Break):
            return finding
        until = finding.at_s + REFUSED_S
        if finding.times < BREAKS_REFUSED or not finding.at_s <= self._memory.now() < until:
            return None
        moment = datetime.fromtimestamp(until, UTC)
        return ModelError(
            image.name,
            f"was left out because it broke {self.name} {finding.times} times: {finding.reason}",
            f"It is tried again after {moment:%H:%M} UTC, or when the model changes.",
        )

    def _count(
        self,
        entries: Sequence[Detections | Poses | PrelabelError | None],
        keys: Sequence[bytes],
    ) -> None:
        refused = sum(isinstance(entry, PrelabelError) for entry in entries)
        misses = sum(entry is None and bool(key) for entry, key in zip(entries, keys, strict=True))
        hits = sum(entry is not None for entry in entries) - refused
        self._memory.count(hits=hits, misses=misses, refused=refused)


def _is_suspect(finding: Finding | None) -> bool:
    """Whether a model hung on the image, or on another in its batch."""
    return isinstance(finding, Break) and finding.is_hang
