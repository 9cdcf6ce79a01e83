"""Builds a server: settings in, a working one out."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from prelabel.assembly.jobs import (
    backfill_means,
    backfill_runners,
    queued,
    training,
    untaught,
)
from prelabel.assembly.parts import (
    database,
    fetcher,
    images,
    is_signed_in,
    label_studio,
    predictors,
)
from prelabel.assembly.remembering import memory, remembering
from prelabel.assembly.watching import watch_over_models
from prelabel.errors import TaskError
from prelabel.gathering import Studio
from prelabel.jobs.learner import Learner
from prelabel.jobs.requests import Trainings
from prelabel.jobs.retrieves import Retrieves
from prelabel.jobs.runner import Together, make_runner
from prelabel.jobs.training import KIND as TRAINING
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.session import Observe, unobserved
from prelabel.labelstudio_api.siblings import Siblings
from prelabel.logs import configure
from prelabel.media.fetch import Fetcher
from prelabel.media.references import ImageReference, Origin
from prelabel.media.room import ImageRoom
from prelabel.plan import Predictors
from prelabel.predictors.fallback import RETRY_S
from prelabel.runtime.ending import Ending
from prelabel.server.admission import Admission
from prelabel.server.afterwards import Afterwards
from prelabel.server.backfilling import Backfilling
from prelabel.server.gauges import OfCache, OfMachine, OfMemory, OfRoom
from prelabel.server.learning import Learning
from prelabel.server.metrics import Metrics
from prelabel.server.processes import Processes, folder_of_siblings
from prelabel.server.service import Service
from prelabel.server.signing_in import SigningIn
from prelabel.settings import Settings, load
from prelabel.store.jobs import Jobs
from prelabel.store.learned import LearnedVersions

_SWITCH_INTERVAL_S = 0.0005
"""How long a thread of a model may hold the interpreter while /health waits for it; 10 times
shorter than Python's default, which alone is 5 ms of each answer."""
_MB = 1024 * 1024
_SIBLINGS_TIMEOUT_S = 10.0

if TYPE_CHECKING:
    from fastapi import FastAPI


def app() -> "FastAPI":
    """The ASGI application, from the settings of this process's environment."""
    from prelabel.server.app import make_app  # noqa: PLC0415 - commands that serve nothing

    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    settings = load()
    configure(settings.log_level, settings.log_format)
    ending = Ending(is_started_anew=is_started_anew(settings))
    processes = Processes(folder_of_siblings() if settings.workers > 1 else None)
    return make_app(service(settings, ending), settings, processes)


def is_started_anew(settings: Settings) -> bool:
    """Whether somebody replaces this process when it ends.

    Of several server processes their parent does, and of the first process of a container whoever
    runs that.
    """
    return settings.workers > 1 or os.getpid() == 1


def service(settings: Settings, ending: Ending | None = None) -> Service:
    """The server's working parts; nothing is loaded and nothing is fetched yet.

    Args:
        settings: How to work.
        ending: Ends this process though a model hangs in it; None where nobody may.
    """
    metrics = Metrics()
    studio = _label_studio_of_server(settings, metrics.called)
    room = ImageRoom((settings.max_queued_mb + settings.image_cache_mb) * _MB)
    cache = images(settings, _counted(fetcher(settings), metrics), metrics, room.keep)
    metrics.watch(OfCache(cache.counts))
    metrics.watch(OfRoom(room))
    metrics.watch(OfMachine(settings.data_folder))
    known = memory(settings)
    watch = watch_over_models(settings, ending.hung if ending else lambda _: None)
    found_by = remembering(
        predictors(settings, retry_s=RETRY_S),
        known,
        lambda found_by: queued(found_by, metrics.ran, watch),
    )

    def close() -> None:
        if known:
            known.close()
        watch.close()
        if ending:
            ending.closed(lambda: watch.hangs)

    if known:
        metrics.watch(OfMemory(known.counts))
    shared = Studio(
        images=cache,
        fetchers=ThreadPoolExecutor(settings.fetch_threads, thread_name_prefix="fetch"),
        siblings=Siblings(studio) if studio else lambda _: (),
        room=room,
    )
    taught = learning(settings, metrics.called) if settings.sequence_learning_enabled else None
    return Service(
        found_by,
        shared,
        origin=_origin(settings, studio),
        deadline_s=settings.predict_deadline_seconds,
        threads=settings.predict_threads,
        admission=Admission(settings.max_queued_tasks, settings.max_queued_mb * _MB),
        learning=taught,
        backfilling=_backfilling(settings, found_by, shared, taught, metrics.called),
        metrics=metrics,
        afterwards=Afterwards(shared) if known and not is_signed_in(settings) else None,
        signing_in=SigningIn(studio.whoami) if studio else None,
        closing=close,
    )


def _backfilling(
    settings: Settings,
    found_by: Predictors,
    shared: Studio,
    taught: Learning | None,
    observe: Observe,
) -> Backfilling | None:
    """What goes on in the background after an answer; None without a login of Label Studio."""
    if not is_signed_in(settings):
        return None
    opened, studio = database(settings), label_studio(settings, observe=observe)
    teach = taught.teach if taught else untaught
    means = backfill_means(settings, opened, studio, found_by, shared, teach)
    # Trainings have a runner of their own, and do not wait for hours of predicting.
    runner = Together(backfill_runners(settings, means))
    retrieves = Retrieves(
        opened,
        means.jobs,
        settings.label_studio_url,
        budget_s=settings.predict_deadline_seconds,
        wake=runner.wake,
    )
    return Backfilling(retrieves, runner, means.jobs)


def learning(settings: Settings, observe: Observe = unobserved) -> Learning:
    """The learning loop of a server; nothing is begun yet.

    Args:
        settings: How to learn.
        observe: Told of each request to Label Studio.
    """
    opened = database(settings)
    jobs, versions = Jobs(opened), LearnedVersions(opened)
    url = settings.label_studio_url
    learner = Learner(versions, url)
    runner = make_runner(
        settings.redis_url.get_secret_value(),
        jobs,
        {TRAINING: training(settings, versions, learnt=learner.refresh, observe=observe)},
    )
    trainings = Trainings(
        jobs,
        url,
        can_fetch=is_signed_in(settings),
        delay_s=settings.sequence_event_delay_seconds,
        wake=runner.wake,
    )
    return Learning(
        trainings=trainings,
        learner=learner,
        runner=runner,
        jobs=jobs,
        min_samples=settings.sequence_min_train_samples,
        prefer=settings.sequence_prefer_trained,
        on_annotations=settings.sequence_train_on_annotation_events,
    )


def _label_studio_of_server(settings: Settings, observe: Observe) -> LabelStudio | None:
    """The client for images and neighbouring frames, where an address and a login are set."""
    if not is_signed_in(settings):
        return None
    return label_studio(settings, timeout_s=_SIBLINGS_TIMEOUT_S, attempts=1, observe=observe)


def _counted(source: Fetcher, metrics: Metrics) -> Callable[[ImageReference], bytes]:
    """What fetches images, each counted."""

    def fetch(reference: ImageReference) -> bytes:
        try:
            data = source.fetch(reference)
        except TaskError as error:
            metrics.not_fetched(error)
            raise
        metrics.fetched(len(data))
        return data

    return fetch


def _origin(settings: Settings, studio: LabelStudio | None) -> Origin | None:
    if not settings.label_studio_url:
        return None
    auth = studio.auth if studio else None
    return Origin(settings.label_studio_url, auth, settings.label_studio_aliases)
