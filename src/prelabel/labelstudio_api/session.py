"""A signed-in connection to Label Studio: requests, their repetition, and what a refusal means.

Every failure is a `LabelStudioError` that names the next step. Reads are repeated after broken
connections and errors of the server; a write is repeated only where it is certain that it was not
applied.
"""

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self, TypeAlias

import httpx2
import stamina
import structlog

from prelabel import __version__
from prelabel.errors import SettingsError
from prelabel.labelstudio_api.login import auth_for
from prelabel.labelstudio_api.refusals import (
    base_address,
    is_breakdown,
    is_locked,
    not_json,
    refusal,
    unreachable,
)
from prelabel.overload import OVERLOADED, retry_after_s

log = structlog.get_logger(__name__)

Json: TypeAlias = dict[str, Any]

Observe: TypeAlias = Callable[[str, str, float], None]
"""Takes the method, the outcome and the seconds of one request."""

_Repeat: TypeAlias = Callable[[Exception], float | bool]
"""Whether what failed is tried again, and after how many seconds; True leaves these to us."""

_LONGEST_PAUSE_S = 60.0
_MOMENT_S = 2.0
"""A request that has taken so long already, or is about to, is worth a line."""


def unobserved(_method: str, _outcome: str, _seconds: float) -> None:
    """Takes a request, and lets it pass."""


class Session:
    """A connection to one Label Studio. A context manager; safe to share between threads.

    Args:
        url: Its address, with its sub-path if it has one.
        token: A token of any kind.
        username: With `password`, what to log in with where there is no token.
        password: See `username`.
        timeout_s: Time to wait for an answer.
        attempts: How often a request is made that may succeed the next time.
        first_pause_s: About how long to wait before the second attempt; doubled each time.
        longest_pause_s: Most time between two attempts.
        verify: Whether certificates are checked, or a file or folder of authorities to trust.
        transport: What carries the requests; by default the network.
        observe: Called after each request with its method, its status (or the name of the error
            that prevented an answer) and its seconds.

    Attributes:
        url: The address, without a slash at its end.
        auth: Signs requests of any synchronous client; for requests to `url` only.

    Raises:
        SettingsError: `url` is no address, there is nothing to sign in with, or `verify` names no
            certificates.
        LoginRefused: The token is none.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        timeout_s: float = 30.0,
        attempts: int = 4,
        first_pause_s: float = 0.25,
        longest_pause_s: float = 60.0,
        verify: bool | str = True,
        transport: httpx2.BaseTransport | None = None,
        observe: Observe = unobserved,
    ) -> None:
        self.url = base_address(url)
        self._observe = observe
        self._attempts = attempts
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self.auth = auth_for(self.url, token=token, username=username, password=password)
        self._http = httpx2.Client(
            base_url=self.url,
            auth=self.auth,
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, 5.0)),
            verify=trusted(verify),
            transport=transport,
            headers={"Accept": "application/json", "User-Agent": f"prelabel/{__version__}"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def list_of(self, path: str, **params: Any) -> list[Json]:
        """The answer of a GET that is a list."""
        response = self.send("GET", path, params=params)
        found = _parsed(response)
        if not isinstance(found, list):
            raise not_json(response)
        return found

    def object(self, method: str, path: str, **content: Any) -> Json:
        """The answer of a request that is an object."""
        response = self.send(method, path, **content)
        found = _parsed(response)
        if not isinstance(found, dict):
            raise not_json(response)
        return found

    def send(self, method: str, path: str, **content: Any) -> httpx2.Response:
        """A successful answer.

        Args:
            method: "GET" is a read; all others write.
            path: Under the address of Label Studio.
            content: As httpx2 takes it: `params`, `json`, `files`, `timeout`.

        Raises:
            LabelStudioError: There was none.
        """
        repeat = _read_may_succeed_later if method == "GET" else _was_not_applied
        began = time.monotonic()
        try:
            for attempt in stamina.retry_context(
                on=repeat,
                attempts=self._attempts,
                timeout=None,
                wait_initial=self._first_pause_s,
                wait_jitter=2 * self._first_pause_s,
                wait_max=self._longest_pause_s,
            ):
                with attempt, self._telling(attempt, repeat, began):
                    response = self.ask_once(method, path, **content)
                    _raise_if_overloaded(response, is_read=method == "GET")
        except _Overloaded as overloaded:
            raise refusal(overloaded.response) from None
        except httpx2.RequestError as error:
            raise unreachable(self.url, error) from error
        if not response.is_success:
            raise refusal(response)
        return response

    def ask_once(self, method: str, path: str, **content: Any) -> httpx2.Response:
        """Whatever is answered, for callers that find out themselves what became of a write.

        Raises:
            httpx2.RequestError: Nothing was answered.
        """
        began, outcome = time.perf_counter(), "defect"
        try:
            response = self._http.request(method, path, **content)
            outcome = str(response.status_code)
        except httpx2.RequestError as error:
            outcome = type(error).__name__
            raise
        else:
            return response
        finally:
            self._observe(method, outcome, time.perf_counter() - began)

    @contextmanager
    def _telling(self, attempt: stamina.Attempt, repeat: _Repeat, began: float) -> Iterator[None]:
        """Say before another attempt what it is about, where waiting is more than a moment."""
        try:
            yield
        except (_Overloaded, httpx2.RequestError) as error:
            wish = repeat(error)
            pause_s = attempt.next_wait if wish is True else wish
            is_long = time.monotonic() - began + pause_s >= _MOMENT_S
            if wish is not False and attempt.num < self._attempts and is_long:
                turn = f"{attempt.num + 1} of {self._attempts}"
                when = f"trying again in {pause_s:.0f} s, {turn}"
                log.info("Label Studio does not answer (%s); %s", error, when)
            raise


class _Overloaded(Exception):
    """Label Studio, or a proxy before it, cannot answer just now."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(f"it answered {response.status_code}")
        self.response = response

    @property
    def pause_s(self) -> float | bool:
        """How long it asks to wait; True leaves that to us."""
        wish_s = retry_after_s(self.response.headers.get("Retry-After"))
        return True if wish_s is None else min(wish_s, _LONGEST_PAUSE_S)


def _raise_if_overloaded(response: httpx2.Response, *, is_read: bool) -> None:
    is_passing = response.status_code in OVERLOADED or is_locked(response)
    if is_passing or (is_read and is_breakdown(response)):
        raise _Overloaded(response)


def _read_may_succeed_later(error: Exception) -> float | bool:
    if isinstance(error, _Overloaded):
        return error.pause_s
    return isinstance(
        error, httpx2.NetworkError | httpx2.ConnectTimeout | httpx2.RemoteProtocolError
    )


def _was_not_applied(error: Exception) -> float | bool:
    """Whether a write certainly changed nothing: not sent at all, or turned away at the door."""
    if isinstance(error, _Overloaded):
        too_many = error.response.status_code == HTTPStatus.TOO_MANY_REQUESTS
        return error.pause_s if too_many else False
    return isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)


def _parsed(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise not_json(response) from error


def trusted(verify: bool | str) -> ssl.SSLContext | bool:
    """What a client of httpx2 takes for VERIFY_SSL.

    Raises:
        SettingsError: It names no certificates.
    """
    if isinstance(verify, bool):
        return verify
    try:
        if Path(verify).is_dir():
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"VERIFY_SSL={verify}",
            f"cannot be read as certificates ({error.strerror or error})",
            "Set it to a PEM file of authorities, a folder of them, true or false.",
        ) from error
