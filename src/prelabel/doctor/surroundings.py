"""Checks of what is set, where the backend listens, and of Label Studio."""

import re
from difflib import get_close_matches

from prelabel.doctor.finding import Finding, failed, ok, warning
from prelabel.doctor.machine import Machine
from prelabel.errors import LabelStudioError
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.refusals import HOW_TO_SIGN_IN
from prelabel.launch.backend import is_running
from prelabel.launch.processes import port_is_taken
from prelabel.settings import Settings, known_names

OF_LABEL_STUDIO = frozenset(
    {"LABEL_STUDIO_USER_TOKEN", "LABEL_STUDIO_HOST", "LABEL_STUDIO_PORT", "LABEL_STUDIO_BASE_URL"}
)
"""Names of Label Studio's own that look like one of ours."""
BLOCKS_PRIVATE_ADDRESSES = (1, 23, 1)
"""The release of Label Studio that began to."""

_SHORTEST_NAME = 8  # shorter names resemble those of other programs
_LIKENESS = 0.85
_TIMEOUT_S = 10.0
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


def setting_names(machine: Machine, settings: Settings) -> Finding:
    """Whether a name that was set is a misspelt name of ours."""
    del settings
    known = sorted(name for name in known_names() if len(name) >= _SHORTEST_NAME)
    meant = {
        name: close[0]
        for name in sorted(machine.names - known_names() - OF_LABEL_STUDIO)
        if len(name) >= _SHORTEST_NAME
        and (close := get_close_matches(name, known, n=1, cutoff=_LIKENESS))
    }
    if not meant:
        return ok("no name looks misspelt")
    return warning(
        f"unknown: {', '.join(meant)}",
        "prelabel does not read it, and the setting that was meant keeps its default.",
        "; ".join(f"rename {name} to {right}" for name, right in meant.items()),
    )


def open_door(machine: Machine, settings: Settings) -> Finding:
    """Whether others can reach a backend that asks for no password."""
    del machine
    address = settings.bind_address
    if not settings.open_to_all:
        return ok(f"{address}, which only this machine or a password opens")
    return warning(
        f"{address}, without a password",
        "Anyone who can reach this address can use the backend and the images it may read.",
        "Set BASIC_AUTH_USER and BASIC_AUTH_PASS, or BIND_ADDRESS=127.0.0.1.",
    )


def port(machine: Machine, settings: Settings) -> Finding:
    """Whether the backend's port is free, or its own."""
    del machine
    host = "127.0.0.1" if settings.bind_address in _THIS_MACHINE else settings.bind_address
    url = f"http://{host}:{settings.port}"
    if not port_is_taken(host, settings.port):
        return ok(f"{settings.port} is free")
    if is_running(url):
        return ok(f"prelabel answers at {url}")
    return failed(
        f"{settings.port} is taken, and what answers is not prelabel, or asks for a password",
        "The backend cannot listen there.",
        f"Stop that program (`lsof -i :{settings.port}` names it), or set PORT to a free port.",
    )


def label_studio(machine: Machine, settings: Settings) -> Finding:
    """Whether Label Studio answers and takes our token."""
    del machine
    url = settings.label_studio_url
    token = settings.label_studio_api_key.get_secret_value()
    password = settings.label_studio_password.get_secret_value()
    if not url:
        return warning(
            "LABEL_STUDIO_URL is not set",
            "Images that were uploaded to Label Studio cannot be read.",
            "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY.",
        )
    if not (token or (settings.label_studio_username and password)):
        return warning(
            f"no token for {url}",
            "Images that were uploaded to Label Studio cannot be read.",
            HOW_TO_SIGN_IN,
        )
    try:
        with LabelStudio(
            url,
            token=token or None,
            username=settings.label_studio_username or None,
            password=password or None,
            timeout_s=_TIMEOUT_S,
            verify=settings.verify_ssl,
        ) as studio:
            user, version = studio.whoami().get("email", "somebody"), studio.version()
    except LabelStudioError as error:
        return failed(
            f"{error.thing}: {error.cause}",
            "prelabel can neither read uploaded images nor attach itself.",
            error.next_step,
        )
    note = (
        "; it blocks backends on private addresses unless ML_BLOCK_LOCAL_IP=false and "
        "SSRF_PROTECTION_ENABLED=false are in its environment"
    )
    blocks = _numbers(version) >= BLOCKS_PRIVATE_ADDRESSES
    return ok(f"{version} at {url}, signed in as {user}{note if blocks else ''}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
