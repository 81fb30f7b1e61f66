"""`python -m benchmarks.model.drafts CHECKPOINT`: what drafting gains on texts of the world, one at a time, greedy.

For every number of tokens ahead: tokens of a verification, and the time of a token without drafts over that with them, in turns;
with one verification in a step of the engine, and with as many as usual.
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
    ways = {(ahead, rounds): Speculation(ahead, rounds=rounds) for rounds in (1, Speculation.rounds) for ahead in AHEAD}
    drafting = {way: Engine(model, tokenizers, speculation=speculation) for way, speculation in ways.items()}
    asked = requests()
    ratios: dict[tuple[int, int], list[float]] = {way: [] for way in ways}
    lengths = {}
    for turn in range(ROUNDS + 1):
        for way, engine in drafting.items():
            without = seconds(plain, asked)[0]
            spent, lengths[way] = seconds(engine, asked)
            ratios[way] += [without / spent] if turn else []
    found = [Figure(f"11: tokens of a verification, {ahead} ahead", lengths[ahead, 1], 1.4) for ahead in AHEAD]
    for (ahead, rounds), ratio in ratios.items():
        found.append(Figure(f"11: plain ÷ drafted, {ahead} ahead, verified {rounds} × a step", median(ratio), 1.3))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    tables.show(Console(width=120), "drafts", (), figures(Path(sys.argv[1])))
