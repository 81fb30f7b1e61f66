"""What is claimed of the time of a trained model at work: drafts, and fewer experts a token."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ernest.checkpoint import load_model
from ernest.data.examples import EncodedSegment
from ernest.device import set_threads
from ernest.generation.drafts import Speculation
from ernest.generation.engine import Engine
from ernest.generation.request import Request
from ernest.model.network import Ernest
from ernest.model.submodel import full
from ernest.world.split import HELD_OUT
from ernest.world.text import story

TEXTS, ROUNDS = 12, 11


def turns(engines: Mapping[str, Engine]) -> dict[str, list[float]]:
    """Seconds of the processor for a token of texts that are asked for one at a time, greedy: of each engine in `ROUNDS` turns,
    behind one that warms up."""
    asked = [_request(number) for number in range(TEXTS)]
    spent: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(ROUNDS + 1):
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
