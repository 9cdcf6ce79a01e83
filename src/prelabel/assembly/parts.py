"""Builds what servers, workers, batch runs and commands have in common: settings in, parts out."""

from collections.abc import Callable
from dataclasses import replace

from prelabel.errors import OperatorError, SettingsError
from prelabel.gathering import Access
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.session import Json, Observe, unobserved
from prelabel.media.addresses import AddressPolicy, AddressRefused
from prelabel.media.cache import ImageCache
from prelabel.media.decode import content_digest, decode
from prelabel.media.fetch import Fetcher
from prelabel.media.limits import Limits
from prelabel.media.references import ImageReference, Origin, parse_url, shown
from prelabel.plan import Predictors
from prelabel.predictors import registry
from prelabel.predictors.base import Predictor
from prelabel.predictors.fallback import Fallback
from prelabel.runtime.clock import Clock
from prelabel.settings import Settings, hand_down
from prelabel.store.database import Database, open_database
from prelabel.types import Image

_MB = 1024 * 1024
DEFAULT_LABEL_STUDIO_URL = "http://localhost:8080"
PATIENT_S = 120.0
"""Label Studio needs long for a page of tasks with all their keypoints."""

_QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
"""What keeps libraries of models, not imported yet, from telling their makers what they do."""
_OFFLINE = {"HF_HUB_OFFLINE": "1"}
_THIS_MACHINE = ("localhost", "127.0.0.0/8", "::1")


def database(settings: Settings) -> Database:
    """The database of jobs, learnt versions and runs; its tables are made where they are missing.

    Raises:
        SettingsError: It cannot be opened.
    """
    return open_database(settings.database_url.get_secret_value(), settings.data_folder)


def predictors(settings: Settings, *, retry_s: float | None = None) -> Predictors:
    """What finds boxes and poses, each with a predictor behind it that is always there.

    Args:
        settings: Which ones.
        retry_s: After how long missing weights are looked for again; see `Fallback`.
    """
    hand_down(_QUIET | (_OFFLINE if settings.local_data_only else {}))
    return Predictors(
        boxes=_with_fallback(settings.boxes_predictor, "opencv-fallback", settings, retry_s),
        poses=_with_fallback(settings.poses_predictor, "embedded-pose", settings, retry_s),
    )


def _with_fallback(
    name: str, last_resort: str, settings: Settings, retry_s: float | None
) -> Predictor:
    """A predictor by name, with one behind it that needs no weights from elsewhere."""
    options = settings.options()
    runs_embedded = {} if settings.backend == "openvino" else {"BACKEND": "onnxruntime"}
    second = registry.create(last_resort, options | runs_embedded)
    if name == last_resort:
        return second
    try:
        return Fallback(registry.create(name, options), second, retry_s=retry_s)
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
        AddressPolicy(settings.fetch_allowed_hosts, settings.local_data_only),
        settings.local_files_document_root,
        verify_tls=settings.verify_ssl,
    )


def require_named(settings: Settings, url: str) -> None:
    """Refuse to send images to a server elsewhere that nobody named, where none may leave.

    Raises:
        SettingsError: LOCAL_DATA_ONLY is set, and the server is neither on this machine nor in
            FETCH_ALLOWED_HOSTS.
    """
    parsed = parse_url(url)
    if parsed is None or not settings.local_data_only:
        return
    named = AddressPolicy((*settings.fetch_allowed_hosts, *_THIS_MACHINE), local_only=True)
    try:
        named.require_named(parsed)
    except AddressRefused as error:
        raise SettingsError(f"backend {shown(url)}", error.cause, error.next_step) from error


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
    is_remembered = settings.prediction_store_mb > 0

    def load_image(reference: ImageReference) -> Image:
        with clock.busy("fetch"):
            data = fetch(reference)
        with clock.busy("decode"):
            image = keep(decode(data, shown(reference.uri), held_to))
            return replace(image, digest=content_digest(data)) if is_remembered else image

    return ImageCache(load_image, max_bytes=settings.image_cache_mb * _MB)


def label_studio(
    settings: Settings,
    *,
    timeout_s: float = PATIENT_S,
    attempts: int = 4,
    first_pause_s: float = 0.25,
    longest_pause_s: float = 60.0,
    observe: Observe = unobserved,
) -> LabelStudio:
    """A client of the Label Studio in the settings, signed in as they say; see `Session`.

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
        first_pause_s=first_pause_s,
        longest_pause_s=longest_pause_s,
        verify=settings.verify_ssl,
        observe=observe,
    )


def access_to(settings: Settings, studio: LabelStudio, project: Json) -> Access:
    """What the images of a project of this Label Studio may be fetched with."""
    return Access(
        project.get("task_data_login") or None,
        project.get("task_data_password") or None,
        Origin(studio.url, studio.auth, settings.label_studio_aliases),
    )


def is_signed_in(settings: Settings) -> bool:
    """Whether an address and a login of Label Studio are set."""
    login = settings.label_studio_api_key or settings.label_studio_password
    return bool(settings.label_studio_url and login)
