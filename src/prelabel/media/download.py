"""Getting one image over HTTP: redirects, retries, limits, and what went wrong."""

import time
import zlib
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2
import stamina

from prelabel.errors import (
    ImageRefused,
    ImageTooLarge,
    ImageUnavailable,
    ImageUnreachable,
    LabelStudioError,
)
from prelabel.media.addresses import AddressRefused
from prelabel.media.answers import label_studio_said, label_studio_said_to_nobody, server_said
from prelabel.media.limits import Limits
from prelabel.media.references import Origin, parse_url, shown
from prelabel.media.transport import PinnedTransport
from prelabel.overload import OVERLOADED, retry_after_s

ATTEMPTS = 4
NEXT_ATTEMPT_S = 1.5
"""An attempt is made only where at least this is left: the longest wait before it, and a bit."""
_MOMENT_S = 0.05
"""What is waited for a server that asks to come again at once."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Target:
    """What to get, and what to show for it.

    Attributes:
        url: Where it is.
        label_studio: The Label Studio that the URL belongs to; its token is sent for as long as
            redirects stay where it serves files.
        login: The project's credentials, sent for as long as redirects stay at the URL's origin.
    """

    url: httpx2.URL
    label_studio: Origin | None = None
    login: httpx2.BasicAuth | None = None


class Declined(Exception):
    """The server said no, or what it said is of no use; asking again would not help."""

    def __init__(self, cause: str, next_step: str, status: int | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.next_step = next_step
        self.status = status

    def about(self, thing: str) -> ImageUnreachable:
        """The same as the error of a task."""
        return ImageUnreachable(thing, self.cause, self.next_step)


class _Transient(Declined):
    """What may succeed in a moment, or after the seconds that the server asked for."""

    def __init__(
        self, cause: str, next_step: str, status: int | None = None, wait_s: float | None = None
    ) -> None:
        super().__init__(cause, next_step, status)
        self.wait_s = wait_s

    def about(self, thing: str) -> ImageUnavailable:
        """The same as the error of a task, which may be asked again."""
        return ImageUnavailable(thing, self.cause, self.next_step)


class Downloader:
    """Gets images over one pool of connections. Threads may share it."""

    def __init__(self, limits: Limits, transport: PinnedTransport) -> None:
        self._limits = limits
        self._transport = transport
        self._client = httpx2.Client(
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            # Reads and writes end by the deadline, which the transport keeps.
            timeout=httpx2.Timeout(
                None, connect=limits.connect_timeout_s, pool=limits.fetch_timeout_s
            ),
            headers={"Accept-Encoding": "identity", "User-Agent": "prelabel"},
            # A session begun with one project's token must not serve another project.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

    def get(
        self, target: Target, thing: str, deadline: float, trusted: Collection[httpx2.Origin]
    ) -> bytes:
        """The bytes at a target.

        Args:
            target: What to get.
            thing: What to call it in an error.
            deadline: When to give up, as `time.monotonic()` tells time.
            trusted: Origins that may be private.

        Raises:
            Declined: The server refuses it, or cannot be reached.
            ImageRefused: The target or a redirect leads to an address that may not be fetched.
            ImageTooLarge: It is over the limit in bytes, or still coming at the deadline.
            ImageUnreachable: Label Studio does not accept the login.
        """

        def wait_for(error: Exception) -> bool | float:
            if not isinstance(error, _Transient):
                return False
            left_s = deadline - time.monotonic()
            if error.wait_s is not None:
                return max(error.wait_s, _MOMENT_S) if error.wait_s < left_s else False
            return left_s > NEXT_ATTEMPT_S

        try:
            with self._transport.visit(deadline=deadline, trusted=trusted):
                for attempt in stamina.retry_context(
                    wait_for,
                    attempts=ATTEMPTS,
                    timeout=None,
                    wait_initial=0.1,
                    wait_max=1.0,
                    wait_jitter=0.2,
                ):
                    with attempt:
                        return _Journey(self._client, self._limits, target, thing).arrive()
        except AddressRefused as error:
            raise ImageRefused(thing, error.cause, error.next_step) from error
        except LabelStudioError as error:
            raise ImageUnreachable(thing, error.cause, error.next_step) from error
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


class _Journey:
    """One attempt at a target: from redirect to redirect to the bytes."""

    def __init__(self, client: httpx2.Client, limits: Limits, target: Target, thing: str) -> None:
        self._client = client
        self._limits = limits
        self._target = target
        self._thing = thing
        self._at_home = True
        """Whether no redirect has led away yet; once away, nothing secret is sent any more."""

    def arrive(self) -> bytes:
        url = self._target.url
        for _ in range(self._limits.max_redirects + 1):
            url, auth = self._prepare(url)
            try:
                with closing(self._ask(url, auth)) as response:
                    if response.status_code not in REDIRECTS:
                        self._require_success(response, url, auth)
                        return self._content(response)
                    url = self._redirect(response, url, auth)
            except httpx2.TransportError as error:
                raise self._failure(url, error) from error
        raise Declined(
            f"it redirects more than {self._limits.max_redirects} times",
            "Correct the address in the task's data: it may lead in a circle.",
        )

    def _prepare(self, url: httpx2.URL) -> tuple[httpx2.URL, httpx2.Auth | None]:
        """The URL to ask, and the credentials that may go there."""
        label_studio, login = self._target.label_studio, self._target.login
        if label_studio is not None:
            path = label_studio.file_path(url)
            if self._at_home and path is not None:
                return label_studio.at(path), label_studio.auth
            self._at_home = False
        elif httpx2.Origin(url) != httpx2.Origin(self._target.url):
            self._at_home = False
        return url, login if self._at_home else None

    def _ask(self, url: httpx2.URL, auth: httpx2.Auth | None) -> httpx2.Response:
        return self._client.send(self._client.build_request("GET", url), auth=auth, stream=True)

    def _redirect(
        self, response: httpx2.Response, url: httpx2.URL, auth: httpx2.Auth | None
    ) -> httpx2.URL:
        try:
            target = url.join(response.headers["location"])
        except (KeyError, httpx2.InvalidURL, ValueError) as error:
            raise Declined(
                f"{url.host} redirects to an address that is none",
                "Correct the address in the task's data.",
            ) from error
        to_login = target.path.rstrip("/").endswith("/user/login")
        if to_login and self._path_below_label_studio(url) is not None:
            raise self._declined(HTTPStatus.UNAUTHORIZED, url, auth)
        if parse_url(str(target)) is None:
            raise ImageRefused(
                self._thing,
                f"it redirects to {shown(str(target))}",
                "Give the image an http(s) address that leads to http(s) addresses only.",
            )
        return target

    @property
    def _at_label_studio(self) -> bool:
        return self._at_home and self._target.label_studio is not None

    def _path_below_label_studio(self, url: httpx2.URL) -> str | None:
        label_studio = self._target.label_studio
        return label_studio.path_below(url) if label_studio is not None else None

    def _require_success(
        self, response: httpx2.Response, url: httpx2.URL, auth: httpx2.Auth | None
    ) -> None:
        status = response.status_code
        if response.is_success:
            return
        declined = self._declined(status, url, auth)
        if status in OVERLOADED:
            wait_s = retry_after_s(response.headers.get("Retry-After"))
            raise _Transient(declined.cause, declined.next_step, status, wait_s)
        raise declined

    def _declined(self, status: int, url: httpx2.URL, auth: httpx2.Auth | None) -> Declined:
        path = self._path_below_label_studio(url)
        if path is not None and self._at_home:
            said = label_studio_said(status, path, with_token=auth is not None)
        elif path is not None:
            said = label_studio_said_to_nobody(status)
        elif self._target.label_studio is not None and status == HTTPStatus.UNAUTHORIZED:
            said = (
                f"Label Studio redirected to {shown(str(url))}, which answered 401",
                "If that is the same Label Studio, set LABEL_STUDIO_URL to that address.",
            )
        else:
            said = server_said(status, url.host, with_login=auth is not None)
        return Declined(*said, status)

    def _content(self, response: httpx2.Response) -> bytes:
        """The body, counted while it comes, after its transfer compression is undone."""
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "", "gzip", "x-gzip", "deflate"):
            raise Declined(
                f"the server sends it compressed as {shown(encoding)}, unasked",
                "Have the server send images as they are.",
            )
        if int(response.headers.get("content-length", "0")) > self._limits.max_bytes:
            raise self._limits.over_bytes(self._thing)
        inflate = (
            zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
            if encoding not in ("identity", "")
            else None
        )
        data = bytearray()
        try:
            for chunk in response.iter_raw():
                room = self._limits.max_bytes - len(data) + 1
                data += inflate.decompress(chunk, room) if inflate else chunk
                if len(data) > self._limits.max_bytes:
                    raise self._limits.over_bytes(self._thing)
        except httpx2.ReadTimeout as error:
            raise ImageTooLarge(
                self._thing,
                f"it was still coming after {self._limits.fetch_timeout_s:g} s",
                "Shrink the image, bring it closer, or raise FETCH_TIMEOUT_SECONDS.",
            ) from error
        except zlib.error as error:
            raise Declined(
                "its transfer compression is damaged", "Have the server send images as they are."
            ) from error
        if inflate and not inflate.eof:
            raise _Transient("it ended too early", "Check the server that sends it.")
        return bytes(data)

    def _failure(self, url: httpx2.URL, error: httpx2.TransportError) -> Declined:
        """What an error on the way means."""
        who = "Label Studio" if self._at_label_studio else url.host
        host = f"{url.host}:{httpx2.Origin(url).port}"
        # Not through a proxy: that would look the name up itself, past the check of addresses.
        check = (
            f"Check that {host} can be reached directly, without HTTP_PROXY, from the machine or "
            "container of prelabel."
        )
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return Declined(
                f"the certificate of {host} is not trusted",
                "Set VERIFY_SSL to the file of the authority that signed it.",
            )
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            where = f"{who} at {host}" if self._at_label_studio else host
            return _Transient(f"no connection to {where} ({error})", check)
        if isinstance(error, httpx2.TimeoutException):
            return _Transient(
                f"{who} did not answer within {self._limits.fetch_timeout_s:g} s", check
            )
        return _Transient(f"{who} broke the connection off", check)
