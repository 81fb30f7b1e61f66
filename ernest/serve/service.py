"""What the endpoints of one server share: its models, its thread, its limits, and how a request becomes work for the model."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request

from ernest.config.media import MediaSpec
from ernest.generation.sampling import DEFAULTS, Sampling
from ernest.sequence.record import Kind, Segment
from ernest.serve import errors
from ernest.serve.films import Films
from ernest.serve.limits import Limits
from ernest.serve.media_in import Reader
from ernest.serve.metrics import Metrics
from ernest.serve.models import Catalogue, ModelName
from ernest.serve.scheduler import Job, Scheduler
from ernest.serve.schemas import Sampled
from ernest.serve.work import Work


@dataclass(frozen=True)
class Service:
    """The parts of one server, which every endpoint is handed."""

    catalogue: Catalogue
    limits: Limits
    metrics: Metrics
    scheduler: Scheduler
    reader: Reader
    films: Films
    started: int
    """Seconds since 1970, which the list of models gives as their age."""

    def find(self, name: str | None) -> ModelName:
        """The model of that name. Raises ApiError where there is none."""
        try:
            found = self.catalogue.find(name)
        except ValueError as error:
            raise errors.wrong(f"model {name!r}: {error}", "model") from None
        if found is None:
            there = ", ".join(map(str, self.catalogue.listed))
            raise errors.ApiError(404, f"there is no model {name!r}; there are {there}", "model", "model_not_found")
        return found

    def samples(self, n: int | None) -> int:
        """Answers to one request. Raises ApiError for too many, which would find room in no queue."""
        most = min(self.limits.samples, self.limits.queue)
        if n is not None and n > most:
            raise errors.wrong(f"n: at most {most}", "n")
        return n or 1

    def check_text(self, text: str, param: str) -> str:
        """Raises ApiError for a prompt that says nothing, or too much."""
        if not text.strip():
            raise errors.wrong(f"{param}: the text is empty", param)
        if len(text) > self.limits.prompt:
            raise errors.wrong(f"{param}: more than {self.limits.prompt:,} characters", param)
        return text

    def media(self, model: str | None) -> MediaSpec:
        """The sizes and rates of a model's media. Raises ApiError where there is no such model, and while it is being loaded."""
        return self.scheduler.media(self.find(model).checkpoint)

    async def read(self, model: str | None, name: str, content: bytes, *kinds: Kind) -> Segment:
        """A picture, film or sound for a model. Raises ApiError for one that cannot be read, and where nobody could answer."""
        spec = self.media(model)
        self.scheduler.check_room()
        return await self.reader.read(name, content, spec, *kinds)

    async def submit(self, work: Work) -> Job:
        """Queues a work; raises ApiError where it cannot be."""
        return await self.scheduler.submit(work)


async def service_of(request: Request) -> Service:
    """Of the server that a request was made to; async, or it would cost every request a hop to another thread."""
    return request.app.state.service


Served = Annotated[Service, Depends(service_of)]


def sampling(body: Sampled, *kinds: Kind) -> Mapping[Kind, Sampling] | None:
    """What the body says of each kind, and of what it leaves open the usual of that kind; None where it leaves all open."""
    asked: dict[Kind, Sampling] = {kind: _asked(body, DEFAULTS[kind]) for kind in kinds}
    return None if all(asked[kind] is DEFAULTS[kind] for kind in kinds) else asked


def _asked(body: Sampled, usual: Sampling) -> Sampling:
    if body.temperature is not None:
        usual = replace(usual, temperature=body.temperature, first_frame_temperature=None)
    if body.top_p is not None:
        usual = replace(usual, top_p=body.top_p)
    if body.guidance is not None:
        usual = replace(usual, guidance=body.guidance)
    return usual


def seed(body: Sampled) -> int:
    """The body's, or any."""
    return secrets.randbelow(2**63) if body.seed is None else body.seed


def usage(job: Job, choices: int) -> Mapping[str, int]:
    """Positions of the prompt, and choices that the answers took."""
    given = job.accepted.positions
    return {"input_tokens": given, "output_tokens": choices, "total_tokens": given + choices}


def doubt_headers(job: Job) -> dict[str, str]:
    """What makes an answer doubtful, as a header, since bodies have no place for it."""
    lines = "; ".join(job.accepted.doubts).replace("→", "->")
    return {"Ernest-Doubt": lines.encode("ascii", "backslashreplace").decode()} if lines else {}
