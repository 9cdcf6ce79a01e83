"""What every request passes first: its id, where it comes from, the password, the limits."""

import base64
import hashlib
import hmac
import ipaddress
import math
import re
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prelabel.errors import (
    BodyTooLarge,
    ForeignPage,
    NotAuthenticated,
    PrelabelError,
    TooManyRequests,
)
from prelabel.server.foreign import refuse_foreign_pages
from prelabel.server.problems import defect, problem

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import MovingWindowRateLimiter

log = structlog.get_logger("prelabel.server")

OPEN_PATHS = frozenset({"/live", "/ready"})
"""Probes of an orchestrator: they tell nothing and need no password."""

NEVER_LIMITED = frozenset({"/health", "/versions", "/live", "/ready"})
"""Label Studio repeats these on a 429 and waits inside a person's click meanwhile."""

WRONG_LOGINS = "60/minute"
"""How many a caller may send; then none of its requests is looked at for a while. A Label Studio
that was given a wrong password stays below."""

_HERE_ONLY = (
    *(".home.arpa", ".internal", ".local", ".localhost", ".test"),
    *(".lan", ".localdomain", ".svc"),
)
"""Ends of names that nobody can register (RFC 6761, 6762, 8375; ICANN for `.internal`), and some
that routers and clusters make up and the root of all names does not have."""

_ASKING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

HUNG_UP = 499
"""What metrics call a request whose caller went away while sending it, after nginx."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MB = 1024 * 1024
_MOST_LET_IN = 10_000
"""Callers, each with its password, that are remembered."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens the door; all empty leaves it open.

    Attributes:
        user: For HTTP Basic.
        password: For HTTP Basic.
        token: For `Authorization: Bearer`.
        path: A path prefix, without slashes, that stands for a password.
    """

    user: str = ""
    password: str = ""
    token: str = ""
    path: str = ""

    @property
    def required(self) -> bool:
        """Whether a caller must show anything."""
        return bool((self.user and self.password) or self.token or self.path)

    def accept(self, header: str) -> bool:
        """Whether an `Authorization` header is right, compared in constant time."""
        kind, _, value = header.partition(" ")
        if kind.lower() == "bearer" and self.token:
            return _equal(value.strip(), self.token)
        if kind.lower() == "basic" and self.user and self.password:
            try:
                given = base64.b64decode(value, validate=True).decode()
            except ValueError:  # not base64, or not UTF-8 under it
                return False
            return _equal(given, f"{self.user}:{self.password}")
        return False


class Guard:
    """ASGI middleware in front of the routes.

    Args:
        app: What comes behind.
        credentials: What a caller must show.
        rate_limit: In the words of the `limits` library, for example "600/minute"; "" for none.
        max_body_mb: Largest request body.
        origins: Origins whose pages may send what changes something; "*" for all.
        hosts: Names that a server without a password goes by, beside those of this machine;
            None for any name.
        proxied: Whether each caller is a proxy whose word of its own caller is believed.
        answered: Called with route, status and seconds of each request.
        began: Called before each request.
        refused: Called with path, error and request id of each request that does not come through.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        credentials: Credentials,
        rate_limit: str,
        max_body_mb: int,
        answered: Callable[[str, int, float], None],
        began: Callable[[], None] = lambda: None,
        refused: Callable[[str, PrelabelError, str], None] = lambda *_: None,
        origins: Collection[str] = (),
        hosts: Collection[str] | None = None,
        proxied: bool = False,
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._origins = origins
        self._hosts = hosts
        self._proxied = proxied
        self._rate = _Rate(rate_limit) if rate_limit else None
        self._wrong_logins = _Rate(WRONG_LOGINS)
        self._let_in: set[tuple[str, bytes]] = set()
        self._max_body = max_body_mb * _MB
        self._answered = answered
        self._began = began
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "websocket":  # none of ours, and nobody asked for its password
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self._proxied:
            _believe_proxy(scope, headers)
        request_id = _request_id(headers.get(b"x-request-id", b""))
        scope["request_id"] = request_id
        started, status, answering = time.perf_counter(), 500, False
        self._began()

        async def send_with_id(message: Message) -> None:
            nonlocal status, answering
            if message["type"] == "http.response.start":
                status, answering = message["status"], True
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            self._check(scope, headers)
            await self._app(scope, self._counted(receive), send_with_id)
        except PrelabelError as error:
            self._refused(scope["path"], error, request_id)
            await problem(error, request_id)(scope, receive, send_with_id)
        except ClientDisconnect:  # nobody is there to be answered, and nothing of ours broke
            status = HUNG_UP
        except Exception:
            log.exception("request crashed", request_id=request_id)
            if not answering:
                await defect(request_id)(scope, receive, send_with_id)
        finally:
            self._tell(scope, request_id, status, time.perf_counter() - started)

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        by_path = self._strip_secret_path(scope)
        path, caller = scope["path"], _caller(scope)
        if self._credentials.required and not by_path and path not in OPEN_PATHS:
            self._check_login(path, headers.get(b"authorization", b"").decode("latin-1"), caller)
        if self._rate is not None and path not in NEVER_LIMITED:
            _put_off(self._rate.count(caller), "is over the rate limit")
        self._check_sender(scope, headers)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body:
            raise self._too_large()
        # A redirect to the path without its last slash would lead away from the secret path.
        scope["path"] = "/" + path.strip("/")

    def _check_login(self, path: str, header: str, caller: str) -> None:
        shown = (caller, hashlib.sha256(header.encode()).digest())
        if shown in self._let_in:  # whoever guesses from the same address keeps nobody out
            return
        wait_s = self._wrong_logins.wait_s(caller)
        if path not in NEVER_LIMITED:
            _put_off(wait_s, "has sent too many wrong passwords")
        if not wait_s and self._credentials.accept(header):
            if len(self._let_in) < _MOST_LET_IN:
                self._let_in.add(shown)
            return
        if header:  # one that shows nothing, as webhooks do, does not guess
            self._wrong_logins.count(caller)
        raise NotAuthenticated(
            "credentials",
            "are missing or wrong",
            "Give the user and password, or the token, that the server was started with.",
        )

    def _check_sender(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Refuse what a page of another site makes a browser on this machine send.

        Such a page needs no way to this server of its own: the browser has one. It can send
        without reading the answer, and, where its own name suddenly leads here (DNS rebinding),
        read it too.
        """
        host = headers.get(b"host", b"").decode("latin-1")
        if self._hosts is not None and not self._credentials.required:
            name = _host_name(host)
            if not _is_own_name(name) and name not in self._hosts:
                raise ForeignPage(
                    f"host name {name[:100]!r}",
                    "is none that this server goes by",
                    "Call it by its address, set a password, or name it in ALLOWED_HOSTS.",
                )
        origin = headers.get(b"origin", b"").decode("latin-1")
        allowed = "*" in self._origins or origin in self._origins
        if scope["method"] not in _ASKING and not allowed:
            refuse_foreign_pages(Request(scope))

    def _strip_secret_path(self, scope: Scope) -> bool:
        """Whether the path begins with the secret; it is taken off, so that routes match."""
        first, slash, rest = scope["path"].lstrip("/").partition("/")
        if not self._credentials.path or not _equal(first, self._credentials.path):
            return False
        scope["path"] = slash + rest or "/"
        scope["raw_path"] = scope["path"].encode()
        return True

    def _counted(self, receive: Receive) -> Receive:
        """`receive`, raising BodyTooLarge once more than the limit has come."""
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self._max_body:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            "request body",
            f"is over {self._max_body // _MB} MB",
            "Select fewer tasks, or raise MAX_BODY_MB.",
        )

    def _tell(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "(no route)")
        self._answered(route, status, seconds)
        log.debug(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            ms=round(1000 * seconds, 1),
            request_id=request_id,
        )


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _request_id(given: bytes) -> str:
    """The caller's id where it is harmless in a log and a header, else a new one."""
    text = given.decode("latin-1")
    return text if _REQUEST_ID.fullmatch(text) else uuid.uuid4().hex


def _believe_proxy(scope: Scope, headers: dict[bytes, bytes]) -> None:
    """Put the proxy's caller in the proxy's place.

    It is the last that the header names: proxies append, and what stands before it is what the
    caller wrote himself.
    """
    last = headers.get(b"x-forwarded-for", b"").decode("latin-1").rpartition(",")[2].strip()
    try:
        ipaddress.ip_address(last)
    except ValueError:
        return
    scope["client"] = (last, 0)


def _caller(scope: Scope) -> str:
    """Who is counted as one: an IPv4 address, or the 64 bits that a whole IPv6 network shares."""
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a socket of this machine has none
        return host
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return host


def _host_name(host: str) -> str:
    """The name in a `Host` header, without its port."""
    name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")


def _is_own_name(name: str) -> bool:
    """Whether no name server outside could have led a browser here by this name."""
    if "." not in name or name.endswith(_HERE_ONLY):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _put_off(wait_s: int, why: str) -> None:
    if wait_s:
        raise TooManyRequests("caller", why, f"Wait {wait_s} s and try again.").after(wait_s)


class _Rate:
    """How often each caller may come, in the words of the `limits` library."""

    def __init__(self, rate: str) -> None:
        self._rate = rate

    def count(self, caller: str) -> int:
        """Count a caller; how many whole seconds it came too early, 0 where it did not."""
        limit, window = self._limit
        return 0 if window.hit(limit, caller) else max(1, self.wait_s(caller))

    def wait_s(self, caller: str) -> int:
        """How many whole seconds a caller would come too early now."""
        limit, window = self._limit
        if window.test(limit, caller):
            return 0
        return max(1, math.ceil(window.get_window_stats(limit, caller).reset_time - time.time()))

    @cached_property
    def _limit(self) -> "tuple[RateLimitItem, MovingWindowRateLimiter]":
        from limits import parse  # noqa: PLC0415 - only where something is limited
        from limits.storage import MemoryStorage  # noqa: PLC0415
        from limits.strategies import MovingWindowRateLimiter  # noqa: PLC0415

        return parse(self._rate), MovingWindowRateLimiter(MemoryStorage())
