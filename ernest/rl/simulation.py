"""Plays an order of rollouts with lengths alone: workers that decode one group a tick, and updates between phases.

It answers what an order costs and what it does to the data, before a network is run: time, use of the workers, share of the
prompts that are trained, length trained over length asked, and how many updates old what is trained is.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ernest.config.rl import Order
from ernest.rl.buffer import RolloutBuffer


@dataclass(frozen=True)
class Played:
    """What an order did. `trained` are the prompts of each update, in order, and `share_trained` those of them among all
    whose turn has come; `length_ratio` of each update the mean length trained
    over that of the prompts whose turn it was; `age` the mean and `oldest` the largest number of updates between the weights
    that began a response and those that it trained."""

    order: Order
    time: float
    utilisation: float
    trained: tuple[tuple[int, ...], ...]
    share_trained: float
    length_ratio: tuple[float, ...]
    age: float
    oldest: int


def log_normal_lengths(seed: int, mean: float = 100.0, spread: float = 1.0) -> Callable[[int], int]:
    """The length of each prompt's response, log-normal with that mean: a function of (seed, number)."""

    def length(number: int) -> int:
        draw = np.random.default_rng((seed, number)).normal()
        return max(1, round(mean * float(np.exp(spread * draw - spread * spread / 2))))

    return length


def play(
    order: Order, length: Callable[[int], int], updates: int, batch: int, ahead: int, workers: int, update_time: float = 0.0
) -> Played:
    """Plays `updates` updates of `batch` prompts, whose responses `workers` decode in the order of the prompts."""
    buffer = RolloutBuffer(order, batch, 1 if order == "synchronous" else ahead)
    left: dict[int, int] = {}
    begun: dict[int, int] = {}
    time = busy = 0.0
    trained, ratios, ages = [], [], []
    for update in range(updates):
        asked = [(number, left.get(number, length(number))) for number in buffer.fill()]
        phase = _play_phase(asked, workers, buffer.has_enough)
        for number in phase.started:
            begun.setdefault(number, update)
        left |= phase.cut
        time += phase.time
        busy += phase.busy
        chosen = buffer.take(phase.ended)
        if buffer.policy.cut != "resume":
            left.clear()
            begun = {number: version for number, version in begun.items() if number not in buffer.open}
        trained.append(tuple(chosen))
        due = range(update * batch, (update + 1) * batch)
        ratios.append(float(np.mean([length(n) for n in chosen]) / np.mean([length(n) for n in due])))
        ages += [update - begun[number] for number in chosen]
    due = set(range(updates * batch))
    return Played(
        order,
        time + updates * update_time,
        busy / (workers * (time + updates * update_time)),
        tuple(trained),
        len(due & {number for chosen in trained for number in chosen}) / len(due),
        tuple(ratios),
        float(np.mean(ages)),
        max(ages),
    )


@dataclass(frozen=True)
class _Phase:
    """What workers did until enough responses had ended: the numbers of those, in order, and of all that were `started`; what is
    left of each that was `cut`; the `time` that it took, and that of all workers together in which they were `busy`."""

    ended: list[int]
    started: list[int]
    cut: dict[int, int]
    time: int
    busy: int


def _play_phase(asked: list[tuple[int, int]], workers: int, has_enough: Callable[[list[int]], bool]) -> _Phase:
    """Decodes responses `asked` for, each a number and a length, in their order, as many at once as there are workers."""
    now, busy = 0, 0
    waiting, running = asked[::-1], list[tuple[int, int]]()
    since: dict[int, int] = {}
    ended: list[int] = []
    while not has_enough(ended):
        while waiting and len(running) < workers:
            number, rest = waiting.pop()
            since[number] = now
            heapq.heappush(running, (now + rest, number))
        now, number = heapq.heappop(running)
        busy += now - since[number]
        ended.append(number)
    busy += sum(now - since[number] for _, number in running)
    return _Phase(ended, list(since), {number: end - now for end, number in running}, now, busy)
