"""`python -m benchmarks.model.drafts CHECKPOINT`: what drafting gains on texts of the world, one at a time, greedy.

For every number of tokens ahead: tokens of a step, and the time of a token without drafts over that with them, in turns.
"""

import sys
import time
from pathlib import Path
from statistics import median

import torch
from rich.console import Console

from benchmarks import tables
from benchmarks.tables import Figure
from ernest.checkpoint import load_model
from ernest.data.examples import EncodedSegment
from ernest.generation.drafts import Speculation
from ernest.generation.engine import Engine
from ernest.generation.request import Request
from ernest.world.split import HELD_OUT
from ernest.world.text import story

TEXTS, ROUNDS, AHEAD = 12, 3, (1, 2, 3)


def requests() -> list[Request]:
    """Questions and openings that the model has not seen."""
    records = [story(0, HELD_OUT + n) for n in range(TEXTS)]
    return [
        Request(tuple(EncodedSegment("text", part.data, False) for part in record.segments if not part.made), ("text",))
        for record in records
    ]


def seconds(engine: Engine, asked: list[Request]) -> tuple[float, float]:
    """Of the processor for a token, and tokens of a step."""
    begun, tokens, steps = time.process_time(), 0, 0
    for request in asked:
        engine.submit(request)
        while engine.busy:
            found = sum(event.group == "token" for event in engine.step())
            tokens, steps = tokens + found, steps + bool(found)
    return (time.process_time() - begun) / tokens, tokens / steps


def figures(checkpoint: Path) -> list[Figure]:
    model, tokenizers = load_model(checkpoint)
    plain = Engine(model, tokenizers)
    drafting = {ahead: Engine(model, tokenizers, speculation=Speculation(ahead)) for ahead in AHEAD}
    asked = requests()
    ratios: dict[int, list[float]] = {ahead: [] for ahead in AHEAD}
    lengths = {}
    for turn in range(ROUNDS + 1):
        for ahead, engine in drafting.items():
            without = seconds(plain, asked)[0]
            spent, lengths[ahead] = seconds(engine, asked)
            ratios[ahead] += [without / spent] if turn else []
    return [
        *(Figure(f"11: tokens of a step, {ahead} ahead", lengths[ahead], 1.4) for ahead in AHEAD),
        *(Figure(f"11: plain ÷ drafted, {ahead} ahead", median(ratios[ahead]), 1.3) for ahead in AHEAD),
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    tables.show(Console(width=120), "drafts", (), figures(Path(sys.argv[1])))
