"""The backfill job: it sees to it that Label Studio gets a prediction of each task it asked for.

It has what is due in the ledger predicted by all workers, range by range, behind everybody else,
and pushes it as a batch run does: after it asked Label Studio what is there already. It may be
killed anywhere, and so may whoever predicts.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any

import structlog

from prelabel.batch.tally import Tally
from prelabel.errors import NotReady, PrelabelError, StoreUnavailable
from prelabel.jobs.backfill_means import LONGEST_PAUSE_S, POLL_S, Means, Subject, patiently, wait
from prelabel.jobs.backfill_range import Range
from prelabel.jobs.backfill_round import Round
from prelabel.jobs.retrieves import project_of, submit
from prelabel.jobs.work import Report, Stopped
from prelabel.store.jobs import Job
from prelabel.store.ledger import Ledger, failed_since, owing
from prelabel.store.lock import held, run_lock

log = structlog.get_logger(__name__)

_MOST_REASONS = 20

_LOOK_S = 3.0
"""Between two looks how many predictions Label Studio holds."""

_BEING_STORED = 3
"""So many more within that time are an answer that it is storing, and not people at work."""

_LOOK_LATER_S = 15.0
_SLOWEST_PER_S = 2.0
"""Label Studio was seen to store 5 predictions of an answer in a second on a busy machine."""

_LATEST_S = 120.0


class Backfill:
    """Does the backfills of one Label Studio.

    Args:
        means: What they work with.
        wake: Tells workers of this process that there are ranges to predict.
    """

    def __init__(self, means: Means, wake: Callable[[], None] = lambda: None) -> None:
        self._means = means
        self._wake = wake

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
        return _Backfilling(self._means, job, report, self._wake).go()


class _Backfilling:
    """One job."""

    def __init__(self, means: Means, job: Job, report: Report, wake: Callable[[], None]) -> None:
        self._means = means
        self._job = job
        self._project = project_of(job)
        self._report = report
        self._wake = wake
        self._tally = Tally()
        self._begin = time.monotonic()
        self._doubles_until = float(job.payload or 0)
        self._is_to_look = bool(job.payload)
        self._answered = 0

    def go(self) -> dict[str, Any]:
        """Round after round, until nothing is due."""
        if self._means.jobs.parts(self._job):  # it is for them to say which task ends workers
            self._means.jobs.got_somewhere(self._job.id, self._job.owner or "")
        try:
            with self._alone():
                while patiently(self._round, self._project, self._report):
                    pass
        except Stopped:  # who comes next goes on with the ranges, unless nobody shall
            with suppress(StoreUnavailable):
                now = self._means.jobs.get(self._job.id)
                if now is None or now.status == "cancelled":
                    self._forget_ranges()
            raise
        except StoreUnavailable:
            raise
        except PrelabelError:
            self._forget_ranges()
            raise
        self._forget_ranges()
        self._come_again()
        return self._result()

    def _result(self) -> dict[str, Any]:
        counts = self._tally.counts()
        since = self._job.due.timestamp()
        failed = failed_since(self._means.engine, self._means.studio.url, self._project, since)
        there = counts.pushed + counts.already_there
        said = f"Label Studio holds predictions of {there} tasks"
        said += f", {len(failed)} failed." if failed else "."
        return {
            "predicted": counts.predicted,
            "empty": counts.empty,
            "failed": len(failed),
            "pushed": counts.pushed,
            "already_there": counts.already_there,
            "reasons": [failure.reason for failure in failed[:_MOST_REASONS]],
            "seconds": round(time.monotonic() - self._begin, 2),
            "message": said if there or failed else "Nothing was left to bring to Label Studio.",
        }

    def _alone(self) -> AbstractContextManager[object]:
        """Hold the project, once no batch run does so any more."""
        means, stack = self._means, ExitStack()
        path = run_lock(means.data_folder, means.studio.url, self._project)
        while True:
            try:
                stack.enter_context(held(path, f"project {self._project}"))
            except NotReady as error:
                wait(POLL_S, self._report, f"waits for a batch run: {error.cause}")
            else:
                return stack

    def _round(self) -> bool:
        """Bring what is due now; False when there is nothing to be brought."""
        means, number = self._means, self._project
        subject = Subject(means, number)
        version = subject.plan().model_version
        current, ledger = subject.campaign(version), subject.ledger(version)
        ledger.adopt()
        self._forget_ranges(but=version)
        for campaign in owing(means.engine, means.studio.url, number):
            if campaign.project_created != current.project_created:
                log.warning("what another project of this number asked for dropped", project=number)
                Ledger(means.engine, campaign).drop_all()
            elif campaign != current:
                self._go_through(subject, campaign.model_version)
        self._wait_for_answers(ledger)
        before = ledger.number_due()
        if not before and not self._is_to_look:
            return False
        self._is_to_look = False
        self._go_through(subject, version)
        return ledger.number_due() < before or subject.plan().model_version != version

    def _wait_for_answers(self, ledger: Ledger) -> None:
        """Leave to a later job what Label Studio is storing just now, if it does so."""
        studio, version = self._means.studio, ledger.campaign.model_version
        answered = ledger.number_answered()
        if answered:
            before = studio.model_versions(self._project).get(version, 0)
            wait(_LOOK_S, self._report, "looks whether Label Studio is still storing an answer")
            if studio.model_versions(self._project).get(version, 0) - before >= _BEING_STORED:
                ledger.look_later(_LOOK_LATER_S)
            else:
                self._answered += answered

    def _go_through(self, subject: Subject, version: str) -> None:
        round_of_it = Round(
            self._means, self._job, subject, version, self._tally, self._report, self._wake
        )
        round_of_it.go()

    def _forget_ranges(self, but: str | None = None) -> None:
        """Take the ranges of this job out of the table, but those of a version."""
        jobs = self._means.jobs
        parts = jobs.parts(self._job)
        jobs.forget([part.id for part in parts if but is None or Range.of(part).version != but])

    def _come_again(self) -> None:
        """Submit a job for what is to be looked at later: what is being answered just now."""
        means, now = self._means, time.time()
        campaigns = owing(means.engine, means.studio.url, self._project)
        moments = [Ledger(means.engine, campaign).next_due() for campaign in campaigns]
        delays = [moment - now for moment in moments if moment is not None]
        # What is due already and was left has met something that may pass.
        delays = [delay_s if delay_s > 0 else LONGEST_PAUSE_S for delay_s in delays]
        lost = self._answered - self._tally.counts().already_there
        if lost > 0:  # or they are on their way still, and come beside what was pushed
            self._doubles_until = now + _LATEST_S + self._answered / _SLOWEST_PER_S
        looks = self._doubles_until > now
        if looks:
            delays.append(self._doubles_until - now)
        if delays:
            until = self._doubles_until if looks else None
            submit(means.jobs, means.studio.url, self._project, min(delays), doubles_until=until)
