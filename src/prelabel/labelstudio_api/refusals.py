"""What each refusal of Label Studio means, and what to do about it.

The quoted texts are those of Label Studio 1.23.2; where one is not recognised, the status code
decides and the text is passed on.
"""

import re
import ssl
import textwrap
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

import httpx2

from prelabel.errors import (
    LabelStudioError,
    LabelStudioUnreachable,
    LoginRefused,
    RequestRefused,
    SettingsError,
)
from prelabel.overload import OVERLOADED

HOW_TO_SIGN_IN = (
    "Create a personal access token under Account & Settings in Label Studio (before 1.17, copy "
    "the access token there) and set LABEL_STUDIO_API_KEY, or --token, to it."
)
PRIVATE_ADDRESSES = (
    "Label Studio blocks private addresses since 1.23.1. Set ML_BLOCK_LOCAL_IP=false and "
    "SSRF_PROTECTION_ENABLED=false in the environment of Label Studio and restart it."
)
DOTTED_HOST = (
    "Label Studio sends events only to an IP address, localhost or a host name with a dot; "
    "give the backend a network alias such as ml.internal, or use host.docker.internal."
)
NOT_TRUSTED = (
    "its TLS certificate is not trusted here",
    "Put its certificate authority into a file and name the file in VERIFY_SSL.",
)
"""Cause and next step."""

_LONGEST_DETAIL = 500
_LINK = re.compile(r"<a .*?</a>[^.]*\.")  # "<a …>Learn more</a> about how to …."


class _Explanation(NamedTuple):
    kind: type[LabelStudioError]
    says: str
    next_step: str


_EXPLANATIONS = (
    _Explanation(
        LoginRefused,
        "legacy token authentication has been disabled",
        HOW_TO_SIGN_IN + " Legacy tokens work again once an owner allows them under "
        "Organization, Access Token Settings.",
    ),
    _Explanation(
        LoginRefused,
        "credentials were not provided",  # they were
        "Label Studio passes over tokens of a kind that is switched off: an owner allows it under "
        "Organization, Access Token Settings. Or a proxy before it drops the Authorization header.",
    ),
    _Explanation(RequestRefused, "reserved network address", f"{PRIVATE_ADDRESSES} {DOTTED_HOST}"),
    _Explanation(
        RequestRefused,
        "401 Client Error",  # of releases that do not tell a wrong password from a backend away
        "Label Studio sends passwords to backends since 1.12. For an older one set the backend's "
        "SECRET_PATH and attach its address with /<SECRET_PATH>, which needs no password.",
    ),
    _Explanation(
        RequestRefused,
        "health check failed",
        "Check that the backend runs and give its address as Label Studio sees it: inside a "
        "container localhost is the container, the machine around it is host.docker.internal, "
        "and a backend in the same network has its service name.",
    ),
    _Explanation(
        RequestRefused,
        "authentication parameters were either not provided or are incorrect",
        "Pass the backend's BASIC_AUTH_USER and BASIC_AUTH_PASS with --basic-auth-user and "
        "--basic-auth-pass.",
    ),
    _Explanation(
        RequestRefused,
        "doesn't look like a valid ML backend",
        "Check that it is prelabel that answers at this address, and look into its log.",
    ),
    _Explanation(RequestRefused, "Enter a valid URL", DOTTED_HOST),
    _Explanation(
        RequestRefused,
        "Project has no tasks to run prediction on",
        "Import images first, with the Import button of the project, then run this again.",
    ),
    _Explanation(
        RequestRefused,
        "did not return any predictions",
        "Look into the backend's log; Label Studio does not pass the reason on.",
    ),
    _Explanation(
        RequestRefused,
        'invalid "task" field',
        "Somebody deleted the task meanwhile: nothing is to be done.",
    ),
    *(
        _Explanation(
            RequestRefused,
            says,
            "Check the column of --filter, which for what a task's data hold is data.NAME, and "
            "the value.",
        )
        for says in (
            "Cannot resolve keyword",
            "could not convert string",
            "expected a number but",
            "value has an invalid format",
        )
    ),
)


def base_address(url: str) -> str:
    """The address without a slash at its end.

    Raises:
        SettingsError: It has no scheme or no host.
    """
    try:
        parsed = httpx2.URL(url.strip())
    except httpx2.InvalidURL as error:
        raise _not_an_address(url) from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise _not_an_address(url)
    return url.strip().rstrip("/")


def _not_an_address(url: str) -> SettingsError:
    return SettingsError(
        url or "Label Studio's address",
        "this is not an http(s) address",
        "Write it with its scheme, for example http://localhost:8080.",
    )


def unreachable(url: str, error: httpx2.RequestError) -> LabelStudioUnreachable:
    """The error for an exchange that broke off before there was an answer."""
    thing = f"Label Studio at {url}"
    if isinstance(error, httpx2.ConnectTimeout | httpx2.ConnectError):
        if is_about_certificates(error):
            return LabelStudioUnreachable(thing, *NOT_TRUSTED)
        return LabelStudioUnreachable(
            thing,
            f"no connection ({_words(error)})",
            "Check that Label Studio is running and that the address is right; inside a "
            "container localhost is the container itself.",
        )
    if isinstance(error, httpx2.TimeoutException):
        return LabelStudioUnreachable(
            thing, "it did not answer in time", "Try again, and look into Label Studio's log."
        )
    return LabelStudioUnreachable(
        thing,
        f"the connection broke off ({_words(error)})",
        "Try again, and look into the logs of Label Studio and of the proxy before it.",
    )


def _words(error: httpx2.RequestError) -> str:
    return str(error) or type(error).__name__


def is_about_certificates(error: BaseException) -> bool:
    """Whether there is no connection because of whom the other side says that it is."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def refusal(response: httpx2.Response) -> LabelStudioError:
    """The error for an answer that is not a success.

    Args:
        response: An answer with a status of 300 or more, already read.
    """
    request = response.request
    thing = f"{request.method} {request.url.copy_with(query=None)}"
    if response.is_redirect:
        return not_json(response)
    detail = _detail(response)
    if is_locked(response):
        return LabelStudioUnreachable(
            thing, detail, "Wait a moment and try again; others write to its SQLite database."
        )
    if explanation := _explanation(detail):
        return explanation.kind(thing, detail, explanation.next_step)
    return _by_status(response.status_code, thing, detail)


def is_breakdown(response: httpx2.Response) -> bool:
    """Whether it is an error of the server that the same request may not meet again.

    A database that is started anew makes a 500 of what is answered a second later; Label Studio
    makes one of a filter that is wrong, too.
    """
    return response.is_server_error and _explanation(_detail(response)) is None


def _explanation(detail: str) -> _Explanation | None:
    return next((known for known in _EXPLANATIONS if known.says in detail), None)


def _by_status(status: int, thing: str, detail: str) -> LabelStudioError:
    if status == HTTPStatus.UNAUTHORIZED:
        return LoginRefused(thing, detail, HOW_TO_SIGN_IN)
    if status in OVERLOADED:
        return LabelStudioUnreachable(
            thing, detail, "Wait a moment and try again; Label Studio is starting or overloaded."
        )
    if status == HTTPStatus.FORBIDDEN:
        next_step = "Use the token of a user who may do this."
    elif status == HTTPStatus.NOT_FOUND:
        next_step = "Check the number, and whether Label Studio's address lacks a sub-path."
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        next_step = "Look into Label Studio's log for the reason."
    else:
        next_step = "Correct what it names and try again."
    return RequestRefused(thing, detail, next_step)


def is_locked(response: httpx2.Response) -> bool:
    """Whether Label Studio gave up waiting for its SQLite database, which others write to."""
    return (
        response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
        and b"database-is-locked" in response.content.replace(b" ", b"-")
    )


def not_json(response: httpx2.Response) -> LabelStudioUnreachable:
    """The error for a redirect, a web page or anything else where JSON was due."""
    url = response.request.url.copy_with(query=None)
    target = response.headers.get("Location")
    answer = f"leads on to {target}" if target else "answers with a web page"
    return LabelStudioUnreachable(
        str(url),
        f"it {answer} instead of data, as other programs and login pages of proxies do",
        "Give the address at which Label Studio itself answers, with its sub-path if it has one.",
    )


def _detail(response: httpx2.Response) -> str:
    """What the answer says, in one line, without markup."""
    status = f"status {response.status_code} {response.reason_phrase}".strip()
    try:
        body = response.json()
    except ValueError:
        return status  # a web page; its text says no more than its status
    if not isinstance(body, dict):
        return status
    validation = body.get("validation_errors")
    said = (
        "; ".join(_messages(validation))
        if validation
        else str(body.get("detail") or body.get("error") or status)
    )
    plain = " ".join(_LINK.sub("", said).split()).rstrip(".")
    return textwrap.shorten(plain, _LONGEST_DETAIL, placeholder=" …")


def _messages(errors: Any, field: str = "") -> Iterator[str]:
    """Each message of a nested validation report, with the field it is about."""
    if isinstance(errors, dict):
        for name, nested in errors.items():
            yield from _messages(nested, "" if name == "non_field_errors" else str(name))
    elif isinstance(errors, list):
        for nested in errors:
            yield from _messages(nested, field)
    else:
        yield f"{field}: {errors}" if field else str(errors)
