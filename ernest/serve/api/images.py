"""`/v1/images`: pictures from words, at once or scale by scale."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ernest.config.media import MediaSpec
from ernest.sequence.record import given
from ernest.serve import errors, media_out
from ernest.serve.scheduler import Job
from ernest.serve.schemas import ImageBody
from ernest.serve.service import Served, doubt_headers, sampling, seed, usage
from ernest.serve.stream import DONE, EventStream, collect, ends, sse
from ernest.serve.work import Update, Work

router = APIRouter()


@router.post("/v1/images/generations")
async def generate(body: ImageBody, request: Request, service: Served) -> Response:
    """Makes pictures. With `stream`, the `partial_images` are the scales in which the model makes one."""
    form = _Form(body, service.media(body.model))
    prompt = service.check_text(body.prompt, "prompt")
    partials = body.partial_images or 0
    if partials and not body.stream:
        raise errors.wrong("partial_images: only a stream has some", "partial_images")
    work = Work(
        service.find(body.model),
        (given("text", prompt),),
        ("image",),
        sampling(body, "image"),
        seed(body),
        service.samples(body.n),
        watch=frozenset(["image"] if partials else []),
        scales=partials,
    )
    job = await service.submit(work)
    if body.stream:
        return EventStream(job, _stream(job, form), service.limits.silence_seconds, doubt_headers(job))
    ended = ends(await collect(request, job))
    data = [{"b64_json": await form.picture(update)} for update in ended]
    return errors.Json(
        {"created": form.created, "data": data, **form.facts, "usage": _usage(job, ended)}, headers=doubt_headers(job)
    )


@router.post("/v1/images/edits")
@router.post("/v1/images/variations")
async def edit() -> Response:
    """Refused until the model learns it."""
    message = "the model makes pictures from words alone, and cannot change one: use /v1/images/generations"
    raise errors.ApiError(400, message, None, "unsupported_endpoint")


async def _stream(job: Job, form: "_Form") -> AsyncIterator[str]:
    async for update in job.updates():
        if update.what == "picture":
            event = "image_generation.partial_image"
            data = {"type": event, "b64_json": await form.picture(update), "created_at": form.created, **form.facts}
            yield sse(data | {"partial_image_index": update.scale}, event)
        elif update.what == "end":
            event = "image_generation.completed"
            data = {"type": event, "b64_json": await form.picture(update), "created_at": form.created, **form.facts}
            yield sse(data | {"usage": _usage(job, [update])}, event)
    yield DONE


def _usage(job: Job, ended: list[Update]) -> dict[str, Any]:
    counts = usage(job, sum(update.choices for update in ended))
    return {**counts, "input_tokens_details": {"text_tokens": counts["input_tokens"], "image_tokens": 0}}


@dataclass
class _Form:
    """How the pictures of a request are sent. Raises ApiError for a form that cannot be."""

    body: ImageBody
    media: MediaSpec

    def __post_init__(self) -> None:
        self.created = int(time.time())
        self.factor = media_out.enlargement(self.body.size, self.media)
        self.name = self.body.output_format or "png"
        if self.name == "png" and self.body.output_compression not in (None, 100):
            raise errors.unsupported("output_compression", self.body.output_compression, "only jpeg and webp lose something")

    @property
    def facts(self) -> dict[str, str]:
        size = media_out.shown_size(self.factor, self.media)
        return {"background": "opaque", "output_format": self.name, "quality": "auto", "size": size}

    async def picture(self, update: Update) -> str:
        pixels = update.made[0].data
        how = pixels, self.name, self.factor, self.body.output_compression
        # A small one takes less time than the way to another thread.
        file = media_out.picture(*how) if self.factor == 1 else await asyncio.to_thread(media_out.picture, *how)
        return media_out.to_base64(file)
