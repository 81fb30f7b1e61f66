"""Waits for answers, at once or piece by piece; whatever happens to a client, its work ends with it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ernest.serve import errors
from ernest.serve.scheduler import Job
from ernest.serve.work import Update

T = TypeVar("T")
log = logging.getLogger("ernest.serve")
DONE = "data: [DONE]\n\n"
_PIECE = 1 << 16
"""Characters that are held back at most, where more comes at once: a message to the client costs as much as making ten lines."""


def sse(data: Mapping[str, Any], event: str | None = None) -> str:
    """One event of a stream."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data, separators=(',', ':'))}\n\n"


async def collect(request: Request, job: Job) -> list[Update]:
    """All news of a job, in order. Raises ApiError for a failure, and where the client goes away."""
    try:
        return await _unless_gone(_all(job), request.receive)
    finally:
        job.close()


async def _all(job: Job) -> list[Update]:
    return [update async for update in job.updates()]


def ends(updates: list[Update]) -> list[Update]:
    """The end of each sample, by its number."""
    return sorted((update for update in updates if update.what == "end"), key=lambda update: update.sample)


async def _unless_gone(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """The result of `work`, which is cancelled where the client goes away. The request's body must have been read."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise errors.gone()
        return working.result()
    finally:
        working.cancel()
        gone.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events of a job. The stream owns the job: however it ends, the job is closed at once, without an await, and
    without waiting for a generator to be collected."""

    media_type = "text/event-stream"

    def __init__(self, job: Job, lines: AsyncIterator[str], silence: float, headers: Mapping[str, str] | None = None) -> None:
        self.job, self.lines, self.silence = job, lines, silence
        self.status_code, self.background = 200, None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await _unless_gone(self._write(send), receive)
        except errors.ApiError as error:
            if error.status_code != 499:
                raise
        except asyncio.CancelledError:  # the server waits no longer
            await send({"type": "http.response.body", "body": sse(errors.ending().body).encode(), "more_body": False})
        finally:
            self.job.close()

    async def _write(self, send: Send) -> None:
        sends = 0

        async def write(text: str) -> None:
            nonlocal sends
            sends += 1
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

        async def break_silence() -> None:
            """Clients give up on a stream that says nothing."""
            while True:
                before = sends
                await asyncio.sleep(self.silence)
                if sends == before:
                    await write(": waiting\n\n")

        silence = asyncio.ensure_future(break_silence())
        held = ""
        try:
            async for line in self.lines:
                held += line
                if not self.job.has_news or len(held) > _PIECE:
                    await write(held)
                    held = ""
        except errors.ApiError as error:
            held += sse(error.body)
        except Exception:
            log.exception("a stream failed")
            held += sse(errors.failed().body)
        finally:
            silence.cancel()
        await send({"type": "http.response.body", "body": held.encode(), "more_body": False})
