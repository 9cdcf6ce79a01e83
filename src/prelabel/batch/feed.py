"""The tasks of a run, listed ahead of whoever predicts them."""

import queue
import time
from collections.abc import Callable, Iterator
from threading import Event

import structlog

from prelabel.batch.push import Target
from prelabel.batch.selection import Selection, choose
from prelabel.batch.stages import StageClock
from prelabel.batch.tally import Tally
from prelabel.labelstudio.tasks import Task
from prelabel.labelstudio_api import listing
from prelabel.labelstudio_api.predictions import holders_between
from prelabel.store.journal import Journal

log = structlog.get_logger(__name__)

_AHEAD = 1000
"""Tasks that are listed and not yet asked for; their data is small."""

_FEW = 100
"""Tasks of a page where only a few are wanted, and some may need nothing."""

_SPARSE = 4
"""Where a page's ids lie further apart than this, asking for all between them is a waste."""

_POLL_S = 0.2


class Feed:
    """Lists in a thread of its own (`list_all`) what another takes (`__iter__`).

    Args:
        target: Whose tasks they are.
        selection: Which tasks are wanted.
        journal: What earlier runs knew of them; None where that does not matter.
        clock: Times the stage "list".
        tally: Counts what is listed and what is skipped.
        stop: Ends both sides when it is set.
        hold: Says whether no more tasks may be handed out for the moment.
    """

    def __init__(
        self,
        target: Target,
        selection: Selection,
        journal: Journal | None,
        clock: StageClock,
        tally: Tally,
        *,
        stop: Event,
        hold: Callable[[], bool],
    ) -> None:
        self._target = target
        self._selection = selection
        self._journal = journal
        self._clock = clock
        self._tally = tally
        self._stop = stop
        self._hold = hold
        self._tasks: queue.Queue[Task] = queue.Queue(_AHEAD)
        self._ended = Event()
        self.wanted = 0
        self.is_complete = False
        self._to_come = 0

    @property
    def listed(self) -> bool:
        """Whether the list is complete."""
        return self._ended.is_set()

    @property
    def total(self) -> int:
        """How many tasks there are to do; what is not listed yet counts as wanted."""
        if self.listed:
            return self.wanted
        return self.most if self._selection.limit is None else min(self.most, self._selection.limit)

    @property
    def most(self) -> int:
        """How many tasks there may be to do, whatever the limit."""
        return self.wanted + self._to_come

    def list_all(self) -> None:
        """List the tasks that are wanted, until the limit is reached.

        Raises:
            LabelStudioError: They cannot be listed.
        """
        try:
            self._list_all()
        finally:
            self._ended.set()

    def __iter__(self) -> Iterator[Task]:
        """The tasks, each once; ends when all are taken or the run is stopped."""
        while not self._stop.is_set():
            if self._hold():
                time.sleep(_POLL_S)
                continue
            try:
                yield self._tasks.get(timeout=_POLL_S)
            except queue.Empty:
                if self.listed and self._tasks.empty():
                    return

    def _list_all(self) -> None:
        target, which = self._target, self._selection.which
        versions = target.studio.model_versions(target.project)
        is_held = bool(versions.get(target.version))
        anew_since = None
        if self._selection.anew and self._journal is not None:
            anew_since = self._journal.anew_since()
        limit = self._selection.limit
        page_size = listing.PAGE_SIZE if limit is None else max(limit, _FEW)
        page_size = min(page_size, listing.PAGE_SIZE)
        pages = listing.pages(target.studio, target.project, which, page_size)
        while not self._stop.is_set():
            with self._clock.busy("list", 0):
                page = next(pages, None)
                if page is None:
                    self.is_complete = True
                    return
                to_come, tasks = page
                first, last = tasks[0].id, tasks[-1].id
                held = self._held(tasks) if is_held else {}
                entries = {} if self._journal is None else self._journal.entries(first, last)
            choice = choose(tasks, self._selection, held, entries, anew_since)
            self._clock.done("list", len(tasks))
            self._to_come = to_come - len(tasks) + len(choice.wanted)
            self._tally.skip(choice.skipped)
            if not self._hand_over(choice.wanted):
                return

    def _held(self, tasks: list[listing.Listed]) -> dict[int, int]:
        """Which tasks of a page hold this model version already."""
        target, first, last = self._target, tasks[0].id, tasks[-1].id
        if last - first >= _SPARSE * len(tasks):
            return target.holders([task.id for task in tasks])
        return holders_between(target.studio, target.project, target.version, first, last)

    def _hand_over(self, wanted: list[listing.Listed]) -> bool:
        """Queue tasks; False when no more are wanted."""
        limit = self._selection.limit
        for listed in wanted:
            if limit is not None and self.wanted >= limit:
                return False
            if not self._put(listed.as_task(self._target.project)):
                return False
            self.wanted += 1
            self._to_come -= 1
        return True

    def _put(self, task: Task) -> bool:
        while not self._stop.is_set():
            try:
                self._tasks.put(task, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False
