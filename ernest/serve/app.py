"""The application: its endpoints, what they share, and what stands before them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from ernest import __version__
from ernest.serve import errors
from ernest.serve.api import chat, images, models, playground, speech, transcriptions, videos
from ernest.serve.films import Films
from ernest.serve.guard import Access, Guard
from ernest.serve.limits import Limits
from ernest.serve.media_in import Reader
from ernest.serve.metrics import Metrics
from ernest.serve.models import Catalogue
from ernest.serve.scheduler import Scheduler
from ernest.serve.service import Service


def make_app(
    catalogue: Catalogue,
    access: Access | None = None,
    limits: Limits | None = None,
    on_failure: Callable[[], None] = lambda: None,
) -> FastAPI:
    """An application for the checkpoints of a catalogue, loaded when it starts; `on_failure` is called where they cannot be."""
    access, limits, metrics = access or Access(), limits or Limits(), Metrics()
    scheduler = Scheduler(catalogue.folders, limits, metrics)
    service = Service(catalogue, limits, metrics, scheduler, Reader(limits), Films(limits), int(time.time()))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        scheduler.start(on_failure)
        with suppress(asyncio.CancelledError):  # where a second Ctrl-C ends the server at once
            yield
        await scheduler.stop()
        service.reader.close()

    # The pages that FastAPI would show of the schema load scripts from elsewhere.
    app = FastAPI(title="Ernest", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    for family in (chat, images, speech, transcriptions, videos, models, playground):
        app.include_router(family.router, responses=errors.RESPONSES)
    errors.install(app)
    app.add_middleware(Guard, access=access, limits=limits, metrics=metrics)
    if access.origins:
        # Outside the guard, so that a page of another host may also read why it was refused.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(access.origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "Retry-After", "Ernest-Doubt", "openai-poll-after-ms"],
        )
    return app
