"""`/v1/videos`: films from words, at once by `/v1/videos/generations`, or as OpenAI had it, as a job that is asked for."""

import asyncio
import time
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import Response

from ernest.sequence.record import Kind, Segment, given
from ernest.serve import errors, media_out
from ernest.serve.films import Film
from ernest.serve.media_in import data_url
from ernest.serve.schemas import VideoBody, VideoNowBody
from ernest.serve.service import Served, Service, doubt_headers, sampling, seed, usage
from ernest.serve.stream import collect, ends
from ernest.serve.work import Work

router = APIRouter()
B = TypeVar("B", bound=VideoBody)
POLL = {"openai-poll-after-ms": "250"}
"""A whole number: OpenAI's client reads nothing else."""
FORM = {"requestBody": {"required": True, "content": {kind: {"schema": VideoBody.model_json_schema()} for kind in (
    "application/json", "multipart/form-data")}}}  # fmt: skip


@router.post("/v1/videos/generations")
async def generate(body: VideoNowBody, request: Request, service: Served) -> Response:
    """Makes films, and answers with them."""
    media = service.media(body.model)
    factor = media_out.enlargement(body.size, media)
    job = await service.submit(await _work(body, service, service.samples(body.n)))
    ended = ends(await collect(request, job))
    form = body.output_format or "mp4"
    data = []
    for update in ended:
        frames = update.made[0].data
        file = await asyncio.to_thread(media_out.film, frames, form, factor, media.frame_rate)
        data.append({"b64_json": media_out.to_base64(file), "frames": len(frames)})
    facts = {"created": int(time.time()), "data": data, "size": media_out.shown_size(factor, media), "output_format": form}
    counts = usage(job, sum(update.choices for update in ended))
    return errors.Json(facts | {"usage": counts}, headers=doubt_headers(job))


@router.post("/v1/videos", openapi_extra=FORM)
async def create(request: Request, service: Served) -> Response:
    """Begins to make a film."""
    body = await _body(request)
    media = service.media(body.model)
    factor = media_out.enlargement(body.size, media)
    work = await _work(body, service, 1, frozenset(["video"]))
    service.films.make_room()
    film = Film(await service.submit(work), body.prompt, factor, media)
    service.films.add(film)
    return errors.Json(_facts(film, service), headers=POLL | doubt_headers(film.job))


@router.get("/v1/videos")
async def list_films(
    service: Served,
    limit: Annotated[int, Query(ge=0, le=100)] = 20,
    after: str | None = None,
    order: Literal["asc", "desc"] = "desc",
) -> Response:
    """The jobs that are kept."""
    films = service.films.all() if order == "desc" else service.films.all()[::-1]
    if after is not None:
        films = films[films.index(service.films.find(after)) + 1 :]
    shown = films[:limit]
    ids = {"first_id": shown[0].id if shown else None, "last_id": shown[-1].id if shown else None}
    data = [_facts(film, service) for film in shown]
    return errors.Json({"object": "list", "data": data, **ids, "has_more": len(films) > len(shown)})


@router.get("/v1/videos/{video_id}")
async def show(video_id: str, service: Served) -> Response:
    """How far a job is."""
    return errors.Json(_facts(service.films.find(video_id), service), headers=POLL)


@router.delete("/v1/videos/{video_id}")
async def remove(video_id: str, service: Served) -> Response:
    """Forgets a job, and stops it."""
    service.films.remove(service.films.find(video_id))
    return errors.Json({"id": video_id, "object": "video.deleted", "deleted": True})


@router.get("/v1/videos/{video_id}/content")
async def content(video_id: str, service: Served, variant: Literal["video", "thumbnail", "spritesheet"] = "video") -> Response:
    """The film as mp4; its first frame; or all of its frames side by side."""
    film = service.films.find(video_id)
    if film.frames is None:
        raise errors.ApiError(404, f"the video is not there: it is {film.status}", "video_id", "video_not_ready")
    if variant == "video":
        file = await asyncio.to_thread(media_out.film, film.frames, "mp4", film.factor, film.media.frame_rate)
        return Response(file, media_type=media_out.FILMS["mp4"])
    form = "webp" if variant == "thumbnail" else "jpeg"
    pixels = film.frames[0] if variant == "thumbnail" else _side_by_side(film)
    file = await asyncio.to_thread(media_out.picture, pixels, form, film.factor)
    return Response(file, media_type=media_out.PICTURES[form])


@router.post("/v1/videos/{video_id}/remix")
async def remix(video_id: str) -> Response:
    """Refused until the model learns it."""
    raise errors.ApiError(400, "the model cannot change a film: create another one", None, "unsupported_endpoint")


def _side_by_side(film: Film) -> Any:
    assert film.frames is not None
    frames, height, width, channels = film.frames.shape
    return film.frames.transpose(1, 0, 2, 3).reshape(height, frames * width, channels)


def _facts(film: Film, service: Service) -> dict[str, Any]:
    return film.facts(service.limits.video_seconds)


# ------------------------------------------------------------------ what is asked


async def _body(request: Request) -> VideoBody:
    """Of JSON or of a form: OpenAI's client sends one or the other. Raises what FastAPI raises for a body that cannot be."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return _checked(VideoBody, await _json(request))
    async with request.form(max_files=1, max_fields=32) as form:
        values: dict[str, Any] = dict(form)
        reference = values.get("input_reference")
        if isinstance(reference, UploadFile):
            values["input_reference"] = await reference.read()
        for name in ("temperature", "top_p", "guidance", "seed"):
            if values.get(name) == "":
                del values[name]
        return _checked(VideoBody, values)


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except (ValueError, RecursionError):
        raise errors.ApiError(400, "the body is not JSON", None, "invalid_json") from None


def _checked(schema: type[B], values: Any) -> B:
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


async def _work(body: VideoBody, service: Service, samples: int, watch: frozenset[Kind] = frozenset()) -> Work:
    prompt = service.check_text(body.prompt, "prompt")
    first = await _first_frame(body.input_reference, body.model, service)
    return Work(
        service.find(body.model),
        (given("text", prompt),),
        ("video",),
        sampling(body, "video"),
        seed(body),
        samples,
        watch=watch,
        scales=0,  # enough to tell how far a job is
        first_frame=None if first is None else first.data,
    )


async def _first_frame(reference: Any, model: str | None, service: Service) -> Segment | None:
    """A file, a `data:` URL, or an object that holds one as OpenAI's does."""
    if reference is None:
        return None
    if isinstance(reference, dict):
        reference = reference.get("image_url")
    if isinstance(reference, str):
        reference = data_url("input_reference", reference)
    if not isinstance(reference, bytes):
        raise errors.wrong("input_reference: expected a picture, as a file or as a data: URL", "input_reference")
    return await service.read(model, "input_reference", reference, "image")
