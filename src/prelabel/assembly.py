"""The one place that builds everything: settings in, a working server out."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from prelabel.backfill_assembly import backfill, backfilling, teacher, untaught
from prelabel.errors import OperatorError, SettingsError, TaskError
from prelabel.gathering import Studio
from prelabel.jobs.backfill import Backfill
from prelabel.jobs.learner import Learner
from prelabel.jobs.requests import Trainings
from prelabel.jobs.retrieves import KIND as BACKFILL
from prelabel.jobs.runner import make_runner
from prelabel.jobs.training import KIND as TRAINING
from prelabel.jobs.training import Training
from prelabel.jobs.work import Runner, Work
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.session import Observe, unobserved
from prelabel.labelstudio_api.siblings import Siblings
from prelabel.learning.sequence import Options
from prelabel.logs import configure
from prelabel.media.addresses import AddressPolicy
from prelabel.media.cache import ImageCache
from prelabel.media.decode import decode
from prelabel.media.fetch import Fetcher
from prelabel.media.limits import Limits
from prelabel.media.references import ImageReference, Origin, shown
from prelabel.media.room import ImageRoom
from prelabel.plan import Predictors
from prelabel.predictors import registry
from prelabel.predictors.base import Predictor
from prelabel.predictors.fallback import Fallback
from prelabel.runtime.batch_queue import BatchQueue
from prelabel.runtime.batcher import Batcher
from prelabel.runtime.clock import UNTIMED, Clock
from prelabel.server.admission import Admission
from prelabel.server.backfilling import Backfilling
from prelabel.server.gauges import OfCache
from prelabel.server.learning import Learning
from prelabel.server.metrics import Metrics
from prelabel.server.service import Service
from prelabel.settings import Settings, load
from prelabel.store.database import Database, open_database
from prelabel.store.jobs import Jobs
from prelabel.store.learned import LearnedVersions
from prelabel.types import Image

if TYPE_CHECKING:
    from fastapi import FastAPI

_MB = 1024 * 1024
DEFAULT_LABEL_STUDIO_URL = "http://localhost:8080"
PATIENT_S = 120.0
"""Label Studio needs long for a page of tasks with all their keypoints."""
_SIBLINGS_TIMEOUT_S = 10.0
_SWITCH_INTERVAL_S = 0.0005
"""How long a thread of a model may hold the interpreter while /health waits for it; 10 times
shorter than Python's default, which alone is 5 ms of each answer."""


def app() -> "FastAPI":
    """The ASGI application, from the settings of this process's environment."""
    from prelabel.server.app import make_app  # noqa: PLC0415 - commands that serve nothing

    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    settings = load()
    configure(settings.log_level, settings.log_format)
    return make_app(service(settings), settings)


def service(settings: Settings) -> Service:
    """The server's working parts; nothing is loaded and nothing is fetched yet."""
    metrics = Metrics()
    studio = _label_studio_of_server(settings, metrics.called)
    room = ImageRoom((settings.max_queued_mb + settings.image_cache_mb) * _MB)
    cache = images(settings, _counted(fetcher(settings), metrics), metrics, room.keep)
    metrics.watch(OfCache(cache.counts))
    found_by = _queued(predictors(settings), metrics)
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
    )


def _queued(found_by: Predictors, metrics: Metrics) -> Predictors:
    """The same predictors with a queue in front of each, for the many callers of a server."""

    def queued(predictor: Predictor) -> Batcher:
        return Batcher(BatchQueue(predictor, lambda *ran: metrics.ran(predictor.name, *ran)))

    return Predictors(queued(found_by.boxes), queued(found_by.poses))


def _backfilling(
    settings: Settings,
    found_by: Predictors,
    shared: Studio,
    taught: Learning | None,
    observe: Observe,
) -> Backfilling | None:
    """What goes on in the background after an answer; None without a login of Label Studio."""
    if not _is_signed_in(settings):
        return None
    opened, studio = database(settings), label_studio(settings, observe=observe)
    teach = taught.teach if taught else untaught
    does = backfill(settings, opened, studio, found_by, shared, teach)
    # Trainings have a runner of their own, and do not wait for hours of predicting.
    runner = make_runner(settings.redis_url.get_secret_value(), Jobs(opened), {BACKFILL: does})
    return backfilling(settings, opened, runner)


def database(settings: Settings) -> Database:
    """The database of jobs, learnt versions and runs; its tables are made where they are missing.

    Raises:
        SettingsError: It cannot be opened.
    """
    return open_database(settings.database_url.get_secret_value(), settings.data_folder)


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
        work(settings, versions, learnt=learner.refresh, observe=observe),
    )
    trainings = Trainings(
        jobs,
        url,
        can_fetch=_is_signed_in(settings),
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


def runners_of_worker(settings: Settings) -> list[Runner]:
    """What does the jobs of servers that share the database and the Redis; not begun yet.

    Each kind has a runner and threads of its own: a training does not wait for hours of predicting.

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
    does = work(settings, versions)
    if _is_signed_in(settings):
        does[BACKFILL] = _backfill_of_worker(settings, opened, versions)
    url, threads = settings.redis_url.get_secret_value(), settings.worker_threads
    return [make_runner(url, jobs, {kind: one}, threads=threads) for kind, one in does.items()]


def work(
    settings: Settings,
    versions: LearnedVersions,
    *,
    learnt: Callable[[], None] = lambda: None,
    observe: Observe = unobserved,
) -> dict[str, Work]:
    """What does each kind of job, in a server as in a worker.

    Args:
        settings: How to do it.
        versions: Where what is learnt is kept.
        learnt: Called when another version answers.
        observe: Told of each request to Label Studio.
    """
    return {TRAINING: training(settings, versions, learnt=learnt, observe=observe)}


def _backfill_of_worker(
    settings: Settings, opened: Database, versions: LearnedVersions
) -> Backfill:
    """What does backfills, with models, images and learnt versions of its own."""
    studio = label_studio(settings)
    cache = images(settings, fetcher(settings).fetch, UNTIMED)
    fetchers = ThreadPoolExecutor(settings.fetch_threads, thread_name_prefix="fetch")
    found_by = _queued(predictors(settings), Metrics())
    shared = Studio(cache, fetchers, Siblings(studio))
    return backfill(settings, opened, studio, found_by, shared, teacher(settings, versions))


def training(
    settings: Settings,
    versions: LearnedVersions,
    *,
    learnt: Callable[[], None] = lambda: None,
    observe: Observe = unobserved,
) -> Training:
    """What trains the projects of the Label Studio in the settings."""
    return Training(
        versions,
        label_studio(settings, observe=observe) if _is_signed_in(settings) else None,
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


def predictors(settings: Settings) -> Predictors:
    """What finds boxes and poses, each with a predictor behind it that is always there."""
    return Predictors(
        boxes=_with_fallback(settings.boxes_predictor, "opencv-fallback", settings),
        poses=_with_fallback(settings.poses_predictor, "embedded-pose", settings),
    )


def _with_fallback(name: str, last_resort: str, settings: Settings) -> Predictor:
    """A predictor by name, with one behind it that needs no weights from elsewhere."""
    options = settings.options()
    runs_embedded = {} if settings.backend == "openvino" else {"BACKEND": "onnxruntime"}
    second = registry.create(last_resort, options | runs_embedded)
    if name == last_resort:
        return second
    try:
        return Fallback(registry.create(name, options), second)
    except SettingsError:
        raise
    except OperatorError as error:
        return Fallback.given_up(name, error, second)


def limits(settings: Settings) -> Limits:
    """What every image is held to."""
    return Limits(
        max_bytes=settings.max_image_mb * _MB,
        max_pixels=int(settings.max_image_megapixels * 1e6),
        fetch_timeout_s=settings.fetch_timeout_seconds,
        connect_timeout_s=settings.fetch_connect_timeout_seconds,
        max_redirects=settings.fetch_max_redirects,
    )


def fetcher(settings: Settings) -> Fetcher:
    """Fetches the bytes of images."""
    return Fetcher(
        limits(settings),
        AddressPolicy(settings.fetch_allowed_hosts),
        settings.local_files_document_root,
        verify_tls=settings.verify_ssl,
    )


def images(
    settings: Settings,
    fetch: Callable[[ImageReference], bytes],
    clock: Clock,
    keep: Callable[[Image], Image] = lambda image: image,
) -> ImageCache:
    """Decoded images.

    Args:
        settings: What they are held to, and how many are kept.
        fetch: Gives the bytes of one.
        clock: Times the stages "fetch" and "decode".
        keep: Called with each decoded image; gives it back.
    """
    held_to = limits(settings)

    def load_image(reference: ImageReference) -> Image:
        with clock.busy("fetch"):
            data = fetch(reference)
        with clock.busy("decode"):
            return keep(decode(data, shown(reference.uri), held_to))

    return ImageCache(load_image, max_bytes=settings.image_cache_mb * _MB)


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


def label_studio(
    settings: Settings,
    *,
    timeout_s: float = PATIENT_S,
    attempts: int = 4,
    observe: Observe = unobserved,
) -> LabelStudio:
    """A client of the Label Studio in the settings, signed in as they say.

    Raises:
        SettingsError: They name neither a token nor a login.
    """
    return LabelStudio(
        settings.label_studio_url or DEFAULT_LABEL_STUDIO_URL,
        token=settings.label_studio_api_key.get_secret_value() or None,
        username=settings.label_studio_username or None,
        password=settings.label_studio_password.get_secret_value() or None,
        timeout_s=timeout_s,
        attempts=attempts,
        verify=settings.verify_ssl,
        observe=observe,
    )


def _label_studio_of_server(settings: Settings, observe: Observe) -> LabelStudio | None:
    """The client for images and neighbouring frames, where an address and a login are set."""
    if not _is_signed_in(settings):
        return None
    return label_studio(settings, timeout_s=_SIBLINGS_TIMEOUT_S, attempts=1, observe=observe)


def _is_signed_in(settings: Settings) -> bool:
    """Whether an address and a login of Label Studio are set."""
    login = settings.label_studio_api_key or settings.label_studio_password
    return bool(settings.label_studio_url and login)


def _origin(settings: Settings, studio: LabelStudio | None) -> Origin | None:
    if not settings.label_studio_url:
        return None
    auth = studio.auth if studio else None
    return Origin(settings.label_studio_url, auth, settings.label_studio_aliases)
