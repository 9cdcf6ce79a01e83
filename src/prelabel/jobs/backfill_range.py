"""One range of a backfill: its tasks are predicted by whichever worker is free.

What it finds is written into the ledger, and nothing of it is sent: that is for the one worker who
does the backfill. So a range may be done twice, or begun anew anywhere; what is in the ledger
already is not predicted again.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any, Self

from prelabel.batch.local import local
from prelabel.batch.predicting import Predicting
from prelabel.batch.push import Target
from prelabel.batch.tally import Tally
from prelabel.errors import ModelHangs, NotReached
from prelabel.jobs.backfill_means import POLL_S, Means, Subject, patiently, wait
from prelabel.jobs.retrieves import KIND as BACKFILL
from prelabel.jobs.work import LeftBehind, Report, Stopped
from prelabel.labelstudio.tasks import Task
from prelabel.labelstudio_api import listing
from prelabel.pipeline import Outcome, Prediction
from prelabel.plan import Plan
from prelabel.runtime.batcher import first_hang
from prelabel.runtime.callers import Caller, Priority
from prelabel.store.jobs import PART, Job, part_of
from prelabel.store.ledger import Ledger

KIND = BACKFILL + PART

MOST_TASKS = 200
"""Tasks that Label Studio is asked about at a time; its addresses hold no more ids."""

_LOOK_S = 0.5
"""Pause between two looks whether the model version has moved on."""


@dataclass(frozen=True, slots=True)
class Range:
    """Tasks of a backfill: what is due of those between two ids.

    Attributes:
        whole: The project of the backfill, as the table of jobs names it.
        version: What the predictions are to be called.
        first_id: The first task.
        last_id: The last task, itself included.
    """

    whole: str
    version: str
    first_id: int
    last_id: int

    @classmethod
    def of(cls, job: Job) -> Self:
        """The range that a job is for; its name says it all."""
        whole, _, name = job.project.partition(part_of("", ""))
        version, _, ids = name.rpartition(" ")
        first_id, _, last_id = ids.partition("-")
        return cls(whole, version, int(first_id), int(last_id))

    @property
    def project(self) -> str:
        """What the table of jobs calls it."""
        return part_of(self.whole, f"{self.version} {self.first_id}-{self.last_id}")

    @property
    def number(self) -> int:
        """The number of the project in Label Studio."""
        return int(self.whole.rpartition("#")[2])

    def __str__(self) -> str:
        """The range in words."""
        return f"tasks {self.first_id} to {self.last_id} of project {self.number}"


class RangePrediction:
    """Predicts ranges of the backfills of one Label Studio."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._in_doubt = Lock()

    def __call__(self, job: Job, report: Report) -> Mapping[str, Any]:
        """Predict what is due of a range, and write it into the ledger.

        Returns:
            As JSON: how many tasks were `predicted`, `empty`, `failed` and `already_there`.

        Raises:
            NotReady: No predictor can be used.
            LabelStudioError: Label Studio refuses the login.
            StoreUnavailable: The database does not answer.
            LeftBehind: This process ends while a model hangs on one of the images.
        """
        which, found = Range.of(job), Tally()

        def do() -> None:
            _Predicting(self._means, job, found, report, self._in_doubt).go()

        patiently(do, which.number, report)
        counts = found.counts()
        return {
            "predicted": counts.predicted,
            "empty": counts.empty,
            "failed": counts.failed,
            "already_there": counts.already_there,
            "message": f"{counts.predicted + counts.empty} tasks predicted.",
        }


class _Predicting:
    """One range, as far as Label Studio answers."""

    def __init__(
        self, means: Means, job: Job, tally: Tally, report: Report, in_doubt: Lock
    ) -> None:
        self._in_doubt = in_doubt
        self._means = means
        self._job = job
        self._which = which = Range.of(job)
        self._tally = tally
        self._report_to = report
        self._subject = Subject(means, which.number)
        self._target = Target(means.studio, which.number, which.version)
        self._ledger = self._subject.ledger(which.version)
        self._caller = Caller(Priority.BACKGROUND)
        self._looked_at = 0.0
        self._is_current = True
        self._ended: Counter[str] = Counter()
        self._is_hanging = False

    def go(self) -> None:
        if not self._current():
            # Whoever answers by this name may be free in a moment; and the backfill looks, too.
            wait(POLL_S, self._report_to, f"waits for a worker that has {self._which.version}")
            return
        predicting = Predicting(
            self._predict,
            self._ledger,
            self._tally,
            self._means.manners,
            stop=_Pause(self._report, lambda: self._target.studio.project(self._which.number)),
            kept=lambda _: None,
        )
        try:
            if self._job.attempts == 1:
                predicting.run(self._tasks())
            else:
                self._one_by_one(predicting)
        except Stopped:
            if self._is_hanging:
                raise LeftBehind from None
            raise
        finally:
            self._caller.leave()

    def _one_by_one(self, predicting: Predicting) -> None:
        """Where a worker did not come back, nothing but what it failed on is to be in its place.

        Of the ranges of a process that are in doubt one goes on at a time: if the process ends,
        those that waited have nothing to do with it.
        """
        jobs, owner = self._means.jobs, self._job.owner or ""
        if self._in_doubt.locked():
            jobs.got_somewhere(self._job.id, owner)
        while not self._in_doubt.acquire(timeout=_LOOK_S):
            self._report()
        try:
            for number, task in enumerate(self._tasks()):
                if number == 1:
                    jobs.got_somewhere(self._job.id, owner)
                predicting.run([task])
        finally:
            self._in_doubt.release()

    def _predict(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        plan = self._subject.plan().at(self._caller)
        predict = local(plan, self._means.images, self._subject.access)
        for index, outcome in predict(tasks):
            self._ended["tasks"] += 1
            if isinstance(outcome, NotReached):
                self._wait_while_it_hangs(plan, on_this=isinstance(outcome, ModelHangs))
            self._report()
            if isinstance(outcome, Prediction) and outcome.model_version != self._which.version:
                continue  # it stays asked, and is predicted anew under its new name
            yield index, outcome

    def _wait_while_it_hangs(self, plan: Plan, *, on_this: bool) -> None:
        """Nothing is predicted here until the model comes back, or the process is started anew.

        Args:
            plan: What predicts.
            on_this: Whether the model hangs on a task of this range; then it is this range that
                goes wrong if the process ends, and not only its turn that did not come.
        """
        self._is_hanging |= on_this
        while hung := first_hang(step.predictor for step in plan.steps):
            wait(POLL_S, self._report_to, f"{hung.model} hangs")
        self._is_hanging = False

    def _tasks(self) -> Iterator[Task]:
        """What is due, and is not in Label Studio."""
        after_id = self._which.first_id - 1
        while self._current():
            ids = self._ledger.due(after_id, MOST_TASKS, last_id=self._which.last_id)
            if not ids:
                return
            after_id = ids[-1]
            for task in self._wanted(ids):
                self._report()
                if not self._current():
                    return
                yield task

    def _wanted(self, ids: Sequence[int]) -> list[Task]:
        """Of these tasks those that Label Studio has, without a prediction."""
        held = note_held(self._target, self._ledger, self._tally, ids)
        missing = [task_id for task_id in ids if task_id not in held]
        if not missing:
            return []
        self._ledger.ask(missing)
        which = listing.Which(ids=tuple(missing))
        studio, project = self._target.studio, self._target.project
        pages = listing.pages(studio, project, which)
        tasks = [listed.as_task(project) for _, page in pages for listed in page]
        listed_ids = {task.id for task in tasks}
        self._ledger.drop([task_id for task_id in missing if task_id not in listed_ids])
        return tasks

    def _current(self) -> bool:
        """Whether predictions are called now as they are to be; looked up twice a second."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_S:
            self._looked_at = now
            self._is_current = self._subject.plan().model_version == self._which.version
        return self._is_current

    def _report(self) -> None:
        self._report_to(0.0, f"{self._ended['tasks']} tasks looked at")


class _Pause(Event):
    """Is never set; whoever waits for it is told by a `Stopped` that the job must end.

    And by a `LabelStudioError` that Label Studio is away: images that it keeps are not tried
    again, and given up, before it is back.
    """

    def __init__(self, report: Any, ask: Callable[[], object]) -> None:
        super().__init__()
        self._report = report
        self._ask = ask

    def wait(self, timeout: float | None = None) -> bool:
        wait(timeout or 0.0, lambda *_: self._report(), "")
        self._ask()
        return False


def note_held(target: Target, ledger: Ledger, tally: Tally, task_ids: Sequence[int]) -> set[int]:
    """Those of these tasks that hold a prediction of the version in Label Studio by now."""
    held = set(target.holders(task_ids))
    ledger.pushed(list(held))
    tally.add("already_there", len(held))
    return held
