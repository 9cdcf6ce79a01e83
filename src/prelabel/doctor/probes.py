"""Requests that Label Studio refuses in any case, and which therefore change nothing.

How it refuses them tells whether it would call an address.
"""

from prelabel.doctor.case import Case
from prelabel.errors import RequestRefused
from prelabel.labelstudio_api.refusals import DOTTED_HOST, PRIVATE_ADDRESSES

_REFUSALS = {
    "URL resolves to a reserved network address": PRIVATE_ADDRESSES,
    "Enter a valid URL": DOTTED_HOST,
    "Can't resolve hostname": "Give the backend a name that Label Studio's machine or container "
    "can look up: its service name in the same network, or host.docker.internal.",
}
"""What Label Studio 1.23.2 says of an address that it does not like, and what to do about it."""


def refused_backend(case: Case, url: str) -> RequestRefused | None:
    """Why Label Studio would not call a backend at an address; asked without a project."""
    return _refused(case, "/api/ml/", {"url": url}, lacks="project")


def refused_webhook(case: Case, url: str) -> RequestRefused | None:
    """Why Label Studio would send no events to an address; asked with a wrong value."""
    body = {"url": url, "is_active": "neither"}
    return _refused(case, "/api/webhooks/", body, lacks="is_active")


def _refused(case: Case, path: str, body: dict[str, str], *, lacks: str) -> RequestRefused | None:
    """The refusal, unless it is only for the field that the request lacks on purpose."""
    try:
        case.studio.send("POST", path, json=body)
    except RequestRefused as error:
        if error.cause.startswith(f"{lacks}: "):
            return None
        for says, mend in _REFUSALS.items():
            if says in error.cause:
                return RequestRefused(body["url"], says, mend)
        return error
    return None
