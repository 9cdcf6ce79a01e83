"""A model that does not come back: who notices, and what is said of it.

Nobody can end a thread from outside, and a driver that hangs frees nothing by itself. So a hang is
said, its callers are let go, and the process is to be started anew.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event, Lock, Thread

import structlog

from prelabel.errors import ModelHangs, NotReached
from prelabel.predictors.base import Predictor

log = structlog.get_logger(__name__)

TakeBack = Callable[[], None]
"""Undoes what was done about a hang, because the model has come back after all."""

NEXT_STEP = (
    "Restart the process where nothing else does: jobs go on by themselves, and an image at which "
    "the model hangs twice is left out."
)

_MOST_NAMED = 3
_SHORTEST_LOOK_S = 0.01


@dataclass(frozen=True, slots=True)
class Hang:
    """A call from which a model has not come back.

    Attributes:
        model: The predictor's name.
        images: The names of the images that it was given.
        since: When that was, UTC.
        limit_s: MODEL_HANG_SECONDS: for so long nobody wondered.
    """

    model: str
    images: tuple[str, ...]
    since: datetime
    limit_s: float

    @property
    def cause(self) -> str:
        """What happens, in one clause."""
        named = ", ".join(self.images[:_MOST_NAMED])
        more = f" and {len(self.images) - _MOST_NAMED} more" if self.images[_MOST_NAMED:] else ""
        return (
            f"has been at work on {named}{more} since {self.since:%H:%M:%S} UTC and does not come "
            f"back (MODEL_HANG_SECONDS is {self.limit_s:g})"
        )

    def __str__(self) -> str:
        """The same with the model in front and what to do behind."""
        return f"{self.model}: {self.cause}. {NEXT_STEP}"

    def on(self, image: str) -> ModelHangs:
        """The outcome of an image that the model was given."""
        return ModelHangs(image, f"{self.model} does not come back from it", NEXT_STEP)

    def behind(self, image: str) -> NotReached:
        """The outcome of an image that waits for the model."""
        return NotReached(image, f"{self.model} hangs on another image", NEXT_STEP)


@dataclass(eq=False, slots=True)
class _Run:
    """One call of a model."""

    predictor: Predictor
    images: tuple[str, ...]
    begun_s: float
    on_hang: Callable[[Hang], TakeBack]
    hang: Hang | None = None
    is_dealt_with: Event = field(default_factory=Event)
    take_back: TakeBack = lambda: None


class Watch:
    """Notices calls of models that do not come back. Threads and queues may share it.

    Time in which a model is still being loaded does not count.

    Args:
        limit_s: After so many seconds a call hangs; 0 for never.
        hung: Called in a thread of the watch when a call hangs, after all else was done about it.
        clock: Gives seconds that only grow.
        looks_by_itself: Whether a thread looks when it is time; else somebody calls `look`.
    """

    def __init__(
        self,
        limit_s: float = 0.0,
        *,
        hung: Callable[[Hang], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        looks_by_itself: bool = True,
    ) -> None:
        self._limit_s = limit_s
        self._hung = hung
        self._clock = clock
        self._looks_by_itself = looks_by_itself
        self._runs: list[_Run] = []
        self._lock = Lock()
        self._thread: Thread | None = None
        self._closed = Event()

    @contextmanager
    def over(
        self, predictor: Predictor, images: Sequence[str], on_hang: Callable[[Hang], TakeBack]
    ) -> Iterator[None]:
        """While this lasts, a model is at work.

        Args:
            predictor: The model.
            images: The names of what it was given.
            on_hang: Called in another thread once it hangs; gives what undoes that, which is
                called here should the model come back.
        """
        if not self._limit_s:
            yield
            return
        run = _Run(predictor, tuple(images), self._clock(), on_hang)
        with self._lock:
            self._runs.append(run)
            self._begin()
        try:
            yield
        finally:
            with self._lock:
                self._runs.remove(run)
            if run.hang is not None:
                run.is_dealt_with.wait()
                run.take_back()
                lasted_s = round(self._clock() - run.begun_s, 1)
                log.warning("model came back", model=run.hang.model, after_s=lasted_s)

    def look(self) -> float:
        """Deal with the calls that hang by now; gives the seconds until others may."""
        now = self._clock()
        with self._lock:
            open_runs = [run for run in self._runs if run.hang is None]
        for run in open_runs:
            if now - run.begun_s >= self._limit_s:
                self._judge(run, now)
        nexts = [run.begun_s for run in open_runs if run.hang is None]
        # What begins from now on hangs later than this.
        return max(min(nexts, default=now) + self._limit_s - now, _SHORTEST_LOOK_S)

    @property
    def hangs(self) -> bool:
        """Whether a call hangs."""
        with self._lock:
            return any(run.hang is not None for run in self._runs)

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _begin(self) -> None:
        if self._thread is None and self._looks_by_itself:
            self._thread = Thread(target=self._keep_looking, name="watch", daemon=True)
            self._thread.start()

    def _keep_looking(self) -> None:
        pause_s = self._limit_s
        while not self._closed.wait(pause_s):
            try:
                pause_s = self.look()
            except Exception:
                log.exception("defect", thing="watch over models")
                pause_s = self._limit_s

    def _judge(self, run: _Run, now: float) -> None:
        if not run.predictor.health().get("loaded", True):
            run.begun_s = now
            return
        since = datetime.now(UTC) - timedelta(seconds=now - run.begun_s)
        hang = Hang(run.predictor.name, run.images, since, self._limit_s)
        with self._lock:
            if run not in self._runs:  # it came back in this moment
                return
            run.hang = hang
        log.error("model hangs", model=hang.model, cause=hang.cause, next_step=NEXT_STEP)
        try:
            run.take_back = run.on_hang(hang)
        finally:
            run.is_dealt_with.set()
        self._hung(hang)


UNWATCHED = Watch()
"""Lets every call last as long as it likes."""
