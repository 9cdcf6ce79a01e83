"""Connections that may not be held open for nothing: request heads and bodies come, or end.

uvicorn waits for a request for ever, and takes heads of any length. A proxy in front bounds both;
where there is none, this does.
"""

from asyncio import BaseTransport, TimerHandle, Transport
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_S = 20.0
"""Time for a request's head, from the connection's begin or the head's first byte."""

MOST_HEAD_BYTES = 64 * 1024

BODY_LOOK_S = 20.0
LEAST_BODY_BYTES = 10_000
"""What must come of a body between two looks: 500 B/s, as Apache wants too."""


class Connection(HttpToolsProtocol):
    """One connection of uvicorn's, closed where its caller keeps it waiting."""

    _timer: TimerHandle | None = None
    _in_head = False
    _head_bytes = 0
    _body_bytes = 0

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin to wait for a head."""
        super().connection_made(cast("Transport", transport))
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._wait_for_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes, before or after it is parsed, by what it belongs to."""
        self._body_bytes += len(data)
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MOST_HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """Wait for the rest of a head."""
        self._in_head, self._head_bytes = True, 0
        self._wait_for_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Wait for a body."""
        self._in_head, self._body_bytes = False, 0
        self._wait_for_nothing()
        self._timer = self.loop.call_later(BODY_LOOK_S, self._look_at_body)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for nothing: the rest is up to the application."""
        self._wait_for_nothing()
        super().on_message_complete()

    def _wait_for_head(self) -> None:
        self._wait_for_nothing()
        self._timer = self.loop.call_later(HEAD_S, self._look_at_head)

    def _wait_for_nothing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at_head(self) -> None:
        if self._answers:  # to an earlier request; what is written now would stand in between
            self._wait_for_head()
        else:
            self._refuse(b"408 Request Timeout")

    @property
    def _answers(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None until a first head is complete
        return cycle is not None and not cycle.response_complete

    def _look_at_body(self) -> None:
        # A body that the application does not read at the moment cannot come.
        held_up = self.flow.read_paused or self.cycle.waiting_for_100_continue
        if self._body_bytes < LEAST_BODY_BYTES and not held_up:
            self.transport.close()  # the application is told that its caller has gone
            return
        self._body_bytes = 0
        self._timer = self.loop.call_later(BODY_LOOK_S, self._look_at_body)

    def _refuse(self, status: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self._answers:
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        self.transport.close()
