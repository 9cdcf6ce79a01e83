"""A model that does not come back: who notices, and what is said of it.

Nobody can end a thread from outside, and a driver that hangs frees nothing by itself. So a hang is
said, its callers are let go, and the process is to be started anew.
"""

import math
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

_NEXT_STEP = (
    "Restart the process where nothing else does: jobs go on by themselves, and an image at which "
    "the model hangs twice is left out."
)
_NEXT_STEP_LOADING = (
    "Restart the process where nothing else does: jobs go on by themselves. If it hangs again, "
    "look at where its weights lie or come from, and at the log of the GPU's driver (dmesg)."
)

_MOST_NAMED = 3
_SHORTEST_LOOK_S = 0.01
_LOOKS_WHILE_LOADING = 10
"""A sign of life is seen at a look, so that there are several in the time of the limit."""


@dataclass(frozen=True, slots=True)
class Hang:
    """A call from which a model has not come back.

    Attributes:
        model: The predictor's name.
        images: The names of the images that it was given; none where it is still being loaded.
        since: When that was, UTC; of one that is being loaded, when it last gave a sign of life.
        limit_s: MODEL_HANG_SECONDS or MODEL_LOAD_HANG_SECONDS: for so long nobody wondered.
    """

    model: str
    images: tuple[str, ...]
    since: datetime
    limit_s: float

    @property
    def is_loading(self) -> bool:
        """Whether it is still being loaded; no image is then to blame."""
        return not self.images

    @property
    def cause(self) -> str:
        """What happens, in one clause."""
        if self.is_loading:
            return (
                f"is being loaded, and has not got on since {self.since:%H:%M:%S} UTC "
                f"(MODEL_LOAD_HANG_SECONDS is {self.limit_s:g})"
            )
        named = ", ".join(self.images[:_MOST_NAMED])
        more = f" and {len(self.images) - _MOST_NAMED} more" if self.images[_MOST_NAMED:] else ""
        return (
            f"has been at work on {named}{more} since {self.since:%H:%M:%S} UTC and does not come "
            f"back (MODEL_HANG_SECONDS is {self.limit_s:g})"
        )

    @property
    def next_step(self) -> str:
        """What to do about it."""
        return _NEXT_STEP_LOADING if self.is_loading else _NEXT_STEP

    def __str__(self) -> str:
        """The same with the model in front and what to do behind."""
        return f"{self.model}: {self.cause}. {self.next_step}"

    def on(self, image: str) -> NotReached:
        """The outcome of an image that the model was given."""
        if self.is_loading:
            return self.behind(image)
        return ModelHangs(image, f"{self.model} does not come back from it", self.next_step)

    def behind(self, image: str) -> NotReached:
        """The outcome of an image that waits for the model."""
        what = "hangs while it is loaded" if self.is_loading else "hangs on another image"
        return NotReached(image, f"{self.model} {what}", self.next_step)


@dataclass(eq=False, slots=True)
class _Run:
    """One call of a model.

    Attributes:
        images: The names of what it was given; none where it is told to load.
        alive_s: When it began, or gave its last sign of life while it was loaded.
        sign: What would change if it got on with being loaded; None once it is loaded.
    """

    predictor: Predictor
    images: tuple[str, ...]
    alive_s: float
    sign: object
    on_hang: Callable[[Hang], TakeBack]
    hang: Hang | None = None
    is_dealt_with: Event = field(default_factory=Event)
    take_back: TakeBack = lambda: None


class Watch:
    """Notices calls of models that do not come back. Threads and queues may share it.

    A model that is being loaded hangs where nothing changes for a while: neither what it says of
    its health, nor what has come of its weights.

    Args:
        limit_s: After so many seconds a call of a loaded model hangs; 0 for never.
        load_limit_s: After so many seconds without a sign of life one hangs that is being loaded;
            0 for never.
        arrived: Gives what changes while weights come; must not wait.
        hung: Called in a thread of the watch when a call hangs, after all else was done about it.
        clock: Gives seconds that only grow.
        looks_by_itself: Whether a thread looks when it is time; else somebody calls `look`.
    """

    def __init__(
        self,
        limit_s: float = 0.0,
        load_limit_s: float = 0.0,
        *,
        arrived: Callable[[], object] = lambda: None,
        hung: Callable[[Hang], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        looks_by_itself: bool = True,
    ) -> None:
        self._limit_s = limit_s or math.inf
        self._load_limit_s = load_limit_s or math.inf
        self._arrived = arrived
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
            images: The names of what it was given; none where it is told to load.
            on_hang: Called in another thread once it hangs; gives what undoes that, which is
                called here should the model come back.
        """
        if (self._limit_s if images else self._load_limit_s) == math.inf:
            yield
            return
        begun_s = self._clock()
        sign = self._sign(predictor, is_load=not images)
        run = _Run(predictor, tuple(images), begun_s, sign, on_hang)
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
                lasted_s = round(self._clock() - begun_s, 1)
                log.warning("model came back", model=run.hang.model, after_s=lasted_s)

    def look(self) -> float:
        """Deal with the calls that hang by now; gives the seconds until others may."""
        now = self._clock()
        with self._lock:
            open_runs = [run for run in self._runs if run.hang is None]
        for run in open_runs:
            sign = self._sign(run.predictor, is_load=not run.images) if run.sign else None
            if sign != run.sign:
                run.sign, run.alive_s = sign, now
            if now - run.alive_s >= self._limit_of(run):
                self._judge(run, now)
        dues = [run.alive_s + self._limit_of(run) - now for run in open_runs if run.hang is None]
        # What begins from now on hangs later than the pause.
        return max(min([*dues, self._longest_pause_s]), _SHORTEST_LOOK_S)

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
        pause_s = self._longest_pause_s
        while not self._closed.wait(pause_s):
            try:
                pause_s = self.look()
            except Exception:
                log.exception("defect", thing="watch over models")
                pause_s = self._longest_pause_s

    @property
    def _longest_pause_s(self) -> float:
        return min(self._limit_s, self._load_limit_s / _LOOKS_WHILE_LOADING)

    def _limit_of(self, run: _Run) -> float:
        return self._limit_s if run.sign is None else self._load_limit_s

    def _sign(self, predictor: Predictor, *, is_load: bool) -> object:
        """What changes when a model gets on with being loaded; None where it is loaded."""
        health = predictor.health()
        is_loading = is_load or not health.get("loaded", True)
        return (health, self._arrived()) if is_loading else None

    def _judge(self, run: _Run, now: float) -> None:
        since = datetime.now(UTC) - timedelta(seconds=now - run.alive_s)
        given = run.images if run.sign is None else ()
        hang = Hang(run.predictor.name, given, since, self._limit_of(run))
        with self._lock:
            if run not in self._runs:  # it came back in this moment
                return
            run.hang = hang
        log.error("model hangs", model=hang.model, cause=hang.cause, next_step=hang.next_step)
        try:
            run.take_back = run.on_hang(hang)
        finally:
            run.is_dealt_with.set()
        self._hung(hang)


UNWATCHED = Watch()
"""Lets every call last as long as it likes."""
