"""The backfill job: it sees to it that Label Studio gets a prediction of each task it asked for.

It takes what is due in the ledger, asks Label Studio what of it is there already, predicts the
rest behind everybody else, and pushes it as a batch run does. It may be killed anywhere.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from prelabel.batch.preflight import prepare
from prelabel.batch.push import Manners, Target
from prelabel.batch.tally import Tally
from prelabel.errors import LabelStudioError, NotReady, consequence_of
from prelabel.gathering import Access, Studio
from prelabel.jobs.backfill_round import Round, Work
from prelabel.jobs.retrieves import project_of, submit
from prelabel.jobs.work import Report
from prelabel.labelstudio_api.client import LabelStudio, created_s
from prelabel.labelstudio_api.session import Json
from prelabel.plan import Plan, Predictors
from prelabel.store.database import Database
from prelabel.store.jobs import Job, Jobs
from prelabel.store.journal import Campaign
from prelabel.store.ledger import Ledger, owing
from prelabel.store.lock import held, run_lock

log = structlog.get_logger(__name__)

_POLL_S = 2.0
_LONGEST_PAUSE_S = 60.0
_MOST_REASONS = 20


@dataclass(frozen=True, slots=True)
class Means:
    """What backfills work with.

    Attributes:
        engine: The database.
        jobs: The table of jobs.
        studio: Label Studio, signed in to.
        predictors: What finds things.
        teach: Gives a plan what was learnt, for a project's number and when it was made.
        images: Where images come from.
        access: What a project's images may be fetched with.
        manners: How Label Studio is treated.
        data_folder: Where the lock lies that batch runs hold, too.
    """

    engine: Database
    jobs: Jobs
    studio: LabelStudio
    predictors: Predictors
    teach: Callable[[Plan, int, int], Plan]
    images: Studio
    access: Callable[[Json], Access]
    manners: Manners
    data_folder: Path


class Backfill:
    """Does the backfills of one Label Studio."""

    def __init__(self, means: Means) -> None:
        self._means = means

    def __call__(self, job: Job, report: Report) -> Mapping[str, Any]:
        """Bring Label Studio what is due of a project, until nothing is.

        When the model version moves on meanwhile, what was predicted is pushed under the name of
        its version, and what was not is predicted by the new one: the click that asked for it
        is as good as before.

        Returns:
            As JSON: `predicted`, `empty`, `failed`, `pushed`, `already_there`, `reasons` (the
            first), `seconds`, `message`.

        Raises:
            NotReady: No predictor can be used.
            LabelStudioError: Label Studio refuses the login or the writes.
            StoreUnavailable: The database does not answer.
        """
        return _Backfilling(self._means, project_of(job), report).go()


class _Backfilling:
    """One job."""

    def __init__(self, means: Means, project: int, report: Report) -> None:
        self._means = means
        self._project = project
        self._report = report
        self._tally = Tally()
        self._begin = time.monotonic()

    def go(self) -> dict[str, Any]:
        """Round after round, until nothing is due."""
        with self._alone():
            while self._patiently(self._round):
                pass
        self._come_again()
        counts, failures = self._tally.counts(), self._tally.failures
        there = counts.pushed + counts.already_there
        failed = f", {counts.failed} failed" if counts.failed else ""
        return {
            "predicted": counts.predicted,
            "empty": counts.empty,
            "failed": counts.failed,
            "pushed": counts.pushed,
            "already_there": counts.already_there,
            "reasons": [str(failure.reason) for failure in failures[:_MOST_REASONS]],
            "seconds": round(time.monotonic() - self._begin, 2),
            "message": f"Label Studio holds predictions of {there} tasks{failed}.",
        }

    def _alone(self) -> AbstractContextManager[object]:
        """Hold the project, once no batch run does so any more."""
        means, stack = self._means, ExitStack()
        path = run_lock(means.data_folder, means.studio.url, self._project)
        while True:
            try:
                stack.enter_context(held(path, f"project {self._project}"))
            except NotReady as error:
                self._report(0.0, f"waits for a batch run: {error.cause}")
                time.sleep(_POLL_S)
            else:
                return stack

    def _patiently(self, do: Callable[[], bool]) -> bool:
        """Do it again while Label Studio does not answer, with longer and longer pauses."""
        pause_s = _POLL_S
        while True:
            try:
                return do()
            except LabelStudioError as error:
                if not consequence_of(error).retry:
                    raise
                log.info("backfill waits", project=self._project, reason=str(error))
                until = time.monotonic() + pause_s
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                while time.monotonic() < until:
                    self._report(0.0, f"waits for Label Studio: {error.cause}")
                    time.sleep(0.2)

    def _round(self) -> bool:
        """Bring what is due now; False when there is nothing to be brought."""
        means, number = self._means, self._project
        project = means.studio.project(number)
        created = created_s(project)
        plan, _ = prepare(project, means.predictors)
        work = Work(
            plan=lambda: means.teach(plan, number, created),
            images=means.images,
            access=means.access(project),
            manners=means.manners,
        )
        current = Campaign(means.studio.url, number, str(created), work.plan().model_version)
        ledger = Ledger(means.engine, current)
        ledger.adopt()
        for campaign in owing(means.engine, means.studio.url, number):
            if campaign.project_created != str(created):
                log.warning("what another project of this number asked for dropped", project=number)
                Ledger(means.engine, campaign).drop_all()
            elif campaign != current:
                self._go_through(Ledger(means.engine, campaign), work)
        before = ledger.number_due()
        if not before:
            return False
        self._go_through(ledger, work)
        return ledger.number_due() < before or work.plan().model_version != current.model_version

    def _go_through(self, ledger: Ledger, work: Work) -> None:
        target = Target(self._means.studio, self._project, ledger.campaign.model_version)
        Round(target, ledger, work, self._tally, self._report).go()

    def _come_again(self) -> None:
        """Submit a job for what is to be looked at later: what is being answered just now."""
        means = self._means
        campaigns = owing(means.engine, means.studio.url, self._project)
        moments = [Ledger(means.engine, campaign).next_due() for campaign in campaigns]
        to_come = [moment for moment in moments if moment is not None]
        if to_come:
            delay_s = min(to_come) - time.time()
            # What is due already and was left has met something that may pass.
            delay_s = delay_s if delay_s > 0 else _LONGEST_PAUSE_S
            submit(means.jobs, means.studio.url, self._project, delay_s)
