"""A server on a real socket, in a thread of the test's process, over a checkpoint of test size."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import httpx2
import torch
import uvicorn
from fastapi import FastAPI

from ernest.checkpoint import Learnt, save_model
from ernest.serve.app import make_app
from ernest.serve.guard import Access, hosts_of
from ernest.serve.limits import Limits
from ernest.serve.models import Catalogue
from ernest.serve.protocol import with_limits
from ernest.serve.server import listen
from tests.small import network, tokenizers

WORDS = ("a", "red", "seven", "at", "the", "top", "left", "disk", "shrinking", "anna", "says", "three", "plus", "four", "is")
EVERYTHING = (
    "text→image",
    "image→text",
    "image+text→text",
    "text→audio",
    "audio→text",
    "text→video",
    "video→text",
    "text→text",
)


@dataclass(frozen=True)
class Running:
    """Where a server listens, and what it is."""

    url: str
    app: FastAPI
    server: uvicorn.Server

    @property
    def v1(self) -> str:
        return f"{self.url}/v1"

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def metric(self, name: str, **labels: str) -> float:
        return self.app.state.service.metrics.value(name, **labels)

    def wait_until_idle(self, seconds: float = 1.0) -> None:
        """Nothing in the batch, and nothing in the queue."""
        until = time.monotonic() + seconds
        while self.metric("ernest_rows") + self.metric("ernest_queue") + self.app.state.service.scheduler.waited_for:
            assert time.monotonic() < until, self.app.state.service.metrics.text()
            time.sleep(0.005)


def write_checkpoint(folder: Path, directions: tuple[str, ...] = EVERYTHING) -> Path:
    """Of random weights, as if trained in `directions`."""
    save_model(folder, network(), tokenizers(), {}, torch.ones(6, 8), Learnt(directions, WORDS, 200))
    return folder


@contextmanager
def running(
    *models: str | Path, limits: Limits | None = None, access: Access | None = None, wait: bool = True
) -> Iterator[Running]:
    """A server for checkpoints and named sub-models; it has loaded them, unless told not to `wait`."""
    limits = limits or Limits()
    app = make_app(Catalogue.of(map(str, models)), access or Access(hosts=tuple(hosts_of("127.0.0.1"))), limits)
    config = uvicorn.Config(app, http=with_limits(limits), ws="none", log_level="error", access_log=False)
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        served = Running(f"http://127.0.0.1:{listening.getsockname()[1]}", app, server)
        try:
            while wait and httpx2.get(f"{served.url}/healthz").status_code != 200:
                assert thread.is_alive()
                time.sleep(0.02)
            yield served
        finally:
            server.should_exit = True
            thread.join(20)
