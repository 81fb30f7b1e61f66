"""Finds the best sub-model that a machine affords: measures sizes that have scores, and takes the best of those that fit.

Scores are those of the run: the sub-models of a demo's findings, by direction; of a run on data of one's own, which has none, the
losses on the records that were held out of it, measured here for a grid of sizes.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from ernest.checkpoint import check_checkpoint, load_expert_importance, load_model, network_sizes, run_of
from ernest.config.submodel_size import FULL_SIZE, SubModelSize
from ernest.config.tables import ModelConfig

if TYPE_CHECKING:  # a budget that cannot be read is refused without torch, which takes seconds to import
    from torch import Tensor

    from ernest.model.network import Ernest
    from ernest.tokenizers.bundle import Tokenizers

MEMORY = {"KB": 1e3, "MB": 1e6, "GB": 1e9}
TIME = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
RECORDS = 24
"""Held-out records of a task that a size is scored on where the run has no scores of sizes."""
TOKENS, ROUNDS = 40, 3
"""Tokens that a size is timed over, in each of the rounds in which sizes take turns."""


@dataclass(frozen=True)
class Budget:
    """What a sub-model may take: bytes of its weights, seconds for a token of text; None where it does not matter."""

    memory: float | None = None
    latency: float | None = None

    def holds(self, measured: "Measured") -> bool:
        """Whether a size keeps within it."""
        return (self.memory is None or measured.memory <= self.memory) and (
            self.latency is None or measured.latency <= self.latency
        )

    def __str__(self) -> str:
        memory = [] if self.memory is None else [f"memory={self.memory / 1e6:.3g}MB"]
        return " and ".join(memory + ([] if self.latency is None else [f"latency={1e3 * self.latency:.3g}ms/token"]))


@dataclass(frozen=True)
class ScoredSize:
    """A size, its name, and its score in every direction; `less` where less is better."""

    name: str
    size: SubModelSize
    scores: Mapping[str, float]
    less: bool = False

    @property
    def mean(self) -> float:
        """Over directions: more is better."""
        return fmean(self.scores.values()) * (-1 if self.less else 1)


@dataclass(frozen=True)
class Measured:
    """Bytes of the weights of a size, and seconds that a token of text takes on this machine."""

    memory: float
    latency: float

    def __str__(self) -> str:
        return f"{self.memory / 1e6:.1f} MB and {1e3 * self.latency:.2f} ms/token"


@dataclass(frozen=True)
class Choice:
    """The size that was chosen, the whole model, and what both take."""

    chosen: ScoredSize
    full: ScoredSize
    measured: Measured
    whole: Measured

    def lines(self) -> list[str]:
        """What is given up and what is won, the whole model first."""
        rows = [
            ("", "whole", "chosen"),
            ("MB of weights", f"{self.whole.memory / 1e6:.1f}", f"{self.measured.memory / 1e6:.1f}"),
            ("ms/token", f"{1e3 * self.whole.latency:.2f}", f"{1e3 * self.measured.latency:.2f}"),
            *((name, f"{value:.3f}", f"{self.chosen.scores[name]:.3f}") for name, value in self.full.scores.items()),
            ("mean loss" if self.full.less else "mean score", f"{abs(self.full.mean):.3f}", f"{abs(self.chosen.mean):.3f}"),
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return [f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}" for row in rows]


def read_budget(limits: Iterable[str]) -> Budget:
    """The budget of limits such as `memory=12MB` and `latency=3ms/token`. Raises ValueError for others."""
    found: dict[str, float] = {}
    for limit in limits:
        name, _, value = limit.partition("=")
        units, ending = (MEMORY, "") if name == "memory" else (TIME, "/token")
        match = re.fullmatch(rf"(\d+(?:\.\d+)?)({'|'.join(units)}){ending}", value)
        if name not in ("memory", "latency") or match is None or float(match[1]) == 0:
            raise ValueError(f"--fit {limit}: expected memory=12MB (or KB, GB), latency=3ms/token (or us, s), or both")
        if name in found:
            raise ValueError(f"--fit {limit}: {name} is limited already")
        found[name] = float(match[1]) * units[match[2]]
    return Budget(**found)


def choose_size(checkpoint: Path, budget: Budget) -> Choice:
    """The best scored size that keeps within a budget, of equals the smallest.

    Raises ValueError where there are no scores, where the whole model fits, and where nothing does: it names the smallest then.
    """
    check_checkpoint(checkpoint)
    sizes = scored_sizes(checkpoint)
    model, tokenizers = load_model(checkpoint)
    importance = load_expert_importance(checkpoint)
    measured = measure([one.size for one in sizes], model, tokenizers, importance)
    if budget.holds(measured[FULL_SIZE]):
        raise ValueError(f"{checkpoint} fits as it is, with {measured[FULL_SIZE]}: there is nothing to cut")
    fitting = [one for one in sizes if budget.holds(measured[one.size])]
    if not fitting:
        raise ValueError(_nothing_fits(budget, sizes, measured))
    chosen = max(fitting, key=lambda one: (one.mean, -measured[one.size].memory, -measured[one.size].latency))
    full = next(one for one in sizes if one.size == FULL_SIZE)
    return Choice(chosen, full, measured[chosen.size], measured[FULL_SIZE])


def _nothing_fits(budget: Budget, sizes: Sequence[ScoredSize], measured: Mapping[SubModelSize, Measured]) -> str:
    least = min(sizes, key=lambda one: (measured[one.size].memory, measured[one.size].latency))
    fastest = min(sizes, key=lambda one: measured[one.size].latency)
    ends = [f"the smallest that has scores is {least.name}, with {measured[least.size]}"]
    ends += [] if fastest == least or budget.latency is None else [f"the fastest {fastest.name}, with {measured[fastest.size]}"]
    return f"nothing fits {budget}: {', '.join(ends)}; --layers, --experts and --top-k cut others, which nobody has scored"


# ------------------------------------------------------------------ scores


def scored_sizes(checkpoint: Path) -> list[ScoredSize]:
    """The sizes that the run of a checkpoint has scores of, or scores of a grid of sizes on what the run was judged by; the whole
    model is among them.

    Raises ValueError where there are neither.
    """
    from ernest.evaluation.own_run import FINDINGS
    from ernest.evaluation.results import load
    from ernest.training.run_settings import JUDGED_BY

    run, config = run_of(checkpoint), network_sizes(checkpoint)
    if (run / FINDINGS).is_dir():
        rows = load(run / FINDINGS).submodels
        sizes = [_less_than(config, row.layers, row.experts, row.top_k) for row in rows]
        if FULL_SIZE in sizes:
            return [ScoredSize(row.name, size, row.scores) for row, size in zip(rows, sizes, strict=True)]
    if (run / JUDGED_BY).is_dir():
        return score_grid(checkpoint, run / JUDGED_BY)
    raise ValueError(f"{run} holds neither scores of sub-models nor records that were held out: --fit needs one of them")


def _less_than(config: ModelConfig, layers: int, experts: int, top_k: int) -> SubModelSize:
    """A size by what it has less than the network, as `ernest slice` takes it."""
    pairs = ((layers, config.layers), (experts, config.experts), (top_k, config.top_k))
    return SubModelSize(*(None if kept == every else kept for kept, every in pairs))


def score_grid(checkpoint: Path, held_out: Path) -> list[ScoredSize]:
    """Mean losses on held-out examples, by task: every depth; all experts, half, a quarter; all per token or one."""
    from ernest.data.store import ExampleStore
    from ernest.evaluation.losses import record_losses
    from ernest.generation.engine import Engine
    from ernest.model.slicing import choose
    from ernest.model.submodel import droppable

    model, tokenizers = load_model(checkpoint)
    importance, config, store = load_expert_importance(checkpoint), model.config, ExampleStore(held_out)
    examples = {task: [store[int(i)] for i in indices[:RECORDS]] for task, indices in store.tasks.items()}
    least = config.layers - len(droppable(config, model.spec.levels))
    widths = dict.fromkeys(max(1, config.experts // share) for share in (1, 2, 4))
    scored = []
    for layers, experts, top_k in product(range(config.layers, least - 1, -1), widths, dict.fromkeys((config.top_k, 1))):
        if top_k <= experts:
            size = _less_than(config, layers, experts, top_k)
            submodel = None if size == FULL_SIZE else choose(model, importance, size)
            engine = Engine(model, tokenizers, submodel)
            losses = {task: float(record_losses(engine, some).mean()) for task, some in examples.items()}
            scored.append(ScoredSize(f"{layers} layers, {experts} experts, top-{top_k}", size, losses, less=True))
    return scored


# ------------------------------------------------------------------ measurement


def measure(
    sizes: Sequence[SubModelSize], model: "Ernest", tokenizers: "Tokenizers", importance: "Tensor"
) -> dict[SubModelSize, Measured]:
    """What each size takes on this machine, cut out as `ernest slice` cuts it.

    Sizes take turns, so that all of them bear the same company; the least of the rounds counts.
    """
    memory: dict[SubModelSize, float] = {}
    latency: dict[SubModelSize, list[float]] = {size: [] for size in sizes}
    for turn in range(ROUNDS):
        for size in sizes:
            small = cut(model, importance, size)
            memory[size] = sum(value.nbytes for value in small.state_dict().values())
            latency[size].append(token_seconds(small, tokenizers, seed=turn))
    return {size: Measured(memory[size], min(latency[size])) for size in sizes}


def cut(model: "Ernest", importance: "Tensor", size: SubModelSize) -> "Ernest":
    """The sub-model of a size as a network of its own; the whole model as it is."""
    from ernest.model.slicing import choose, extract

    return model if size.is_full else extract(model, choose(model, importance, size))


def token_seconds(model: "Ernest", tokenizers: "Tokenizers", tokens: int = TOKENS, seed: int = 0) -> float:
    """Seconds that a token of one text takes: the lower quartile over so many, one behind the other, which is what an undisturbed
    one takes. Prompts do not count."""
    from ernest.generation.engine import Engine
    from ernest.generation.request import Request

    engine, seconds, number = Engine(model, tokenizers), [], 0
    while len(seconds) < tokens:
        engine.submit(Request((), ("text",), seed=(seed, number)))
        number += 1
        engine.step()  # runs the prompt
        while engine.busy:
            begun = time.perf_counter()
            engine.step()
            seconds.append(time.perf_counter() - begun)
        if number > tokens:  # a text that ends with its first token has no second to time
            break
    if not seconds:
        raise ValueError("latency: this model ends every text with its first token, so that no token can be timed")
    return sorted(seconds)[len(seconds) // 4]
