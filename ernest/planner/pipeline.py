"""A step of a pipeline as a simulation of discrete events: stages wait for each other, and the ranks of a stage for the busiest.

Letters: P stages, M rows that pass through them one after the other, N experts, k of them per position, E ranks of experts.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from ernest.config.recipe import Recipe
from ernest.planner.layout import Layout

BACKWARD = 2.0
"""Time of a backward pass, in forward passes."""


@dataclass(frozen=True)
class Step:
    """Of one step: its time, in times of a step without bubbles and with even routing; the share of a stage's time that it waits
    for others; the most that one expert, and one rank of experts, gets of what it would get evenly, as the mean over layers."""

    time: float
    waiting: float
    busiest_expert: float
    busiest_rank: float


def order(stage: int, stages: int, rows: int) -> Iterator[tuple[bool, int]]:
    """What a stage does, one after the other: forward passes (True) and backward ones of rows. It takes as many rows ahead as
    there are stages behind it, then a forward and a backward pass in turns (1F1B), and so holds P rows at most."""
    ahead = min(stages - stage - 1, rows)
    yield from ((True, row) for row in range(ahead))
    for row in range(ahead, rows):
        yield from ((True, row), (False, row - ahead))
    yield from ((False, row) for row in range(rows - ahead, rows))


def step_seconds(forward: np.ndarray, backward: np.ndarray) -> float:
    """The time from the first forward pass to the end of the last backward one, of passes that take `[stages, rows]`."""
    stages, rows = forward.shape
    plans = [deque(order(stage, stages, rows)) for stage in range(stages)]
    there = {(0, True, row) for row in range(rows)}
    busy, events, now = [False] * stages, [], 0.0

    def begin(stage: int) -> None:
        if busy[stage] or not plans[stage] or (stage, *plans[stage][0]) not in there:
            return
        ahead, row = plans[stage].popleft()
        busy[stage] = True
        heappush(events, (now + (forward if ahead else backward)[stage, row], stage, ahead, row))

    begin(0)
    while events:
        now, stage, ahead, row = heappop(events)
        busy[stage] = False
        last = ahead and stage == stages - 1
        to = stage if last else stage + 1 if ahead else stage - 1
        there.add((to, ahead and not last, row))
        for one in {stage, to} & set(range(stages)):
            begin(one)
    return now


def simulate(recipe: Recipe, layout: Layout, uneven: float, seed: int = 0) -> Step:
    """A step of a recipe whose experts' popularity is log-normal with a standard deviation of `uneven`, drawn for each layer.

    A pass through a layer takes (1 - e) + e f of its time with even routing: e is the share of its products that experts take, f
    what the busiest rank of experts gets of its even part, for all wait for it.
    """
    rng, model = np.random.default_rng(seed), recipe.model
    rows, layers = -(-recipe.sequence.rows // layout.data), model.layers // layout.pipeline
    choices = layout.expert * recipe.sequence.length * model.top_k
    popularity = np.exp(rng.normal(0.0, uneven, (layout.pipeline, layers, model.experts)))
    popularity /= popularity.sum(axis=-1, keepdims=True)
    loads = rng.multinomial(choices, np.broadcast_to(popularity, (rows, *popularity.shape))) * (model.experts / choices)
    ranks = loads.reshape(*loads.shape[:-1], layout.expert, -1).mean(axis=-1).max(axis=-1)
    share = expert_share(recipe)
    forward = (1 - share + share * ranks).mean(axis=-1).T
    time = step_seconds(forward, BACKWARD * forward)
    work = (1 + BACKWARD) * forward.sum(axis=1).mean()
    return Step(time / ((1 + BACKWARD) * rows), 1 - work / time, float(loads.max(axis=-1).mean()), float(ranks.mean()))


def expert_share(recipe: Recipe) -> float:
    """Of the products of a layer, the share of the experts: 6 k D H of that and 2 D (2 G + 2 K) d + 2 D N + 4 S D."""
    model = recipe.model
    experts = 3 * model.top_k * model.width * model.expert_width
    attention = model.width * (2 * (model.heads + model.kv_heads) * model.head_dim + 2 * recipe.sequence.length)
    return experts / (experts + attention + model.width * model.experts)
