"""What every step of a backfill works with, and how it waits for a Label Studio that is away."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from prelabel.batch.preflight import prepare
from prelabel.batch.push import Manners
from prelabel.errors import LabelStudioError, consequence_of
from prelabel.gathering import Access, Studio
from prelabel.jobs.retrieves import WAITS
from prelabel.jobs.work import Report
from prelabel.labelstudio_api.client import LabelStudio, created_s
from prelabel.labelstudio_api.session import Json
from prelabel.plan import Plan, Predictors
from prelabel.store.database import Database
from prelabel.store.jobs import Jobs
from prelabel.store.journal import Campaign
from prelabel.store.ledger import Ledger

log = structlog.get_logger(__name__)

POLL_S = 2.0
"""First pause before Label Studio is asked again, doubled each time."""

LONGEST_PAUSE_S = 60.0
_LOOK_S = 0.2

_Outcome = TypeVar("_Outcome")


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


class Subject:
    """A project as Label Studio describes it now, and how its tasks are predicted.

    Args:
        means: What backfills work with.
        number: The project's number.

    Attributes:
        number: The project's number.
        created: When it was made, in whole seconds since 1970.
        access: What its images may be fetched with.

    Raises:
        NotReady: Its label config has nothing to fill, or no predictor can be used.
        LabelStudioError: Label Studio does not answer, or says no.
    """

    def __init__(self, means: Means, number: int) -> None:
        project = means.studio.project(number)
        self.number = number
        self.created = created_s(project)
        self.access = means.access(project)
        self._means = means
        self._plan, _ = prepare(project, means.predictors)

    def plan(self) -> Plan:
        """The plan with what is learnt by now."""
        return self._means.teach(self._plan, self.number, self.created)

    def campaign(self, version: str) -> Campaign:
        """What is asked of the project under the name of a model version."""
        return Campaign(self._means.studio.url, self.number, str(self.created), version)

    def ledger(self, version: str) -> Ledger:
        """The ledger of that."""
        return Ledger(self._means.engine, self.campaign(version))


def patiently(do: Callable[[], _Outcome], project: int, report: Report) -> _Outcome:
    """Do it again while Label Studio does not answer, with longer and longer pauses.

    Args:
        do: What asks Label Studio.
        project: The project's number.
        report: Is told what is waited for; raises `Stopped` where the waiting must end.
    """
    pause_s = POLL_S
    while True:
        try:
            return do()
        except LabelStudioError as error:
            if not consequence_of(error).retry:
                raise
            log.info("backfill waits", project=project, reason=str(error))
            wait(pause_s, report, f"{WAITS}: {error.cause}")
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def wait(seconds: float, report: Report, message: str) -> None:
    """Wait, and say why; ends with `Stopped` where the job must end."""
    until = time.monotonic() + seconds
    while (left_s := until - time.monotonic()) > 0:
        report(0.0, message)
        time.sleep(min(left_s, _LOOK_S))
