"""Builds what does the jobs, in a server as in a worker."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from prelabel.assembly.parts import (
    access_to,
    database,
    fetcher,
    images,
    is_signed_in,
    label_studio,
    predictors,
)
from prelabel.assembly.remembering import memory, remembering
from prelabel.assembly.watching import watch_over_models
from prelabel.batch.push import Manners
from prelabel.errors import SettingsError
from prelabel.gathering import Studio
from prelabel.jobs.backfill import Backfill
from prelabel.jobs.backfill_means import Means
from prelabel.jobs.backfill_range import KIND as RANGE
from prelabel.jobs.backfill_range import RangePrediction
from prelabel.jobs.learner import Learner
from prelabel.jobs.retrieves import KIND as BACKFILL
from prelabel.jobs.runner import make_runner
from prelabel.jobs.training import KIND as TRAINING
from prelabel.jobs.training import Training
from prelabel.jobs.work import Runner
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.session import Observe, unobserved
from prelabel.labelstudio_api.siblings import Siblings
from prelabel.learning.sequence import Options
from prelabel.plan import Plan, Predictors, Taught
from prelabel.predictors.base import Predictor
from prelabel.predictors.fallback import RETRY_S
from prelabel.runtime.batch_queue import BatchQueue
from prelabel.runtime.batcher import Batcher
from prelabel.runtime.clock import UNTIMED
from prelabel.runtime.hanging import UNWATCHED, Hang, Watch
from prelabel.settings import Settings
from prelabel.store.database import Database
from prelabel.store.jobs import Jobs
from prelabel.store.learned import LearnedVersions

_BACKFILLS_ALONE = 4
"""Projects at a time in a server that does its jobs itself; they wait for ranges, most of all."""

_RANGES_ALONE = 2
"""Ranges at a time there: while one begins or ends, the model is busy with the other."""

Teach: TypeAlias = Callable[[Plan, int, int], Plan]
"""Gives a plan what was learnt, for a project's number and when it was made."""


def runners_of_worker(
    settings: Settings, hung: Callable[[Hang], None] = lambda _: None
) -> list[Runner]:
    """What does the jobs of servers that share the database and the Redis; not begun yet.

    Each kind has a runner and threads of its own: a training does not wait for hours of predicting.

    Args:
        settings: How to do them.
        hung: Called when a model hangs.

    Raises:
        SettingsError: The settings name no Redis, or a database that cannot be opened.
        MissingPackage: What speaks to Redis is not installed.
    """
    if not settings.redis_url:
        raise SettingsError(
            "REDIS_URL",
            "is not set, so that servers do their jobs themselves",
            "Set it here and where `prelabel serve` runs, or do without workers.",
        )
    opened = database(settings)
    jobs, versions = Jobs(opened), LearnedVersions(opened)
    does = {TRAINING: training(settings, versions)}
    url, threads = settings.redis_url.get_secret_value(), settings.worker_threads
    runners = [make_runner(url, jobs, does, threads=threads)]
    if is_signed_in(settings):
        watch = watch_over_models(settings, hung)
        means = _means_of_worker(settings, opened, versions, watch)
        runners += backfill_runners(settings, means, threads=threads)
    return runners


def _means_of_worker(
    settings: Settings, opened: Database, versions: LearnedVersions, watch: Watch
) -> Means:
    """What backfills work with where no server is, with models and images of their own."""
    studio = label_studio(settings)
    cache = images(settings, fetcher(settings).fetch, UNTIMED)
    fetchers = ThreadPoolExecutor(settings.fetch_threads, thread_name_prefix="fetch")
    found_by = remembering(
        predictors(settings, retry_s=RETRY_S),
        memory(settings),
        lambda found_by: queued(found_by, watch=watch),
    )
    shared = Studio(cache, fetchers, Siblings(studio))
    teach = teacher(settings, versions)
    return backfill_means(settings, opened, studio, found_by, shared, teach)


def training(
    settings: Settings,
    versions: LearnedVersions,
    *,
    learnt: Callable[[], None] = lambda: None,
    observe: Observe = unobserved,
) -> Training:
    """What trains the projects of the Label Studio in the settings, in a server as in a worker.

    Args:
        settings: How to do it.
        versions: Where what is learnt is kept.
        learnt: Called when another version answers.
        observe: Told of each request to Label Studio.
    """
    return Training(
        versions,
        label_studio(settings, observe=observe) if is_signed_in(settings) else None,
        settings.label_studio_url,
        options=Options(
            settings.sequence_mode,
            settings.sequence_k_neighbors,
            settings.sequence_min_train_samples,
        ),
        default_box_pct=(
            settings.sequence_default_box_width_pct,
            settings.sequence_default_box_height_pct,
        ),
        learnt=learnt,
    )


def backfill_runners(settings: Settings, means: Means, *, threads: int = 0) -> list[Runner]:
    """What does backfills and their ranges, or has them done; not begun yet.

    Each has threads of its own: a backfill waits for its ranges.

    Args:
        settings: Where the Redis is.
        means: What backfills work with.
        threads: Jobs of each kind that are done here at a time where there is a Redis.
    """
    url, jobs = settings.redis_url.get_secret_value(), means.jobs
    does_range = {RANGE: RangePrediction(means)}
    ranges = make_runner(url, jobs, does_range, threads=threads, alone=_RANGES_ALONE)
    does = {BACKFILL: Backfill(means, ranges.wake)}
    return [ranges, make_runner(url, jobs, does, threads=threads, alone=_BACKFILLS_ALONE)]


def backfill_means(
    settings: Settings,
    opened: Database,
    studio: LabelStudio,
    found_by: Predictors,
    shared: Studio,
    teach: Teach,
) -> Means:
    """What the backfills of the Label Studio in the settings work with.

    Args:
        settings: How Label Studio is treated.
        opened: The database.
        studio: Label Studio, signed in to.
        found_by: What finds boxes and poses.
        shared: Where images come from; backfills fetch them with threads of their own.
        teach: Gives a plan what was learnt.
    """
    fetchers = ThreadPoolExecutor(settings.fetch_threads, thread_name_prefix="fetch-backfill")
    return Means(
        opened,
        Jobs(opened),
        studio,
        found_by,
        teach,
        replace(shared, fetchers=fetchers),
        partial(access_to, settings, studio),
        manners_of(settings),
        settings.data_folder,
    )


def manners_of(settings: Settings) -> Manners:
    """How runs and backfills treat Label Studio."""
    return Manners(settings.request_delay_seconds, settings.max_retries, settings.max_backoff_delay)


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


def queued(
    found_by: Predictors,
    ran: Callable[[str, int, float], None] = lambda *_: None,
    watch: Watch = UNWATCHED,
) -> Predictors:
    """The same predictors with a queue in front of each, for the many callers of a server.

    Args:
        found_by: What finds boxes and poses.
        ran: Told of each batch: the predictor's name, the number of images, the seconds.
        watch: Notices batches from which a predictor does not come back.
    """

    def queue(predictor: Predictor) -> Batcher:
        return Batcher(BatchQueue(predictor, lambda *batch: ran(predictor.name, *batch), watch))

    return Predictors(queue(found_by.boxes), queue(found_by.poses))
