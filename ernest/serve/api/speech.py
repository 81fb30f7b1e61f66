"""`/v1/audio/speech`: words spoken, as a file or in pieces."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from starlette.responses import Response

from ernest.sequence.record import given
from ernest.serve import media_out
from ernest.serve.scheduler import Job
from ernest.serve.schemas import SpeechBody
from ernest.serve.service import Served, doubt_headers, sampling, seed, usage
from ernest.serve.stream import DONE, EventStream, collect, ends, sse
from ernest.serve.work import Update, Work

router = APIRouter()


@router.post("/v1/audio/speech")
async def speak(body: SpeechBody, request: Request, service: Served) -> Response:
    """Says the words of `input`."""
    words = service.check_text(body.input, "input")
    job = await service.submit(
        Work(service.find(body.model), (given("text", words),), ("audio",), sampling(body, "audio"), seed(body))
    )
    form = body.response_format or "mp3"
    if body.stream_format == "sse":
        return EventStream(job, _stream(job, form), service.limits.silence_seconds, doubt_headers(job))
    (update,) = ends(await collect(request, job))
    return Response(await _file(update, form), media_type=media_out.SOUNDS[form], headers=doubt_headers(job))


async def _stream(job: Job, form: str) -> AsyncIterator[str]:
    async for update in job.updates():
        if update.what == "end":
            for piece in media_out.pieces(await _file(update, form)):
                yield sse({"type": "speech.audio.delta", "audio": piece})
            yield sse({"type": "speech.audio.done", "usage": usage(job, update.choices)})
    yield DONE


async def _file(update: Update, form: str) -> bytes:
    return await asyncio.to_thread(media_out.sound, update.made[0].data, form, update.made[0].rate)
