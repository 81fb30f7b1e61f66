"""The training loop of the unified model, once, for one process or many."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from ernest.checkpoint import tokenizer_spec
from ernest.config.recipe import Recipe
from ernest.config.stages import has_stages, part_at, sequence_at
from ernest.data.collate import collate
from ernest.data.features import FeatureCache
from ernest.data.sampler import plan
from ernest.data.store import ExampleStore
from ernest.device import count_processors, peak_memory, supports_bf16
from ernest.model.fp8 import round_products
from ernest.model.network import Ernest
from ernest.model.router import route_in_turn
from ernest.model.submodel import SubModels, draw, full, stack
from ernest.sequence.batch import Batch
from ernest.storage import append_line, fingerprint
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.adapters import Adapters
from ernest.training.ahead import run_ahead
from ernest.training.build import build_network
from ernest.training.loss import LossBalancer
from ernest.training.optimizer import make_optimizer
from ernest.training.parts import read_parts
from ernest.training.resume import TrainerState, cut_log, load_progress, save_progress, weight_parts
from ernest.training.run_settings import unusual_settings
from ernest.training.schedule import schedule_values
from ernest.training.sharding import parts_of
from ernest.training.step import StepState, step

OnStep = Callable[[int, Mapping[str, float], Ernest], None]
"""Called after every step with its number, its metrics and the network."""

MEASURED = ("seconds", "memory", "processes", "document")
"""What the line of a step tells beside its numbers, as the first process measures it: seconds, the most bytes it has held, how
many processes there are, and the mean positions of its documents."""


def train(
    recipe: Recipe,
    store: ExampleStore,
    tokenizers: Tokenizers,
    run: Path,
    rank: int = 0,
    world: int = 1,
    on_step: OnStep | None = None,
    begin_with: Path | None = None,
    until: int | None = None,
) -> Ernest:
    """Trains to the recipe's last step, or `until` another one, going on from the newest state in `run`; returns what the process
    holds of the network.

    `begin_with` is a file of weights; without it they are drawn at random. With `training.adapter_rank` only adapters of these
    are trained, and kept in states. Raises ValueError for adapters of weights drawn at random, or beside a balance of experts.

    A step is a function of (seed, step) and of the state before it, so a run that was cut and resumed gives bitwise the losses
    of the unbroken one, and `world` processes give those of one up to rounding. Where processors are left over, the next step's
    batch is made while a step is taken.
    """
    config = recipe.training
    if config.adapter_rank and (begin_with is None or config.bias_speed):
        raise ValueError("training.adapter_rank: adapters change a trained model, with training.bias_speed = 0: begin with one")
    torch.manual_seed(recipe.seed)
    model = build_network(recipe.model, tokenizer_spec(tokenizers), recipe.parallel)
    if begin_with is not None:
        read_parts([begin_with], parts_of(model, model.state_dict().items()))
    if config.fp8:
        round_products(model.backbone)
    if config.even_routing:
        route_in_turn(model)
    adapters = Adapters(model, config.adapter_rank) if config.adapter_rank else None
    trained = model if adapters is None else adapters.factors
    optimizer = make_optimizer(trained, config)
    origin = run_fingerprint(recipe, store, tokenizers)
    progress = load_progress(run, trained, optimizer, origin) or TrainerState(0, {}, origin)
    if adapters is not None:
        adapters.apply_change()
    bf16 = supports_bf16() if config.bf16 is None else config.bf16
    state = StepState(optimizer, LossBalancer(progress.running), config.clip, bf16, adapters)
    weights = recipe.weights(store.tasks)
    log = cut_log(run, progress.step) if rank == 0 else None

    features = FeatureCache(tokenizers.vision)

    first, every = rank // recipe.parallel.tensor, world // recipe.parallel.tensor  # neighbours that share matrices share rows

    def make(number: int) -> tuple[Batch, SubModels | None]:
        sequence = sequence_at(recipe, number)
        packed = plan(store, weights, tokenizers, sequence, recipe.seed, number, first, every)
        rows = list(zip(range(first, sequence.rows, every), packed, strict=True))
        seeds = [int(np.random.default_rng((recipe.seed, number, 1, row)).integers(2**62)) for row, _ in rows]
        batch = collate([row for _, row in rows], sequence.length, tokenizers, sequence, seeds, features)
        return batch, _draw(recipe, tokenizers, number, [row for row, _ in rows])

    end = config.steps if until is None else until
    steps = range(progress.step, end)
    with run_ahead(make, steps, count_processors() > world) as batches:
        for number in steps:
            start = time.perf_counter()
            batch, submodels = next(batches)
            metrics = step(model, batch, submodels, state, schedule_values(number, config))
            document = float(batch.valid.sum() / (batch.document.amax(dim=1) + 1).sum())
            measured = time.perf_counter() - start, peak_memory(), world, document
            metrics |= _stage(recipe, number) | dict(zip(MEASURED, measured, strict=True))
            if log is not None:
                append_line(log, json.dumps({"step": number} | metrics))
            if (number + 1) % config.save_every == 0 or number + 1 == end:
                progress = TrainerState(number + 1, dict(state.balancer.running), origin)
                save_progress(run, trained, optimizer, progress)
            if on_step is not None:
                on_step(number, metrics, model)
    return model


def _stage(recipe: Recipe, number: int) -> dict[str, float]:
    """The stage of a step, and its rows, of a run in which these change."""
    if not has_stages(recipe):
        return {}
    part = part_at(recipe, number)
    return {"stage": part.stage, "rows": part.sequence.rows, "length": part.sequence.length}


def _draw(recipe: Recipe, tokenizers: Tokenizers, step: int, rows: list[int]) -> SubModels | None:
    """One sub-model per packed row, or None where all are full."""
    everything = full(recipe.model)
    submodels = [
        draw(recipe.model, tokenizers.audio.config.levels, recipe.elastic, np.random.default_rng((recipe.seed, step, 2, row)))
        for row in rows
    ]
    return None if all(submodel == everything for submodel in submodels) else stack(submodels, recipe.model)


def run_fingerprint(recipe: Recipe, store: ExampleStore, tokenizers: Tokenizers) -> str:
    """What a state must share with the run that goes on from it: recipe, data and tokenizers. How often it saves and shows, and
    in how many processes, is its own."""
    weights = weight_parts(tokenizers.vision) + weight_parts(tokenizers.audio)
    settings = json.dumps(unusual_settings(recipe), sort_keys=True)
    return fingerprint(settings, store.fingerprint, json.dumps(tokenizers.text.merges), *weights)
