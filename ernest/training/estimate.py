"""What a run will cost, told before its long work: a few steps of each stage are timed on the run's own data."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import torch
from torch.autograd.graph import saved_tensors_hooks

from ernest.checkpoint import tokenizer_spec
from ernest.config.recipe import Recipe
from ernest.config.stages import steps_by_rows
from ernest.data.collate import collate
from ernest.data.examples import encode, outline
from ernest.data.layout import lay_out_example
from ernest.device import autocast, supports_bf16
from ernest.model.cost import trained_parameters
from ernest.model.fp8 import round_products
from ernest.model.network import Ernest
from ernest.planner.plan import split_parameters
from ernest.sequence.packing import fill_row
from ernest.sequence.record import Record
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.adapters import factor_count
from ernest.training.group import process_count
from ernest.training.loss import LossBalancer, combine, loss_sums
from ernest.training.parallelize import parallelize

BASE_BYTES = 400 << 20
"""Of a process that has done nothing yet but to import torch."""
ROWS = 2
"""Rows of the step that is timed."""


@dataclass(frozen=True)
class Estimate:
    """Seconds of each stage by name, bytes of memory of all processes, positions of the whole training and of a record on
    average, and how often a record is drawn."""

    seconds: dict[str, float]
    memory: int
    positions: int
    of_a_record: float
    draws: float

    def __str__(self) -> str:
        stages = ", ".join(f"{name} {_duration(seconds)}" for name, seconds in self.seconds.items())
        return (
            f"about {_duration(sum(self.seconds.values()))} to come ({stages}), {self.memory / 1e9:.1f} GB of memory; "
            f"{self.positions / 1e6:.2f} million positions, {self.of_a_record:.0f} of a record on average, each drawn "
            f"{self.draws:.0f} times"
        )


def estimate_run(
    recipe: Recipe, tokenizers: Tokenizers, records: Sequence[Record], stages: dict[str, Callable[[], float]]
) -> Estimate:
    """The cost of a training of `recipe` on `records`, of which some are measured; `stages` time those before it, in seconds."""
    sample = [records[i] for i in _spread(len(records), 200)]
    lengths = [len(lay_out_example(outline(record, tokenizers), tokenizers, tokenizers.text.encode).layout) for record in sample]
    seconds, stored = _measured(recipe, tokenizers, [*zip(sample, lengths, strict=True)])
    positions = sum(rows * length * count for (rows, length), count in steps_by_rows(recipe).items())
    mean = sum(lengths) / len(lengths)
    return Estimate(
        {name: measure() for name, measure in stages.items()} | {"model": seconds},
        process_count(recipe) * (BASE_BYTES + _state_bytes(recipe, tokenizers) + stored),
        positions,
        mean,
        positions / mean / max(1, len(records)),
    )


def _state_bytes(recipe: Recipe, tokenizers: Tokenizers) -> int:
    """Of weights, gradients and two moments, in float32, as each process holds them; of adapters the factors have all four, and
    the matrices are there as they are and as they were."""
    parallel, count, spec = recipe.parallel, split_parameters(recipe), tokenizer_spec(tokenizers)
    rest = trained_parameters(recipe.model, spec) - count.experts - count.matrices
    held = count.experts // parallel.parts + (count.matrices // parallel.tensor + rest) // parallel.shard
    return 8 * held + 16 * factor_count(recipe, spec) if recipe.training.adapter_rank else 16 * held


def _measured(recipe: Recipe, tokenizers: Tokenizers, sample: Sequence[tuple[Record, int]]) -> tuple[float, int]:
    """Seconds of all steps, and the most bytes that a process stores in one, by a step of each length of rows on those records of
    the sample, each with its length, that fit."""
    tensor, read = recipe.parallel.tensor, steps_by_rows(recipe)
    sharing = process_count(recipe) // tensor  # processes with rows of their own
    seconds, memory = 0.0, 0
    for length in sorted({length for _, length in read}):
        fitting = [record for record, taken in sample if taken <= length]
        a_step, stored = _time_step(recipe, tokenizers, fitting, length) if fitting else (0.0, 0)
        steps = [(-(-rows // sharing), count) for (rows, of), count in read.items() if of == length]
        seconds += a_step * sum(rows * count for rows, count in steps) / ROWS / tensor
        memory = max(memory, stored * max(rows for rows, _ in steps) // ROWS)
    return seconds, memory


def _time_step(recipe: Recipe, tokenizers: Tokenizers, records: Sequence[Record], length: int) -> tuple[float, int]:
    """Seconds of a step of `ROWS` rows of a length forward and backward, and the bytes that it stores in between."""
    draws = cycle([lay_out_example(one, tokenizers, tokenizers.text.encode) for one in encode(records, tokenizers)])
    rows = [fill_row(draws, lambda one: len(one.layout), length)[0] for _ in range(ROWS)]
    batch = collate(rows, length, tokenizers)
    alone = replace(recipe.parallel, shard=1, expert=1, tensor=1)
    model = parallelize(Ernest(recipe.model, tokenizer_spec(tokenizers)), alone).train()
    if recipe.training.fp8:
        round_products(model.backbone)
    stored: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def step() -> None:
        with autocast(batch.token_id.device, supports_bf16() if recipe.training.bf16 is None else recipe.training.bf16):
            sums, counts = loss_sums(model(batch), batch)
        combine(sums, counts, LossBalancer({}), recipe.training.mtp_weight).backward()

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        step()  # the first one is slower, and is not timed
    start = time.perf_counter()
    step()
    return time.perf_counter() - start, sum(stored.values())


def time_steps(run: Callable[[int], object], steps: int, few: int = 3) -> float:
    """Seconds that `steps` of a training take, from `run`, which takes so many of them: `few`, and twice as many."""
    run(1)  # the first one is slower
    start = time.perf_counter()
    run(few)
    middle = time.perf_counter()
    run(2 * few)
    return max(0.0, (time.perf_counter() - middle) - (middle - start)) / few * steps


def _spread(count: int, most: int) -> list[int]:
    return [i * count // min(count, most) for i in range(min(count, most))]


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 100 else f"{seconds:.0f} s"
