"""The playground: one page, its files, and an endpoint of its own that tells everything about an answer while it is made."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, File, Form, UploadFile
from starlette.responses import FileResponse, Response

from ernest.config.media import CODE_RATE
from ernest.sequence.record import KINDS, Kind, given
from ernest.serve import errors, media_out
from ernest.serve.schemas import Sampled
from ernest.serve.scored import measured_sizes, report_of
from ernest.serve.service import Served, sampling, seed
from ernest.serve.stream import DONE, EventStream, sse
from ernest.serve.work import Made, Update, Work
from ernest.world.video import energies

router = APIRouter()
PAGE = Path(__file__).parents[1] / "playground"
FILES = {"style.css": "text/css", "drawing.js": "text/javascript", "page.js": "text/javascript", "answer.js": "text/javascript"}
POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""The page reaches no other host, and no other page holds it in a frame."""
REPORT_POLICY = POLICY | {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; sandbox"
}
"""A report is one file without scripts, and may run none."""
PEAKS = 8
"""Heights that show one frame of sound."""
To = Literal["text", "image", "video", "audio", "any"]


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The playground."""
    return FileResponse(PAGE / "index.html", media_type="text/html", headers=POLICY)


@router.get("/static/{name}", include_in_schema=False)
async def file(name: str) -> Response:
    """A file of the playground."""
    if name not in FILES:
        raise errors.ApiError(404, f"there is no file {name[:60]!r}")
    return FileResponse(PAGE / name, media_type=FILES[name], headers=POLICY)


@router.get("/playground/models")
async def models(service: Served) -> Response:
    """What each checkpoint can be cut to, and what it makes."""

    def sizes() -> list[dict[str, Any]]:
        loaded = service.scheduler.models
        return [{"id": name, **vars(one.sizes()), "makes": one.makes()} for name, one in loaded.items()]

    shown = await service.scheduler.call(sizes)
    for model in shown:
        folder = service.catalogue.folders[model["id"]]
        model |= {"measured": measured_sizes(folder), "has_report": report_of(folder) is not None}
    return errors.Json({"models": shown})


@router.get("/playground/report/{name}", include_in_schema=False)
async def report(name: str, service: Served) -> Response:
    """The report of the run that made a checkpoint: its scores, and a gallery of what was scored."""
    page = report_of(service.catalogue.folders[name]) if name in service.catalogue.folders else None
    if page is None:
        raise errors.ApiError(404, f"there is no report of {name[:60]!r}")
    return FileResponse(page, media_type="text/html", headers=REPORT_POLICY)


@router.get("/playground/cost")
async def cost(service: Served, model: str | None = None) -> Response:
    """Operations and parameters of a sub-model."""
    name = service.find(model)
    return errors.Json(await service.scheduler.call(lambda: service.scheduler.models[name.checkpoint].cost(name.size)))


@router.post("/playground/answer")
async def answer(
    service: Served,
    to: Annotated[To, Form()],
    text: Annotated[str | None, Form()] = None,
    files: Annotated[list[UploadFile] | None, File()] = None,
    model: Annotated[str | None, Form()] = None,
    seed_: Annotated[int | None, Form(alias="seed", ge=0, lt=2**63)] = None,
    temperature: Annotated[float | None, Form(ge=0, le=2, allow_inf_nan=False)] = None,
    guidance: Annotated[float | None, Form(ge=0, le=20, allow_inf_nan=False)] = None,
) -> Response:
    """Tells an answer group by group: text, scales, frames, the experts behind each, and in the end all that was made."""
    if len(files or ()) > service.limits.parts:
        raise errors.wrong(f"files: more than {service.limits.parts}", "files")
    segments = [await service.read(model, "files", await one.read(), "image", "video", "audio") for one in files or ()]
    if text and text.strip():
        segments.append(given("text", service.check_text(text, "text")))
    if not segments:
        raise errors.wrong("text: write something, or give a picture or a sound", "text")
    body = Sampled(model=model, seed=seed_, temperature=temperature, guidance=guidance)
    kinds: tuple[Kind, ...] | None = None if to == "any" else (to,)
    watch: frozenset[Kind] = frozenset(["text", "image", "video", "audio"])
    how = sampling(body, *(kinds or KINDS))
    work = Work(service.find(model), tuple(segments), kinds, how, seed(body), watch=watch, experts=True)
    job = await service.submit(work)
    accepted = {"what": "accepted", "positions": job.accepted.positions, "doubts": job.accepted.doubts}

    async def lines() -> AsyncIterator[str]:
        yield sse(accepted)
        start = time.monotonic()
        async for update in job.updates():
            yield sse(await _told(update, time.monotonic() - start))
        yield DONE

    return EventStream(job, lines(), service.limits.silence_seconds)


async def _told(update: Update, seconds: float) -> dict[str, Any]:
    told: dict[str, Any] = {"what": update.what, "seconds": round(seconds, 4), "frame": update.frame, "scale": update.scale}
    if update.experts is not None:
        told["experts"] = [sorted(set(layer.flatten().tolist()) - {-1}) for layer in update.experts]
    if update.what == "text":
        return told | {"text": update.text}
    if update.what == "picture":
        return told | {"png": _png(update.made[0].data)}
    if update.what == "sound":
        (made,) = update.made
        return told | {"peaks": _peaks(made.data[-round(made.rate / CODE_RATE) :], made.rate)}
    return told | {"made": [await _made(made) for made in update.made], "choices": update.choices, "ending": update.ending}


async def _made(made: Made) -> dict[str, Any]:
    if made.kind == "text":
        return {"kind": "text", "text": made.data}
    if made.kind == "image":
        return {"kind": "image", "png": _png(made.data)}
    if made.kind == "video":
        return {"kind": "video", "frames": [_png(frame) for frame in made.data], "energy": energies(made.data).round(4).tolist()}
    file = await asyncio.to_thread(media_out.sound, made.data, "wav", made.rate)
    return {"kind": "audio", "wav": media_out.to_base64(file), "peaks": _peaks(made.data, made.rate)}


def _png(pixels: np.ndarray) -> str:
    return media_out.to_base64(media_out.picture(pixels))


def _peaks(wave: np.ndarray, rate: int) -> list[float]:
    """The loudest of every part of a frame of sound."""
    step = round(rate / CODE_RATE) // PEAKS
    loudness = np.abs(wave[: len(wave) // step * step]).reshape(-1, step).max(1)
    return loudness.round(3).tolist()
