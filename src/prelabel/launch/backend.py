"""The prelabel backend as a child process, and the first prediction that makes it ready."""

import base64
import io
import secrets
import ssl
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image

from prelabel.errors import LoginRefused, ModelError, OperatorError, SettingsError
from prelabel.labelstudio_api.refusals import NOT_TRUSTED, base_address, is_about_certificates
from prelabel.launch.label_studio import free_place
from prelabel.launch.processes import PROBE_TIMEOUT_S, Child, Trust
from prelabel.settings import Settings

NAME = "prelabel backend"
PROJECT = "warm-up"
"""The project under which the backend counts warm-ups."""
START_TIMEOUT_S = 60.0
PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What the first prediction showed.

    Attributes:
        seconds: How long it took, with loading the model.
        model_version: What answered.
        reasons: Why a fallback answers instead of what was wanted; empty where none does.
    """

    seconds: float
    model_version: str
    reasons: tuple[str, ...]


def start(
    url: str, *, log_path: Path, environment: Mapping[str, str], verify: Trust = True
) -> Child:
    """Start `prelabel serve` on the host and port of `url` and wait until it answers.

    Args:
        url: Where it will answer, for example "http://127.0.0.1:9090".
        log_path: Where its output goes.
        environment: Settings for it, by their environment names.
        verify: Which certificates are trusted, where it serves HTTPS.

    Raises:
        OperatorError: The port is taken, or it did not come up.
    """
    host, port = free_place(url)
    program = str(Path(sysconfig.get_path("scripts")) / "prelabel")
    command = [program, "serve", "--host", host, "--port", str(port)]
    child = Child.start(NAME, command, log_path=log_path, environment=environment)
    try:
        child.wait_until_answers(f"{url}/health", timeout_s=START_TIMEOUT_S, verify=verify)
    except BaseException:
        child.stop()
        raise
    return child


def own_url(settings: Settings) -> str:
    """Where a backend with these settings answers on its own machine, by the scheme it speaks."""
    scheme = "https" if settings.ssl_certfile else "http"
    return f"{scheme}://127.0.0.1:{settings.port}"


def own_certificate(settings: Settings) -> ssl.SSLContext | bool:
    """Trust in the certificate that the backend of these settings serves with, and in no other.

    Its name is not looked at: on its own machine it is asked by its address.

    Raises:
        SettingsError: The file holds no certificate that can be read.
    """
    if settings.ssl_certfile is None:
        return True
    try:
        trust = ssl.create_default_context(cafile=settings.ssl_certfile)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"SSL_CERTFILE={settings.ssl_certfile}",
            f"cannot be read as a certificate ({error.strerror or error})",
            "Give the PEM file of the backend's certificate.",
        ) from error
    trust.check_hostname = False
    trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return trust


def is_running(url: str, auth: httpx2.Auth | None = None, verify: Trust = True) -> bool:
    """Whether a prelabel backend answers at `url`, and to these credentials where it wants some."""
    try:
        health = httpx2.get(
            f"{url}/health", auth=auth, timeout=PROBE_TIMEOUT_S, verify=verify
        ).json()
    except (httpx2.TransportError, ValueError):
        return False
    return isinstance(health, dict) and "model_loaded" in health


def told(url: str, auth: httpx2.Auth | None = None, verify: Trust = True) -> dict[str, Any]:
    """What the backend at `url` says of its health.

    Raises:
        SettingsError: `url` is no address.
        OperatorError: Nothing answers there, or it is no prelabel.
        LoginRefused: The backend wants other credentials.
        ModelError: It answered, and said no.
    """
    url = base_address(url)
    with httpx2.Client(base_url=url, auth=auth, timeout=PROBE_TIMEOUT_S, verify=verify) as client:
        return _ask(client, "GET", "/health")


def warm_up(
    url: str,
    picture: bytes,
    *,
    label_config: str | None = None,
    auth: httpx2.Auth | None = None,
    verify: Trust = True,
    timeout_s: float = 900.0,
) -> WarmUp:
    """Have the backend load its model and predict one picture.

    The server answers each request in its own time budget; while the model is still loading, that
    answer is "not reached", and the picture is sent again.

    Args:
        url: The backend.
        picture: An image file's bytes: PNG or JPEG.
        label_config: What to find in it; by default the shipped boxes.
        auth: What the backend asks for.
        verify: Which certificates are trusted, as VERIFY_SSL says it.
        timeout_s: How long to go on.

    Raises:
        SettingsError: `url` is no address.
        OperatorError: Nothing answers there, or it is no prelabel.
        LoginRefused: The backend wants other credentials.
        ModelError: It could not predict the picture; the cause is its own.
    """
    url = base_address(url)
    begin = time.monotonic()
    # What was found in the last warm-up would be given without the model: no two are the same file.
    unique = picture + secrets.token_bytes(8)
    uri = f"data:image/jpeg;base64,{base64.b64encode(unique).decode()}"
    task = {"id": 1, "data": {"image": uri}}
    body = {"tasks": [task], "project": PROJECT, "label_config": label_config}
    prediction = None
    with httpx2.Client(base_url=url, auth=auth, timeout=timeout_s, verify=verify) as client:
        failed_before, _ = _failures(client)
        while not prediction:
            prediction = _ask(client, "POST", "/predict", body)["results"][0]
            failed, reason = _failures(client)
            if not prediction:
                time.sleep(PAUSE_S)
            if not prediction and (failed > failed_before or time.monotonic() - begin > timeout_s):
                raise ModelError(f"warm-up at {url}", reason.rstrip("."), "Read the backend's log.")
        health = _ask(client, "GET", "/health")
    seconds = time.monotonic() - begin
    return WarmUp(seconds, str(prediction["model_version"]), tuple(_reasons(health)))


def story(warm: WarmUp) -> list[str]:
    """A warm-up in lines for a terminal."""
    ready = f"backend: warm after {warm.seconds:.1f} s; {warm.model_version} answers"
    return [ready, *(f"backend: {reason}" for reason in warm.reasons)]


def plain_picture() -> bytes:
    """A JPEG of a usual frame size, for a warm-up without a frame at hand."""
    drawn = io.BytesIO()
    Image.radial_gradient("L").resize((1280, 720)).convert("RGB").save(drawn, "JPEG")
    return drawn.getvalue()


def _ask(client: httpx2.Client, method: str, path: str, body: object = None) -> dict[str, Any]:
    try:
        answer = client.request(method, path, json=body)
    except httpx2.TransportError as error:
        if is_about_certificates(error):
            raise OperatorError(f"backend at {client.base_url}", *NOT_TRUSTED) from error
        raise OperatorError(
            f"backend at {client.base_url}",
            f"does not answer ({error})",
            "Start it with `prelabel serve` on that machine, or correct its address.",
        ) from error
    if answer.status_code == httpx2.codes.UNAUTHORIZED:
        raise LoginRefused(
            f"backend at {client.base_url}",
            "wants a user and a password",
            "Set BASIC_AUTH_USER and BASIC_AUTH_PASS as the backend has them.",
        )
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise OperatorError(
            f"backend at {client.base_url}",
            f"answers {answer.status_code} with a web page or the like instead of data",
            "Check the address: another program may be there, or a proxy in front of it.",
        )
    if not answer.is_success:
        raise ModelError(
            f"{method} {path} at {client.base_url}",
            f"answered {answer.status_code}: {answer.text[:300]}",
            "Read the backend's log.",
        )
    return found


def _failures(client: httpx2.Client) -> tuple[int, str]:
    """How many warm-ups failed since the backend started, and why the last one did."""
    for project in _ask(client, "GET", "/status")["projects"]:
        if project["project"] == PROJECT and project["last_failures"]:
            return int(project["failed"]), str(project["last_failures"][0]["reason"])
    return 0, ""


def _reasons(health: Mapping[str, Any]) -> list[str]:
    """Why each predictor that is not the one wanted answers all the same."""
    parts = health.get("predictors", {}).values()
    return [str(part["reason"]) for part in parts if part.get("reason")]
