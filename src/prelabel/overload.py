"""What a server says that cannot answer just now: come again, and when (RFC 9110, 10.2.3)."""

import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus

OVERLOADED = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Statuses of a server, or a proxy before it, after which the same may succeed in a moment."""


def retry_after_s(header: str | None) -> float | None:
    """The seconds, 0 or more, that a `Retry-After` header asks for.

    Args:
        header: A number of seconds, or a date; None where the answer has no such header.

    Returns:
        None where it asks for nothing that can be understood.
    """
    text = (header or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
