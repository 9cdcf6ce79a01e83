"""Checks of the backend as Label Studio sees it: attached, reached, and told of annotations."""

import re
import shlex
import textwrap

from prelabel.doctor.case import Case
from prelabel.doctor.diagnosis import Diagnosis, failure, ok, skipped, warning
from prelabel.doctor.probes import refused_backend, refused_webhook
from prelabel.errors import LabelStudioError
from prelabel.media.references import shown

CONNECTED = ("CO", "TR")
"""States of a backend that Label Studio asks: connected, training."""

_LONGEST_REASON = 200
_SYSTEM_ERROR = re.compile(r"\[Errno -?\d+\] ([\w ]+)")
_NAMED_URL = re.compile(r" (for|with) url: \S+")
_UNAUTHORIZED = "401 Client Error"
_NO_CLICKS = "“Retrieve Predictions” does nothing, and says that it worked."


def attached(case: Case) -> Diagnosis:
    """Whether a backend is attached to the project, and Label Studio reaches it."""
    number = int(case.project["id"])
    connect = f"prelabel connect --project-id {number} --backend-url "
    if not case.attached:
        return warning(
            "none",
            f"{_NO_CLICKS} `prelabel run` works without one.",
            connect + shlex.quote(shown(case.backend_url)),
        )
    first, *others = case.attached
    url = _place(str(first["url"]))
    if first["state"] not in CONNECTED:
        return _not_reached(case, connect)
    found = f"{url} is connected, model version {first['model_version']}"
    if others:
        return warning(
            f"{found}; {len(others)} more: {', '.join(_place(str(o['url'])) for o in others)}",
            "Label Studio asks the first backend only.",
            f"Remove the others at {case.studio.url}/projects/{number}/settings/ml",
        )
    return ok(found)


def events(case: Case) -> Diagnosis:
    """Whether the backend hears of annotations, through a webhook of the project."""
    if not case.attached:
        return skipped("no backend is attached")
    number, url = int(case.project["id"]), str(case.attached[0]["url"]).rstrip("/")
    wanted, shown_url = f"{url}/webhook", f"{_place(url)}/webhook"
    hooks = [hook for hook in case.studio.webhooks(number) if hook["url"] == wanted]
    refusal = refused_webhook(case, wanted)
    why = "Predictions work, but the backend does not hear of annotations, and learns nothing."
    if refusal is not None:
        return warning(f"{shown_url}: {refusal.cause}", why, refusal.next_step)
    if not hooks:
        return warning(
            f"no webhook {shown_url}",
            why,
            f"prelabel connect --project-id {number} --backend-url {shlex.quote(_place(url))}",
        )
    if not any(hook["is_active"] for hook in hooks):
        return warning(
            f"the webhook {shown_url} is switched off",
            why,
            f"Switch it on at {case.studio.url}/projects/{number}/settings/webhooks",
        )
    return ok(f"sent to {shown_url}")


def _not_reached(case: Case, connect: str) -> Diagnosis:
    """Why Label Studio does not reach the first backend, as far as it tells."""
    first = case.attached[0]
    url = str(first["url"])
    refusal = refused_backend(case, url)
    if refusal is not None:
        return failure(f"{_place(url)}: {refusal.cause}", _NO_CLICKS, refusal.next_step)
    reason = _reason(case, int(first["id"]))
    if _UNAUTHORIZED in reason:
        mend = f"{connect}URL   # with BASIC_AUTH_USER and BASIC_AUTH_PASS as the backend has them"
    else:
        mend = (
            f"prelabel serve   # if it does not run\n{connect}URL   # its address as Label Studio "
            "sees it: in a container, localhost is the container itself"
        )
    return failure(f"{_place(url)}: {reason}", _NO_CLICKS, mend)


def _reason(case: Case, backend_id: int) -> str:
    """What Label Studio meets when it asks the backend for its versions, which changes nothing."""
    try:
        case.studio.send("GET", f"/api/ml/{backend_id}/versions")
    except LabelStudioError as error:
        system = _SYSTEM_ERROR.search(error.cause)
        said = system[1] if system else _NAMED_URL.sub("", error.cause)
        return textwrap.shorten(said, _LONGEST_REASON, placeholder=" …")
    return str(case.attached[0]["error_message"] or "it was disconnected, and answers now")


def _place(url: str) -> str:
    """An address as it may be shown: the path of a backend may be its SECRET_PATH."""
    scheme, _, rest = shown(url).partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}{'/…' if slash and path else ''}"
