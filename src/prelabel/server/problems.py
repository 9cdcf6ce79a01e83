"""Errors as `application/problem+json` (RFC 9457), with the request's id."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from prelabel.errors import (
    InvalidRequest,
    NotAuthenticated,
    PrelabelError,
    TooManyRequests,
    consequence_of,
)

MEDIA_TYPE = "application/problem+json"
_USUAL_RETRY_AFTER_S = 5
"""After so long a database that did not answer may be asked again."""
_NEXT_STEPS: dict[int, str] = {
    HTTPStatus.NOT_FOUND: "Check the address: /openapi.json lists all there are.",
    HTTPStatus.METHOD_NOT_ALLOWED: "Use a method that `Allow` names.",
}


def problem(error: PrelabelError, request_id: str) -> Response:
    """The answer for an error that prelabel can name."""
    consequence = consequence_of(error)
    status = consequence.http_status
    headers = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE and consequence.retry:
        headers["Retry-After"] = str(_USUAL_RETRY_AFTER_S)
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = 'Basic realm="prelabel", charset="UTF-8"'
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after_s)
    return _answer(status, type(error).__name__, str(error), request_id, headers)


def defect(request_id: str) -> Response:
    """The answer for an error that nobody thought of: no details leave the process."""
    text = f"This is a defect of prelabel. Look for request {request_id} in its log."
    return _answer(500, "InternalError", text, request_id, {})


def unusable(errors: Sequence[Mapping[str, Any]]) -> InvalidRequest:
    """The error for parameters that are missing or cannot be used.

    Args:
        errors: As pydantic lists them, at least one.
    """
    first = errors[0]
    place, name = first["loc"][0], first["loc"][-1]
    is_missing = first["type"] == "missing"
    return InvalidRequest(
        f"the {place} parameter {str(name)!r}",
        "it is missing" if is_missing else f"it cannot be used ({first['msg']})",
        "Give it as /openapi.json describes it.",
    )


def http_problem(error: HTTPException, request_id: str) -> Response:
    """The answer for a wrong path or method."""
    detail = str(error.detail)
    if error.status_code in _NEXT_STEPS:
        detail = f"{detail}. {_NEXT_STEPS[error.status_code]}"
    headers = dict(error.headers or {})  # such as Allow, which a 405 must have
    return _answer(error.status_code, "HTTPError", detail, request_id, headers)


def request_id_of(request: Request) -> str:
    """The id that the guard gave this request."""
    return str(request.scope.get("request_id", ""))


def _answer(
    status: int, title: str, detail: str, request_id: str, headers: dict[str, str]
) -> Response:
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }
    return Response(json.dumps(body), status, headers, media_type=MEDIA_TYPE)
