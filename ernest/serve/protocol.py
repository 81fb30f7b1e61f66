"""Cuts connections that hold a place and do nothing: half-open ones, heads without an end, and clients that never take what they
were sent. Answers requests that offer another protocol as if they did not."""

import asyncio
import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ernest.serve.limits import Limits


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose patience ends; `limits` belong to the class that `with_limits` makes."""

    limits = Limits()
    parser: Any
    _head: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _unread = 0
    """Bytes since the last whole head or piece of a body."""
    _data = _again = b""
    """What the parser was given last, and what it is to be given once more."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        while data:
            self._again, self._data = b"", data
            super().data_received(data)
            data = self._again
        self._watch_head()
        if self._unread > self.limits.head:
            self._abort()

    def on_headers_complete(self) -> None:
        self._unread = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def _should_upgrade(self) -> bool:
        return self.parser.get_method() != b"CONNECT"  # which offers nothing and is refused

    def handle_websocket_upgrade(self) -> None:
        """Another protocol is offered, as Java's clients do in every first request: no offer, no end of what the parser reads."""
        upgrade = sys.exception()
        assert upgrade is not None
        line = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        headers = [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self._again = b"\r\n".join([line, *headers, b"", self._data[upgrade.args[0] :]])

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.limits.read_seconds, self._abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        _end(self._stalled)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        _end(self._head)
        _end(self._stalled)

    def _watch_head(self) -> None:
        """A connection has so long to send the head of a request, counted from its first byte."""
        waits = self.cycle is None or self.cycle.response_complete
        if not waits:
            _end(self._head)
            self._head = None
        elif self._head is None:
            self._head = self.loop.call_later(self.limits.head_seconds, self._abort)

    def _abort(self) -> None:
        # Between two requests uvicorn's own timer closes the connection.
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()


def with_limits(given: Limits) -> type[PatientProtocol]:
    """The protocol with the limits of a server."""

    class Protocol(PatientProtocol):
        limits = given

    return Protocol


def _end(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
