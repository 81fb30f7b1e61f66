"""What is claimed of a trained model at work: drafts, and experts replayed where a sampler is less exact than the trainer."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.checkpoint import load_model
from ernest.data import collate as collating
from ernest.data.examples import EncodedSegment, encode
from ernest.data.layout import lay_out_example
from ernest.device import autocast, set_threads
from ernest.generation.drafts import Speculation
from ernest.generation.engine import Engine
from ernest.generation.request import Request
from ernest.model.network import Ernest, Predictions
from ernest.model.submodel import full
from ernest.sequence.batch import Batch
from ernest.tokenizers.bundle import Tokenizers
from ernest.world.split import HELD_OUT
from ernest.world.text import story
from ernest.world.world import records

TEXTS, ROUNDS = 12, 11
REPLAYED = ("text", "image→text", "text→image", "text→speech")
RECORDS = 60
"""Held-out records of each direction on which precisions are compared."""


# ------------------------------------------------------------------ time


def turns(engines: Mapping[str, Engine], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of the processor for a token of texts that are asked for one at a time, greedy: of each engine in `rounds` turns,
    behind one that warms up."""
    asked = [_request(number) for number in range(TEXTS)]
    spent: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(rounds + 1):
        for name, engine in engines.items():
            seconds = _seconds(engine, asked)
            spent[name] += [seconds] if turn else []
    return spent


def drafted(checkpoint: Path) -> dict[str, list[float]]:
    """Seconds a token of every turn, without drafts, and with those of the head of the token after next, one and two ahead."""
    set_threads(1)
    model, tokenizers = load_model(checkpoint)
    ahead = {f"{count} ahead": Engine(model, tokenizers, speculation=Speculation(count)) for count in (1, 2)}
    return turns({"plain": Engine(model, tokenizers)} | ahead)


def with_experts(checkpoint: Path) -> dict[str, list[float]]:
    """Seconds a token of every turn with four experts a token, and with one. What a token takes does not depend on how many of
    them a network was trained with."""
    set_threads(1)
    model, tokenizers = load_model(checkpoint)
    wide = Ernest(replace(model.config, top_k=4), model.spec)
    wide.load_state_dict(model.state_dict())
    one = replace(full(wide.config), top_k=1)
    return turns({"four experts": Engine(wide.eval(), tokenizers), "one expert": Engine(wide, tokenizers, one)})


def _request(number: int) -> Request:
    """The beginning of a held-out text."""
    segments = story(0, HELD_OUT + number).segments
    return Request(tuple(EncodedSegment("text", part.data, False) for part in segments if not part.made), ("text",))


def _seconds(engine: Engine, asked: list[Request]) -> float:
    begun, tokens = time.process_time(), 0
    for request in asked:
        engine.submit(request)
        while engine.busy:
            tokens += sum(event.group == "token" for event in engine.step())
    return (time.process_time() - begun) / tokens


# ------------------------------------------------------------------ precision


def replayed(checkpoint: Path) -> dict[str, dict[str, float]]:
    """By the sampler's precision: the divergence KL(trainer ‖ sampler) of a prediction, in nats, where the trainer in float32
    chooses experts itself and where it takes those of the sampler; and the share of choices that differ."""
    set_threads(1)
    model, tokenizers = load_model(checkpoint)
    model.eval()
    batches = [_batch(task, tokenizers) for task in REPLAYED]
    return {name: divergence(model, sampler, context, batches) for name, (sampler, context) in _samplers(model).items()}


def _samplers(model: Ernest) -> dict[str, tuple[Ernest, Callable]]:
    """The same network in bfloat16 products, and with matrices rounded to float8 (e4m3)."""
    rounded = deepcopy(model).requires_grad_(False)
    for parameter in rounded.backbone.parameters():
        if parameter.dim() > 1:
            scale = parameter.abs().amax() / 448
            parameter.copy_((parameter / scale).to(torch.float8_e4m3fn).float() * scale)
    return {"bfloat16": (model, autocast), "float8 weights": (rounded, nullcontext)}


@torch.inference_mode()
def divergence(model: Ernest, sampler: Ernest, context: Callable, batches: list[Batch]) -> dict[str, float]:
    apart, alike, differ, count = 0.0, 0.0, 0.0, 0
    for batch in batches:
        with context():
            sampled = sampler(batch)
        own, taken = model(batch), model(batch, replay=sampled.router_output.expert_ids)
        mine, theirs = (one.router_output.expert_ids[:, batch.valid].sort(dim=-1).values for one in (own, sampled))
        differ += float((mine != theirs).float().mean()) / len(batches)
        values = [_kl(one, sampled) for one in (own, taken)]
        apart, alike, count = apart + float(values[0].sum()), alike + float(values[1].sum()), count + len(values[0])
    return {"choosing": apart / count, "replaying": alike / count, "choices that differ": differ}


def _kl(one: Predictions, other: Predictions) -> Tensor:
    """KL divergence of every token, every bit and every code."""
    classes = [(one.text, other.text), *zip(one.codes, other.codes, strict=True)]
    found = [(F.log_softmax(p.float(), 1).exp() * (F.log_softmax(p.float(), 1) - F.log_softmax(q.float(), 1))).sum(1)
             for p, q in classes]  # fmt: skip
    p, q = one.bits.float(), other.bits.float()
    bits = torch.sigmoid(p) * (F.logsigmoid(p) - F.logsigmoid(q)) + torch.sigmoid(-p) * (F.logsigmoid(-p) - F.logsigmoid(-q))
    return torch.cat([*found, bits.flatten()])


def _batch(task: str, tokenizers: Tokenizers) -> Batch:
    examples = encode(records(task, 0, range(HELD_OUT, HELD_OUT + RECORDS)), tokenizers)
    packed = [lay_out_example(example, tokenizers, tokenizers.text.encode) for example in examples]
    return collating.collate([[one] for one in packed], max(len(one.layout) for one in packed), tokenizers)
