"""Samples responses with the engine and keeps how each came about: what was chosen, by which odds, experts and weights.

A rollout is a function of (seed, prompt, sample, version of the weights) alone: who runs beside it, and in which order, changes
nothing. One that is cut goes on later under newer weights, and remembers which of its choices were made under which.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ernest.data.examples import EncodedSegment
from ernest.generation.engine import Engine
from ernest.generation.request import Answer, End, Event, Group, MadeSegment, Request
from ernest.generation.row import ONLY_CONTROLS, Allowed
from ernest.generation.sampling import Sampling, at_frame
from ernest.model.submodel import SubModel
from ernest.sequence.record import Kind

MODALITIES = ("text", "vision", "audio")
MODALITY: Mapping[Group, int] = {"token": 0, "bits": 1, "codes": 2}
Key = tuple[int, int]
"""The number of a prompt, and that of one of its samples."""


@dataclass(frozen=True, eq=False)
class Choice:
    """A group that was chosen. `value` is a token, the bits bool `[cells, bits]` of a `scale`, or codes `[levels]`.

    `position` is the last one of those that predicted it. `log_probs` `[elements]` are those of the policy that sampled it, one
    for the token, for every bit or for every code, at `temperature` and among the tokens `allowed`. `experts`
    `[layers, positions, k]` ran where it was predicted, `version` counts the updates of the weights that chose it, and `segment`
    the changes of modality before it.
    """

    group: Group
    value: Any
    position: int
    scale: int
    log_probs: Tensor
    temperature: float
    allowed: Allowed | None
    experts: Tensor | None
    version: int
    segment: int


@dataclass(frozen=True, eq=False)
class Ask:
    """What a sample is asked for: one segment of `kind` behind `prompt`. The `frames` of a video, or its latents where one stands
    for several, are told, or None.

    `submodel` is what learns from it, and `sampler` what draws it, None the whole network. `hint` are the values of the first
    groups, which are given: they stand in the answer, and nobody chose them."""

    prompt: tuple[EncodedSegment, ...]
    kind: Kind
    sampling: Sampling
    frames: int | None = None
    submodel: SubModel | None = None
    sampler: SubModel | None = None
    hint: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class Response:
    """What was made of an ask: `segments` and the `choices` that made them; None and no `end` of one that was cut."""

    ask: Ask
    choices: tuple[Choice, ...]
    segments: tuple[MadeSegment, ...] | None = None
    end: End | None = None

    @property
    def length(self) -> int:
        """How many groups were chosen."""
        return len(self.choices)


def check_sampling(sampling: Sampling, name: str = "sampling") -> None:
    """Raises ValueError for a sampling whose log-probabilities the trainer does not work out: those of temperature are exact."""
    if sampling.guidance:
        raise ValueError(f"{name}.guidance = {sampling.guidance}: a guided policy cannot be trained; leave it at 0")
    if sampling.top_p < 1:
        raise ValueError(f"{name}.top_p = {sampling.top_p}: what top-p cuts off has no log-probability; leave it at 1")
    for field in ("temperature", "first_frame_temperature"):
        if getattr(sampling, field) == 0:
            raise ValueError(f"{name}.{field} = 0: a greedy policy has no gradient; choose more than 0")


Enough = Callable[[Sequence[Key]], bool]
"""Whether the samples that have ended, in the order of their ends, suffice."""


def run_rollouts(
    engine: Engine, asked: Mapping[Key, Response], seed: int, version: int, enough: Enough = lambda ended: False
) -> dict[Key, Response]:
    """Samples what is asked, in that order, until all have ended or those that have are `enough`; what has not ended comes back
    without an end, to be asked again. `asked` are responses without an end, of which new ones have no choices yet."""
    tickets = {engine.submit(_request(key, response, seed, version)): key for key, response in asked.items()}
    chosen = {key: list(response.choices) for key, response in asked.items()}
    answers: dict[Key, Answer] = {}
    while engine.busy and not enough(tuple(answers)):
        for event in engine.step():
            key = tickets[event.ticket]
            if event.answer is not None:
                answers[key] = event.answer
            else:
                chosen[key].append(_choice(event, asked[key].ask, chosen[key], version))
    for ticket in tickets:
        engine.cancel(ticket)
    while engine.busy:
        engine.step()
    found = {}
    for key, response in asked.items():
        answer = answers.get(key)
        segments, end = (None, None) if answer is None else (answer.segments, answer.end)
        found[key] = Response(response.ask, tuple(chosen[key]), segments, end)
    ended = {key: found[key] for key in answers}
    return ended | found


def _request(key: Key, response: Response, seed: int, version: int) -> Request:
    ask = response.ask
    check_sampling(ask.sampling)
    return Request(
        ask.prompt,
        (ask.kind,),
        ask.sampling,
        (seed, *key, version),
        submodel=ask.sampler,
        frames=ask.frames,
        experts=True,
        begun=(*ask.hint, *(choice.value for choice in response.choices)),
    )


def _choice(event: Event, ask: Ask, before: Sequence[Choice], version: int) -> Choice:
    """An event as a choice; a token that only goes on with a video or ends it belongs to the video."""
    assert event.group != "end"
    sampling = at_frame(ask.sampling, event.frame) if event.group == "bits" else ask.sampling
    log_probs = event.elements.flatten() if event.elements is not None else _scalar(event.log_prob)
    segment = before[-1].segment if before else 0
    inherits = event.allowed is not None and event.allowed[0] == ONLY_CONTROLS
    if before and not inherits and event.group != before[-1].group:
        segment += 1
    return Choice(
        event.group,
        event.value,
        event.position,
        event.scale,
        log_probs,
        sampling.temperature,
        event.allowed,
        event.experts,
        version,
        segment,
    )


def _scalar(value: float) -> Tensor:
    import torch

    return torch.tensor([value])
