"""`/v1/audio/transcriptions`: what is said in a sound, as JSON, text, or JSON with its times."""

from collections.abc import AsyncIterator, Container, Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Request, UploadFile
from starlette.responses import PlainTextResponse, Response

from ernest.generation.answer import printable
from ernest.sequence.record import Kind, given
from ernest.serve import errors
from ernest.serve.scheduler import Job
from ernest.serve.schemas import Guidance, Ignored, Sampled, Seed, Share, Temperature
from ernest.serve.service import Served, doubt_headers, sampling, seed, usage
from ernest.serve.stream import DONE, EventStream, collect, ends, sse
from ernest.serve.work import Work

router = APIRouter()
Shape = Literal["json", "text", "verbose_json"]
FREE = (*Ignored.model_fields, "languages", "chunking_strategy")
"""Fields that change no answer: the model answers in the language that it learnt, and hears a sound as a whole."""


@router.post("/v1/audio/transcriptions")
async def transcribe(
    request: Request,
    service: Served,
    file: Annotated[UploadFile, File()],
    model: Annotated[str | None, Form()] = None,
    response_format: Annotated[Shape, Form()] = "json",
    temperature: Annotated[Temperature | None, Form()] = None,
    top_p: Annotated[Share | None, Form()] = None,
    guidance: Annotated[Guidance | None, Form()] = None,
    seed_: Annotated[Seed | None, Form(alias="seed")] = None,
    stream: Annotated[bool, Form()] = False,
    language: Annotated[str | None, Form()] = None,
    prompt: Annotated[str | None, Form(max_length=0)] = None,
    include: Annotated[list[str] | None, Form(alias="include[]", max_length=0)] = None,
    granularities: Annotated[
        list[Literal["segment"]] | None, Form(alias="timestamp_granularities[]", description="of verbose_json")
    ] = None,
) -> Response:
    """Says in words what a sound holds."""
    _refuse_unknown(await request.form(), {field.alias for field in request.scope["route"].dependant.body_params})
    name = service.find(model)
    wave = (await service.read(model, "file", await file.read(), "audio")).data
    body = Sampled(model=model, temperature=temperature, top_p=top_p, guidance=guidance, seed=seed_)
    watch: frozenset[Kind] = frozenset(["text"] if stream or response_format == "verbose_json" else [])
    work = Work(name, (given("audio", wave),), ("text",), sampling(body, "text"), seed(body), watch=watch)
    job = await service.submit(work)
    if stream:
        return EventStream(job, _stream(job), service.limits.silence_seconds, doubt_headers(job))
    updates = await collect(request, job)
    (update,) = ends(updates)
    text, seconds = update.made[0].data, len(wave) / service.media(model).sample_rate
    if response_format == "text":
        return PlainTextResponse(f"{printable(text)}\n", headers=doubt_headers(job))
    answer: dict[str, Any] = {"text": text, "usage": {"type": "tokens", **usage(job, update.choices)}}
    if response_format == "verbose_json":
        tokens = [token.log_prob for one in updates for token in one.tokens]
        answer = _verbose(text, seconds, language, temperature or 0.0, sum(tokens) / max(1, len(tokens)))
    return errors.Json(answer, headers=doubt_headers(job))


def _refuse_unknown(form: Iterable[str], taken: Container[str]) -> None:
    """FastAPI leaves fields of a form alone that it was not told of."""
    for name in form:
        if name not in taken and name.partition("[")[0] not in FREE:
            raise errors.unknown(name)


def _verbose(text: str, seconds: float, language: str | None, temperature: float, log_prob: float) -> dict[str, Any]:
    """One segment: the model hears the sound as a whole."""
    segment = {"id": 0, "seek": 0, "start": 0.0, "end": round(seconds, 3), "text": text, "tokens": []}
    chances = {"temperature": temperature, "avg_logprob": log_prob, "compression_ratio": 1.0, "no_speech_prob": 0.0}
    head = {"task": "transcribe", "language": language or "unknown", "duration": round(seconds, 3), "text": text}
    return {**head, "segments": [segment | chances], "usage": {"type": "duration", "seconds": round(seconds, 3)}}


async def _stream(job: Job) -> AsyncIterator[str]:
    async for update in job.updates():
        if update.what == "text" and update.text:
            yield sse({"type": "transcript.text.delta", "delta": update.text})
        elif update.what == "end":
            counts = {"type": "tokens", **usage(job, update.choices)}
            yield sse({"type": "transcript.text.done", "text": update.made[0].data, "usage": counts})
    yield DONE
