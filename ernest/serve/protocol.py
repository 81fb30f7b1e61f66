"""Cuts connections that hold a place and do nothing: half-open ones, and clients that never take what they were sent."""

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ernest.serve import errors
from ernest.serve.limits import Limits


class PatientProtocol(H11Protocol):
    """HTTP/1.1 whose patience ends; `limits` belong to the class that `with_limits` makes."""

    limits = Limits()
    _head: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever offers another protocol, as Java's clients do in every first request, is answered in this one; no more need be
        said."""

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is refused as everything else is."""
        body = json.dumps(errors.wrong("the request is no HTTP that can be read").body).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

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
