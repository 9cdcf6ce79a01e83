"""Builds what does backfills, in a server as in a worker."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeAlias

from prelabel.batch.push import Manners
from prelabel.gathering import Access, Studio
from prelabel.jobs.backfill import Backfill, Means
from prelabel.jobs.learner import Learner
from prelabel.jobs.retrieves import Retrieves
from prelabel.jobs.work import Runner
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.session import Json
from prelabel.media.references import Origin
from prelabel.plan import Plan, Predictors, Taught
from prelabel.server.backfilling import Backfilling
from prelabel.settings import Settings
from prelabel.store.database import Database
from prelabel.store.jobs import Jobs
from prelabel.store.learned import LearnedVersions

Teach: TypeAlias = Callable[[Plan, int, int], Plan]
"""Gives a plan what was learnt, for a project's number and when it was made."""


def backfill(
    settings: Settings,
    opened: Database,
    studio: LabelStudio,
    found_by: Predictors,
    shared: Studio,
    teach: Teach,
) -> Backfill:
    """What does the backfills of the Label Studio in the settings.

    Args:
        settings: How Label Studio is treated.
        opened: The database.
        studio: Label Studio, signed in to.
        found_by: What finds boxes and poses.
        shared: Where images come from; backfills fetch them with threads of their own.
        teach: Gives a plan what was learnt.
    """
    fetchers = ThreadPoolExecutor(settings.fetch_threads, thread_name_prefix="fetch-backfill")

    def access(project: Json) -> Access:
        return Access(
            project.get("task_data_login") or None,
            project.get("task_data_password") or None,
            Origin(studio.url, studio.auth, settings.label_studio_aliases),
        )

    manners = Manners(
        settings.request_delay_seconds, settings.max_retries, settings.max_backoff_delay
    )
    return Backfill(
        Means(
            opened,
            Jobs(opened),
            studio,
            found_by,
            teach,
            replace(shared, fetchers=fetchers),
            access,
            manners,
            settings.data_folder,
        )
    )


def backfilling(settings: Settings, opened: Database, runner: Runner) -> Backfilling:
    """What a server needs to have backfills done by a runner."""
    jobs = Jobs(opened)
    retrieves = Retrieves(
        opened,
        jobs,
        settings.label_studio_url,
        budget_s=settings.predict_deadline_seconds,
        wake=runner.wake,
    )
    return Backfilling(retrieves, runner, jobs)


def teacher(settings: Settings, versions: LearnedVersions) -> Teach:
    """What teaches plans in a process that serves nothing: it asks the store each time."""
    if not settings.sequence_learning_enabled:
        return untaught
    learner = Learner(versions, settings.label_studio_url)

    def teach(plan: Plan, project: int, created: int) -> Plan:
        learner.refresh()
        known = learner.of(project, created)
        return plan.taught(known and Taught(*known, settings.sequence_prefer_trained))

    return teach


def untaught(plan: Plan, _project: int, _created: int) -> Plan:
    """The plan as it is, where nothing is learnt."""
    return plan
