"""The one place that builds everything: settings in, a working server out."""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from prelabel.errors import OperatorError, SettingsError
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.siblings import Siblings
from prelabel.logs import configure
from prelabel.media.addresses import AddressPolicy
from prelabel.media.cache import ImageCache
from prelabel.media.decode import decode
from prelabel.media.fetch import Fetcher
from prelabel.media.limits import Limits
from prelabel.media.references import ImageReference, Origin, shown
from prelabel.pipeline import Studio
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
    label_studio = _label_studio(settings)
    return Service(
        predictors(settings),
        Studio(
            images=_images(settings),
            fetchers=ThreadPoolExecutor(settings.fetch_threads, thread_name_prefix="fetch"),
            siblings=Siblings(label_studio) if label_studio else lambda _: (),
        ),
        origin=_origin(settings, label_studio),
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


def _images(settings: Settings) -> ImageCache:
    held_to = limits(settings)
    fetcher = Fetcher(
        held_to,
        AddressPolicy(settings.fetch_allowed_hosts),
        settings.local_files_document_root,
        verify_tls=settings.verify_ssl,
    )

    def load_image(reference: ImageReference) -> Image:
        return decode(fetcher.fetch(reference), shown(reference.uri), held_to)

    return ImageCache(load_image, max_bytes=settings.image_cache_mb * _MB)


def _label_studio(settings: Settings) -> LabelStudio | None:
    """Signed in to Label Studio, where its address and a token or a login are set."""
    token = settings.label_studio_api_key.get_secret_value()
    password = settings.label_studio_password.get_secret_value()
    if not settings.label_studio_url or not (token or password):
        return None
    return LabelStudio(
        settings.label_studio_url,
        token=token or None,
        username=settings.label_studio_username or None,
        password=password or None,
        timeout_s=_SIBLINGS_TIMEOUT_S,
        verify=settings.verify_ssl,
    )


def _origin(settings: Settings, label_studio: LabelStudio | None) -> Origin | None:
    if not settings.label_studio_url:
        return None
    auth = label_studio.auth if label_studio else None
    return Origin(settings.label_studio_url, auth, settings.label_studio_aliases)
