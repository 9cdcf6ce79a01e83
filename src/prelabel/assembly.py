"""The one place that builds everything: settings in, a working server out."""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from prelabel.errors import OperatorError, SettingsError
from prelabel.gathering import Studio
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.siblings import Siblings
from prelabel.logs import configure
from prelabel.media.addresses import AddressPolicy
from prelabel.media.cache import ImageCache
from prelabel.media.decode import decode
from prelabel.media.fetch import Fetcher
from prelabel.media.limits import Limits
from prelabel.media.references import ImageReference, Origin, shown
from prelabel.plan import Predictors
from prelabel.predictors import registry
from prelabel.predictors.base import Predictor
from prelabel.predictors.fallback import Fallback
from prelabel.server.service import Service
from prelabel.settings import Settings, load
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
    studio = _label_studio_of_server(settings)
    return Service(
        predictors(settings),
        Studio(
            images=_images(settings),
            fetchers=ThreadPoolExecutor(settings.fetch_threads, thread_name_prefix="fetch"),
            siblings=Siblings(studio) if studio else lambda _: (),
        ),
        origin=_origin(settings, studio),
        deadline_s=settings.predict_deadline_seconds,
        threads=settings.predict_threads,
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


def _images(settings: Settings) -> ImageCache:
    held_to, source = limits(settings), fetcher(settings)

    def load_image(reference: ImageReference) -> Image:
        return decode(source.fetch(reference), shown(reference.uri), held_to)

    return ImageCache(load_image, max_bytes=settings.image_cache_mb * _MB)


def label_studio(
    settings: Settings, *, timeout_s: float = PATIENT_S, attempts: int = 4
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
    )


def _label_studio_of_server(settings: Settings) -> LabelStudio | None:
    """The client for images and neighbouring frames, where an address and a login are set."""
    signed_in = settings.label_studio_api_key or settings.label_studio_password
    if not settings.label_studio_url or not signed_in:
        return None
    return label_studio(settings, timeout_s=_SIBLINGS_TIMEOUT_S, attempts=1)


def _origin(settings: Settings, studio: LabelStudio | None) -> Origin | None:
    if not settings.label_studio_url:
        return None
    auth = studio.auth if studio else None
    return Origin(settings.label_studio_url, auth, settings.label_studio_aliases)
