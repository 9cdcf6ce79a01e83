"""An annotator's day: the backend, warmed up, and Label Studio beside it, until Ctrl-C."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from prelabel.assembly.credentials import credentials
from prelabel.errors import SettingsError
from prelabel.launch import backend, label_studio
from prelabel.launch.processes import Child, Trust, ending_on_signals, watch
from prelabel.settings import Settings

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Studio:
    """What to run, and where.

    Attributes:
        label_studio_url: Where Label Studio answers, or is to.
        backend_url: Where the backend answers, or is to.
        label_studio: The `label-studio` program; None: looked for.
        data_dir: Label Studio's data; None: where it puts it by itself.
        logs_dir: Where the logs of what we start go.
        arguments: More arguments for `label-studio start`.
    """

    label_studio_url: str
    backend_url: str
    label_studio: Path | None
    data_dir: Path | None
    logs_dir: Path
    arguments: tuple[str, ...] = ()


def keep_up(studio: Studio, settings: Settings, picture: bytes | None, say: Say) -> None:
    """Start what does not answer yet, warm the backend up, and stay until Ctrl-C.

    Returns at once where both were running before: there is nothing to look after.

    Raises:
        PrelabelError: Something did not start; what was started before it is stopped.
    """
    with ending_on_signals(), ExitStack() as started:
        try:
            children = [*_label_studio(studio, settings, started, say)]
            more, trust = _backend(studio, settings, started, say)
            children += more
            warm = backend.warm_up(
                studio.backend_url,
                picture or backend.plain_picture(),
                auth=credentials(settings),
                verify=trust,
            )
            for line in backend.story(warm):
                say(line)
            say(f"Label Studio: {studio.label_studio_url}   backend: {studio.backend_url}")
            if children:
                say(f"logs: {studio.logs_dir}   Ctrl-C stops what was started here")
                watch(children)
        except KeyboardInterrupt:
            say("stopping")


def _label_studio(studio: Studio, settings: Settings, started: ExitStack, say: Say) -> list[Child]:
    if label_studio.is_running(studio.label_studio_url):
        say(f"Label Studio: already at {studio.label_studio_url}")
        return []
    username = settings.label_studio_username
    password = settings.label_studio_password.get_secret_value()
    installation = label_studio.Installation(
        label_studio.find_executable(studio.label_studio),
        data_dir=studio.data_dir,
        files_root=settings.local_files_document_root,
        first_user=label_studio.FirstUser(username, password) if username and password else None,
        arguments=studio.arguments,
    )
    say("Label Studio: starting (the first start makes its database: a minute or so)")
    log_path = studio.logs_dir / "label-studio.log"
    return [started.enter_context(installation.running(studio.label_studio_url, log_path=log_path))]


def _backend(
    studio: Studio, settings: Settings, started: ExitStack, say: Say
) -> tuple[list[Child], Trust]:
    """The backend, where it is started here, and which certificates are trusted of it."""
    ours = backend.own_certificate(settings)
    for trust in (ours, settings.verify_ssl):
        if backend.is_running(studio.backend_url, credentials(settings), trust):
            say(f"backend: already at {studio.backend_url}")
            return [], trust
    _require_its_scheme(studio.backend_url, settings)
    login = settings.label_studio_username
    password = settings.label_studio_password.get_secret_value()
    if not settings.label_studio_api_key.get_secret_value() and not (login and password):
        say(
            "backend: cannot fetch uploaded images without a token or a login; "
            "set LABEL_STUDIO_API_KEY to a token from Account & Settings"
        )
    environment = {
        "LABEL_STUDIO_URL": settings.label_studio_url or studio.label_studio_url,
        "LABEL_STUDIO_USERNAME": login,  # a flag may have given it, which the child does not see
        "LABEL_STUDIO_PASSWORD": password,
    }
    child = backend.start(
        studio.backend_url,
        log_path=studio.logs_dir / "backend.log",
        environment=environment,
        verify=ours,
    )
    return [started.enter_context(child)], ours


def _require_its_scheme(url: str, settings: Settings) -> None:
    """Refuse an address at which a backend with these settings would never answer."""
    is_https = url.startswith("https:")
    if settings.ssl_certfile and not is_https:
        raise SettingsError(
            f"backend {url}",
            "none answers there, and one that is started with SSL_CERTFILE speaks https only",
            "Give --backend-url with https://, or leave SSL_CERTFILE and SSL_KEYFILE out.",
        )
    if is_https and not settings.ssl_certfile:
        raise SettingsError(
            f"backend {url}",
            "none answers there whose certificate is trusted, and one that is started without "
            "SSL_CERTFILE speaks http only",
            "Set SSL_CERTFILE and SSL_KEYFILE to start one, or VERIFY_SSL to trust one.",
        )
