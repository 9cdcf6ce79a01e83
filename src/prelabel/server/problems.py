"""Errors as `application/problem+json` (RFC 9457), with the request's id."""

import json
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from prelabel.errors import NotAuthenticated, PrelabelError, TooManyRequests, consequence_of

MEDIA_TYPE = "application/problem+json"
_USUAL_RETRY_AFTER_S = 5
"""After so long a database that did not answer may be asked again."""


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


def http_problem(status: int, detail: str, request_id: str) -> Response:
    """The answer for a wrong path or method."""
    return _answer(status, "HTTPError", detail, request_id, {})


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
