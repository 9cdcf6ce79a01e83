"""A predictor whose findings are noted for the next one who asks, and where it broke, too.

It stands behind the queue, so that what one caller's batch has found is known before the next
batch, which may hold the same image for another caller.
"""

import hashlib
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Lock

from prelabel import __version__
from prelabel.errors import ModelError, OutOfMemory, PrelabelError
from prelabel.predictors.base import Answer, Predictor
from prelabel.predictors.wrapping import Wrapping
from prelabel.runtime.hanging import Hang, TakeBack
from prelabel.runtime.memory import Memory
from prelabel.store.finding_bytes import Break, Finding
from prelabel.types import Ask, Detections, Image, Poses

_MOST_DOUBTS = 1000

_WRITTEN_WITHIN_S = 2.0
"""How long is waited until it is written that a model hangs."""


class Noted(Wrapping):
    """A `Predictor` that answers through another one, and notes what that says.

    Args:
        predictor: What answers.
        memory: Where it is noted.
    """

    def __init__(self, predictor: Predictor, memory: Memory) -> None:
        super().__init__(predictor)
        self._memory = memory
        self._doubts = _Doubts()

    def predict(self, images: Sequence[Image], ask: Ask) -> Answer:
        """One entry per image; raises as the predictor does."""
        if is_of_the_moment(ask):
            return self._predictor.predict(images, ask)
        model = model_of(self._predictor)
        keys = keys_of(images, ask, model, wants_neighbours=self.wants_neighbours)
        entries: list[Detections | Poses | PrelabelError | None] = [*self._memory.recent(keys)]
        open_at = [place for place, entry in enumerate(entries) if entry is None]
        # Callers who ask for the same image at the same time meet in one batch.
        asked_at = {keys[place] or place: place for place in reversed(open_at)}
        places = sorted(asked_at.values())
        if places:
            answer = self._ask([images[place] for place in places], ask, keys[places[0]])
            for place, entry in zip(places, answer, strict=True):
                entries[place] = entry
            # Else another one has taken over meanwhile, and may have answered.
            if model_of(self._predictor) == model:
                self._note_all([keys[place] for place in places], answer)
        for place in open_at:
            entries[place] = entries[asked_at[keys[place] or place]]
        return [entry for entry in entries if entry is not None]

    def hangs(self, images: Sequence[Image], ask: Ask, hang: Hang) -> TakeBack:
        """Note that the predictor does not come back from these images.

        Of several nobody knows which it was: each is a suspect, and to be asked for by itself.
        Of one it is known, and counts as a break. It counts at once: whoever restarts this
        process leaves it no time to see whether the predictor does others.
        """
        if is_of_the_moment(ask):
            return lambda: None
        model = model_of(self._predictor)
        keys = keys_of(images, ask, model, wants_neighbours=self.wants_neighbours)
        recent = self._memory.recent(keys)
        given = {key for key, known in zip(keys, recent, strict=True) if key and known is None}
        known = self._memory.recall(sorted(given))
        before = {key: one for key, one in known.items() if isinstance(one, Break)}
        reason = f"hung on it for over {hang.limit_s:g} s"
        noted = {}
        for key in given:
            times = before[key].times if key in before else 0
            times = times + 1 if len(images) == 1 else max(times, 1)
            noted[key] = Break(times, reason, self._memory.now(), is_hang=True)
        self._memory.keep(noted)
        self._memory.flush(_WRITTEN_WITHIN_S)  # this process may not live much longer

        def take_back() -> None:
            now = self._memory.recall(sorted(noted))
            stale = [key for key in noted if now.get(key) == noted[key]]
            self._memory.keep({key: before[key] for key in stale if key in before})
            self._memory.forget([key for key in stale if key not in before])

        return take_back

    def _ask(self, images: Sequence[Image], ask: Ask, first_key: bytes) -> Answer:
        try:
            answer = self._predictor.predict(images, ask)
        except (Exception, SystemExit) as error:
            if len(images) == 1 and first_key:  # of several, nobody knows which it was
                self._note({}, {first_key: error})
            raise
        assert len(answer) == len(images), f"{len(answer)} answers for {len(images)} images"
        return answer

    def _note_all(self, keys: Sequence[bytes], answer: Answer) -> None:
        known = [(key, entry) for key, entry in zip(keys, answer, strict=True) if key]
        found = {key: one for key, one in known if isinstance(one, Detections | Poses)}
        self._note(found, {key: one for key, one in known if isinstance(one, PrelabelError)})

    def _note(self, found: Mapping[bytes, Finding], errors: Mapping[bytes, BaseException]) -> None:
        reasons = {key: reason for key, one in errors.items() if (reason := _fault(one))}
        before = self._memory.recall(list(reasons))
        breaks = {}
        for key, reason in reasons.items():
            last = before.get(key)
            times = last.times + 1 if isinstance(last, Break) else 1
            breaks[key] = Break(times, reason, self._memory.now())
        counting = self._doubts.settled(breaks, has_answered=bool(found))
        self._memory.keep({**counting, **found})


def is_of_the_moment(ask: Ask) -> bool:
    """Whether it is about where an annotator points just now, and nobody will ask it again."""
    return bool(ask.within_xyxy or ask.at_xy)


def model_of(predictor: Predictor) -> tuple[str, ...]:
    """Who answers now, with all that decides what it finds in an image."""
    # Its defaults may depend on the kind of device, which the fingerprint leaves out.
    device = str(predictor.health().get("device", "")).partition(":")[0]
    return (__version__, predictor.name, predictor.fingerprint, device)


def keys_of(
    images: Sequence[Image], ask: Ask, model: tuple[str, ...], *, wants_neighbours: bool
) -> list[bytes]:
    """What the findings of each image are kept under; b"" for those of unknown content."""
    asked = repr(ask)
    keys = []
    for image in images:
        beside = (image.before, image.after) if wants_neighbours else ()
        seen = [image.digest, *(frame and frame.digest for frame in beside)]
        text = json.dumps([*model, asked, *seen])
        is_known = all(digest != "" for digest in seen)
        keys.append(hashlib.sha256(text.encode()).digest() if is_known else b"")
    return keys


def _fault(error: BaseException) -> str:
    """Why an image broke the predictor; "" where it is no fault of the image."""
    if isinstance(error, OutOfMemory | MemoryError):
        return ""
    if isinstance(error, PrelabelError):
        return error.cause if isinstance(error, ModelError) else ""
    return f"met a defect of prelabel ({type(error).__name__})"


class _Doubts:
    """First breaks do not count until the predictor has answered another image since.

    A device that is lost breaks on every image, and none of them is to blame.
    """

    def __init__(self) -> None:
        self._breaks: deque[tuple[bytes, Break]] = deque(maxlen=_MOST_DOUBTS)
        self._lock = Lock()

    def settled(self, breaks: Mapping[bytes, Break], *, has_answered: bool) -> dict[bytes, Break]:
        """Take breaks of one call; gives all those that count now."""
        counting = {key: one for key, one in breaks.items() if one.times > 1}
        with self._lock:
            self._breaks.extend((key, one) for key, one in breaks.items() if one.times == 1)
            while has_answered and self._breaks:
                key, one = self._breaks.popleft()
                so_far = counting[key].times if key in counting else 0
                counting[key] = replace(one, times=so_far + 1)
        return counting
