"""An HTTP transport that connects to checked addresses only, and never past a deadline.

It resolves each request's host itself, holds the addresses against the policy, and hands exactly
those to the connection: no second look-up, so no window for DNS rebinding. The pool underneath
goes on keying connections by host name, so that TLS verifies the name and a connection made for
one name is never reused for another at the same address.
"""

import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpcore2
import httpx2

from prelabel.errors import SettingsError
from prelabel.media.addresses import AddressPolicy, resolve_host

Resolve = Callable[[str, int], list[str]]


class _Visit(threading.local):
    """What holds for the requests of the calling thread."""

    deadline: float = float("inf")
    trusted: Collection[httpx2.Origin] = ()
    addresses: tuple[str, ...] = ()

    def left_s(self, timeout: float | None, error: type[httpcore2.TimeoutException]) -> float:
        """Seconds for the next operation; raises the given error once there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise error("the deadline has passed")
        # Sockets take no infinite timeout; an hour is longer than any fetch.
        return min(left, timeout if timeout is not None else 3600.0)


class PinnedTransport(httpx2.BaseTransport):
    """Sends requests to addresses that the policy allows. Threads may share it.

    Args:
        policy: Which addresses may be fetched.
        verify: Whether TLS certificates are verified; a path names the CA file or folder.
        resolve: Gives the addresses of a host and port.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        verify: bool | str = True,
        resolve: Resolve = resolve_host,
    ) -> None:
        self._policy = policy
        self._resolve = resolve
        self._visit = _Visit()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=_ssl_context(verify),
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            network_backend=_PinnedBackend(self._visit),
        )

    @contextmanager
    def visit(self, *, deadline: float, trusted: Collection[httpx2.Origin]) -> Iterator[None]:
        """Hold this thread's requests to a deadline, and let them reach trusted origins.

        Args:
            deadline: As `time.monotonic()` tells time.
            trusted: Origins that may be private.
        """
        self._visit.deadline, self._visit.trusted = deadline, trusted
        try:
            yield
        finally:
            self._visit.deadline, self._visit.trusted = float("inf"), ()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Check where the request goes, then send it there.

        Raises:
            AddressRefused: The policy refuses the address.
            httpx2.TransportError: The request failed on the way.
        """
        url = request.url
        self._policy.require_form(url)
        self._policy.require_named(url, self._visit.trusted)
        port = httpx2.Origin(url).port or 0
        try:
            addresses = self._resolve(url.raw_host.decode("ascii"), port)
        except (OSError, UnicodeError) as error:
            raise httpx2.ConnectError(f"the name {url.host} does not resolve") from error
        self._policy.require(url, addresses, self._visit.trusted)
        self._visit.addresses = tuple(addresses)
        with _in_the_words_of_httpx2():
            response = self._pool.handle_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(
                        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx2.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _PinnedBackend(httpcore2.NetworkBackend):
    """Connects to the addresses that were checked for the request, whatever the name says now."""

    def __init__(self, visit: _Visit) -> None:
        self._visit = visit
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - the interface's; its checked addresses are used instead
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        failure: Exception = httpcore2.ConnectError("the name has no address")
        for address in self._visit.addresses:
            left_s = self._visit.left_s(timeout, httpcore2.ConnectTimeout)
            try:
                stream = self._sockets.connect_tcp(
                    address, port, left_s, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._visit)
        raise failure


class _TimedStream(httpcore2.NetworkStream):
    """A connection each of whose operations ends by the deadline of the thread that uses it.

    A timeout for each read would let a server that sends a byte a second go on for ever.
    """

    def __init__(self, stream: httpcore2.NetworkStream, visit: _Visit) -> None:
        self._stream = stream
        self._visit = visit

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._visit.left_s(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._visit.left_s(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left_s = self._visit.left_s(timeout, httpcore2.ConnectTimeout)
        return _TimedStream(
            self._stream.start_tls(ssl_context, server_hostname, left_s), self._visit
        )

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Body(httpx2.SyncByteStream):
    """A response's body, with its errors in the words of httpx2."""

    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        with _in_the_words_of_httpx2():
            yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


@contextmanager
def _in_the_words_of_httpx2() -> Iterator[None]:
    """Turn the pool's errors into httpx2's, which have the same names."""
    try:
        yield
    except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError) as error:
        kind: type[httpx2.TransportError] = getattr(httpx2, type(error).__name__)
        raise kind(str(error)) from error


def _ssl_context(verify: bool | str) -> ssl.SSLContext:
    if isinstance(verify, bool):
        return httpx2.create_ssl_context(verify, trust_env=False)
    try:
        if Path(verify).is_dir():
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    except OSError as error:  # ssl.SSLError is one too
        raise SettingsError(
            f"VERIFY_SSL={verify}",
            "there are no certificates that can be read",
            "Set it to a PEM file or a folder of certificates, or to true or false.",
        ) from error
