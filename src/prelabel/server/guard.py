"""What every request passes first: its id, the password, the rate limit, the size limit."""

import base64
import hmac
import math
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prelabel.errors import BodyTooLarge, NotAuthenticated, PrelabelError, TooManyRequests
from prelabel.server.problems import defect, problem

log = structlog.get_logger("prelabel.server")

OPEN_PATHS = frozenset({"/live", "/ready"})
"""Probes of an orchestrator: they tell nothing and need no password."""

NEVER_LIMITED = frozenset({"/health", "/versions", "/live", "/ready"})
"""Label Studio repeats these on a 429 and waits inside a person's click meanwhile."""

HUNG_UP = 499
"""What metrics call a request whose caller went away while sending it, after nginx."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MB = 1024 * 1024


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
        answered: Called with route, status and seconds of each request.
        began: Called before each request.
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
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._wait_for = _rate_limiter(rate_limit)
        self._max_body = max_body_mb * _MB
        self._answered = answered
        self._began = began

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
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
        path = scope["path"]
        if self._credentials.required and not by_path and path not in OPEN_PATHS:
            header = headers.get(b"authorization", b"").decode("latin-1")
            if not self._credentials.accept(header):
                raise NotAuthenticated(
                    "credentials",
                    "are missing or wrong",
                    "Give the user and password, or the token, that the server was started with.",
                )
        client = scope.get("client") or ("",)
        if self._wait_for is not None and path not in NEVER_LIMITED:
            wait_s = self._wait_for(client[0])
            if wait_s:
                raise TooManyRequests(
                    "caller", "is over the rate limit", f"Wait {wait_s} s and try again."
                ).after(wait_s)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body:
            raise self._too_large()

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


def _rate_limiter(rate_limit: str) -> Callable[[str], int] | None:
    """A function that counts a caller's request and says how many seconds it came too early."""
    if not rate_limit:
        return None
    from limits import parse  # noqa: PLC0415 - only where a limit is set
    from limits.storage import MemoryStorage  # noqa: PLC0415
    from limits.strategies import MovingWindowRateLimiter  # noqa: PLC0415

    limit, window = parse(rate_limit), MovingWindowRateLimiter(MemoryStorage())

    def wait_s(caller: str) -> int:
        if window.hit(limit, caller):
            return 0
        return max(1, math.ceil(window.get_window_stats(limit, caller).reset_time - time.time()))

    return wait_s
