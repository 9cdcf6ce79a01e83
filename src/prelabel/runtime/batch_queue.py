"""The queue in front of one predictor: lanes by priority, batches across callers, few workers."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Condition, Event, Thread

import structlog

from prelabel.errors import NotReached, OutOfMemory, PrelabelError
from prelabel.predictors.base import Answer, Predictor, calls_at_once
from prelabel.runtime.callers import Caller, Priority
from prelabel.runtime.hanging import UNWATCHED, Hang, TakeBack, Watch
from prelabel.runtime.isolation import answer_each, defect
from prelabel.runtime.noted import Noted
from prelabel.types import Ask, Detections, Image, Poses

log = structlog.get_logger(__name__)

TURNS_IN_A_ROW = 8
"""Batches that a lane may run while a lower one waits; then that one has a batch."""

_MOST_WORKERS = 64

LINGER_S = 0.003
"""How long a device that gains from batches waits for more images; a few per cent of a batch."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What stands in a queue.

    Attributes:
        images: Images not begun, by priority.
        oldest_s: How long the first of them has waited, in seconds.
        running: Batches being run.
    """

    images: dict[Priority, int]
    oldest_s: float
    running: int


@dataclass(eq=False, slots=True)
class _Call:
    """One call of `answer`: its images are begun in order, its answers come in any.

    Attributes:
        is_alone: Whether each of its images is to be looked at in a batch of its own.
        begun: How many of its images are in a batch, or were.
        missing: How many have no entry yet.
    """

    images: Sequence[Image]
    ask: Ask
    caller: Caller
    entries: list[Detections | Poses | PrelabelError | None]
    missing: int
    is_alone: bool = False
    begun: int = 0
    came_s: float = field(default_factory=time.monotonic)
    complete: Event = field(default_factory=Event)

    @property
    def left(self) -> int:
        """How many of its images are not begun."""
        return len(self.images) - self.begun

    def enter(self, index: int, entry: Detections | Poses | PrelabelError) -> None:
        """Take the entry of one image; who was let go has one, and the first counts."""
        if self.entries[index] is not None:
            return
        self.entries[index] = entry
        self.missing -= 1
        if not self.missing:
            self.complete.set()


_Batch = list[tuple[_Call, int]]


class BatchQueue:
    """Images wait here for a predictor, which a few threads of the queue's own keep busy.

    Callers wait on their own threads. First come, first served within a priority; a batch holds
    images of one priority and one ask, so that nobody's single image waits for the images that
    happen to be in its batch.
    """

    def __init__(
        self,
        predictor: Predictor,
        observe: Callable[[int, float], None] = lambda *_: None,
        watch: Watch = UNWATCHED,
    ) -> None:
        """Take the predictor; nothing is started yet.

        Args:
            predictor: What answers.
            observe: Called after each batch with its number of images and its seconds.
            watch: Notices when the predictor does not come back.
        """
        self.predictor = predictor
        self._observe = observe
        self._watch = watch
        self._hangs: tuple[Hang, ...] = ()
        self._loading: Future[None] | None = None
        self._running = 0
        self._roomy_batch: int | None = None  # learnt from running out of memory
        self._lanes: dict[Priority, deque[_Call]] = {priority: deque() for priority in Priority}
        self._turns = dict.fromkeys(Priority, 0)
        self._changed = Condition()
        self._workers = ThreadPoolExecutor(_MOST_WORKERS, thread_name_prefix="model")

    @property
    def batch_size(self) -> int:
        """The predictor's batch size, or less where it had no memory for that."""
        size = self.predictor.batch_size
        return size if self._roomy_batch is None else min(size, self._roomy_batch)

    @property
    def hang(self) -> Hang | None:
        """The call from which the predictor does not come back, if any; waits for no lock."""
        return next(iter(self._hangs), None)

    def waiting(self) -> Waiting:
        """What waits now."""
        with self._changed:
            calls = [call for lane in self._lanes.values() for call in lane]
            oldest = min((call.came_s for call in calls), default=None)
            return Waiting(
                {p: sum(call.left for call in lane) for p, lane in self._lanes.items()},
                0.0 if oldest is None else time.monotonic() - oldest,
                self._running,
            )

    def load(self, caller: Caller) -> None:
        """Have the predictor ready.

        Returns without that where it hangs, of which `answer` tells, and where the caller has left.

        Raises:
            OperatorError: It cannot be loaded.
        """
        if self.predictor.health().get("loaded"):
            self.predictor.load()
            return
        with self._changed:
            if self._is_stuck():
                return
            if self._loading is None:
                self._loading = Future()
                # Nobody who ends this process has to wait until gigabytes have come.
                work = partial(self._load, self._loading)
                Thread(target=work, name="load", daemon=True).start()
            loading = self._loading
        is_over = Event()
        loading.add_done_callback(lambda _: is_over.set())
        with caller.waiting(is_over.set):
            is_over.wait(caller.remaining_s())
        if loading.done():
            loading.result()

    def answer(
        self, images: Sequence[Image], ask: Ask, caller: Caller, *, is_alone: bool = False
    ) -> Answer:
        """Wait for one entry per image; see `Batcher.predict`.

        Args:
            images: What to look at.
            ask: What to look for.
            caller: Who waits.
            is_alone: Whether no other image is to be in a batch with one of them.
        """
        if not images:
            return []
        call = _Call(images, ask, caller, [None] * len(images), len(images), is_alone)
        with caller.waiting(lambda: self._withdraw(call)):
            self._enqueue(call)
            if not call.complete.wait(caller.remaining_s()):
                self._withdraw(call)
                call.complete.wait()  # for what is being looked at
        return [entry for entry in call.entries if entry is not None]

    def _enqueue(self, call: _Call) -> None:
        with self._changed:
            if self._is_stuck():
                self._let_go(call)
                return
            self._lanes[call.caller.priority].append(call)
            self._changed.notify_all()
            free = min(calls_at_once(self.predictor), _MOST_WORKERS) - self._running
            starting = max(min(free, math.ceil(len(call.images) / self.batch_size)), 0)
            self._running += starting
        for _ in range(starting):
            self._workers.submit(self._work)

    def _withdraw(self, call: _Call) -> None:
        """Take what was not begun out of the queue."""
        with self._changed:
            lane = self._lanes[call.caller.priority]
            if call in lane:
                lane.remove(call)
                for index in range(call.begun, len(call.images)):
                    call.enter(index, _not_reached(call.images[index]))

    def _is_stuck(self) -> bool:
        """Whether all that look at images hang, and nobody's turn comes any more."""
        most = min(calls_at_once(self.predictor), _MOST_WORKERS)
        return len(self._hangs) >= most or any(hang.is_loading for hang in self._hangs)

    def _let_go(self, call: _Call) -> None:
        """Answer what was not begun of a call whose turn does not come."""
        for index in range(call.begun, len(call.images)):
            call.enter(index, self._hangs[0].behind(call.images[index].name))

    def _on_hang(self, batch: _Batch, images: Sequence[Image], ask: Ask, hang: Hang) -> TakeBack:
        """Let those go that wait for a call that hangs: for these images of a batch."""
        given = {id(image) for image in images}
        predictor = self.predictor
        forgive = None
        if isinstance(predictor, Noted) and not hang.is_loading:
            # First: as soon as it is known, somebody may end this process.
            forgive = predictor.hangs(images, ask, hang)
        with self._changed:
            self._let_all_go(hang)
            for call, index in batch:
                image = call.images[index]
                outcome = hang.on if id(image) in given else hang.behind
                call.enter(index, outcome(image.name))

        def take_back() -> None:
            # First: once it is known to be back, somebody may end this process.
            if forgive:
                forgive()
            self._forget(hang)

        return take_back

    def _on_load_hang(self, loading: Future[None], hang: Hang) -> TakeBack:
        """Let those go that wait for the predictor to be ready."""
        with self._changed:
            self._let_all_go(hang)
            loading.set_result(None)
        return partial(self._forget, hang)

    def _let_all_go(self, hang: Hang) -> None:
        """Know of a hang, and answer those whose turn does not come any more."""
        self._hangs += (hang,)
        if self._is_stuck():
            for lane in self._lanes.values():
                for call in lane:
                    self._let_go(call)
                lane.clear()

    def _forget(self, hang: Hang) -> None:
        with self._changed:
            self._hangs = tuple(one for one in self._hangs if one is not hang)

    def _load(self, loading: Future[None]) -> None:
        """Load the predictor on this thread, and tell those who wait for it."""
        try:
            with self._watch.over(self.predictor, (), partial(self._on_load_hang, loading)):
                self.predictor.load()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            self._end_load(loading, error)
        else:
            self._end_load(loading)

    def _end_load(self, loading: Future[None], error: BaseException | None = None) -> None:
        with self._changed:
            self._loading = None
            if loading.done():  # who waited was let go
                return
            if error is None:
                loading.set_result(None)
            else:
                loading.set_exception(error)

    def _work(self) -> None:
        """Run batches until nothing waits."""
        batch: _Batch = []
        try:
            while batch := self._next_batch():
                self._run(batch)
                batch = []  # its images need not stay while the next one is waited for
        except Exception as error:  # noqa: BLE001 - defect logs it
            self._give_up(batch, defect(self.predictor.name, error))

    def _give_up(self, batch: _Batch, reason: PrelabelError) -> None:
        """A worker ends in the middle: nobody may wait for it, and the next call has another."""
        with self._changed:
            self._running -= 1
            for call, index in batch:
                call.enter(index, reason)
            for lane in self._lanes.values():
                for call in lane:
                    for index in range(call.begun, len(call.images)):
                        call.enter(index, reason)
                lane.clear()

    def _run(self, batch: _Batch) -> None:
        images = [call.images[index] for call, index in batch]
        ask = batch[0][0].ask
        started = time.perf_counter()
        entries = answer_each(lambda some: self._predict(batch, some, ask), images)
        with self._changed:
            for (call, index), entry in zip(batch, entries, strict=True):
                call.enter(index, entry)
        self._observe(len(images), time.perf_counter() - started)

    def _predict(self, batch: _Batch, images: Sequence[Image], ask: Ask) -> Answer:
        on_hang = partial(self._on_hang, batch, images, ask)
        try:
            with self._watch.over(self.predictor, [image.name for image in images], on_hang):
                return self.predictor.predict(images, ask)
        except OutOfMemory as error:
            if len(images) > 1:
                self._roomy_batch = min(self.batch_size, len(images) // 2)
                log.warning("batch_size_halved", batch_size=self._roomy_batch, reason=error.cause)
            raise

    def _next_batch(self) -> _Batch:
        """The images whose turn it is; a worker that gets none has ended."""
        size = self.batch_size
        linger_s = LINGER_S if self._gains_from(size) else 0.0
        with self._changed:
            if linger_s and any(self._lanes.values()):
                self._changed.wait_for(lambda: self._can_fill(size), linger_s)
            lane = self._next_lane()
            if lane is None:
                self._running -= 1
                return []
            return _taken(lane, size)

    def _can_fill(self, size: int) -> bool:
        return any(sum(call.left for call in lane) >= size for lane in self._lanes.values())

    def _gains_from(self, size: int) -> bool:
        """Whether a full batch is worth waiting for; on a CPU it is not."""
        return size > 1 and self.predictor.health().get("device") != "cpu"

    def _next_lane(self) -> deque[_Call] | None:
        """The first lane in which something waits, but for the turn that it owes a lower one."""
        waiting = [priority for priority in Priority if self._lanes[priority]]
        for priority in waiting:
            is_last = priority == waiting[-1]
            if is_last or self._turns[priority] < TURNS_IN_A_ROW:
                self._turns[priority] = 0 if is_last else self._turns[priority] + 1
                for above in range(priority):
                    self._turns[Priority(above)] = 0
                return self._lanes[priority]
        return None


def _taken(lane: deque[_Call], size: int) -> _Batch:
    """Up to `size` images of a lane that are asked the same as its first, taken out of it."""
    batch: _Batch = []
    first = lane[0]
    if first.is_alone:
        size = 1
    for call in list(lane):
        if call is first or (call.ask == first.ask and not call.is_alone):
            end = min(call.begun + size - len(batch), len(call.images))
            batch += [(call, index) for index in range(call.begun, end)]
            call.begun = end
            if not call.left:
                lane.remove(call)
            if len(batch) == size:
                break
    return batch


def _not_reached(image: Image) -> NotReached:
    return NotReached(
        image.name,
        "its caller stopped waiting before its turn",
        "Retrieve predictions again: tasks that are done are not asked for twice.",
    )
