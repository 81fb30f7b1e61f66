"""The training loop of the unified model, once, for one process or many."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ernest.checkpoint import tokenizer_spec
from ernest.config.recipe import Recipe
from ernest.config.stages import has_stages, part_at
from ernest.data.drawn import Examples
from ernest.device import peak_memory, supports_bf16
from ernest.model.fp8 import round_products
from ernest.model.network import Ernest
from ernest.model.router import route_in_turn
from ernest.storage import append_line, fingerprint
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.adapters import Adapters
from ernest.training.build import build_network
from ernest.training.loss import LossBalancer
from ernest.training.makers import BatchMaker, batches
from ernest.training.optimizer import make_optimizer
from ernest.training.parts import read_parts
from ernest.training.resume import TrainerState, cut_log, load_progress, save_progress, weight_parts
from ernest.training.run_settings import unusual_settings
from ernest.training.schedule import schedule_values
from ernest.training.sharding import parts_of
from ernest.training.step import StepState, step

OnStep = Callable[[int, Mapping[str, float], Ernest], None]
"""Called after every step with its number, its metrics and the network."""

MEASURED = ("seconds", "waiting", "memory", "processes", "document")
"""What the line of a step tells beside its numbers, as the first process measures it: seconds, those of them in which it had no
batch yet, the most bytes it has held, how many processes there are, and the length of the document that a position lies in,
as the mean over positions."""


def train(
    recipe: Recipe,
    store: Examples,
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
    of the unbroken one, and `world` processes give those of one up to rounding. Batches are made while steps are taken.
    """
    config = recipe.training
    if config.adapter_rank and (begin_with is None or config.bias_speed):
        raise ValueError("training.adapter_rank: adapters change a trained model, with training.bias_speed = 0: begin with one")
    model = _first_network(recipe, tokenizers, begin_with)
    adapters = Adapters(model, config.adapter_rank) if config.adapter_rank else None
    trained = model if adapters is None else adapters.factors
    optimizer = make_optimizer(trained, config)
    origin = run_fingerprint(recipe, store, tokenizers)
    progress = load_progress(run, trained, optimizer, origin) or TrainerState(0, {}, origin)
    if adapters is not None:
        adapters.apply_change()
    bf16 = supports_bf16() if config.bf16 is None else config.bf16
    state = StepState(optimizer, LossBalancer(progress.running), config.clip, bf16, adapters)
    log = cut_log(run, progress.step) if rank == 0 else None
    end = config.steps if until is None else until
    steps = range(progress.step, end)
    with batches(BatchMaker(recipe, store, tokenizers, rank, world), steps) as made:
        for number in steps:
            start = time.perf_counter()
            batch, submodels = next(made)
            waited = time.perf_counter() - start
            metrics = step(model, batch, submodels, state, schedule_values(number, config))
            measured = time.perf_counter() - start, waited, peak_memory(), world, seen_length(batch.document)
            metrics |= _stage(recipe, number) | dict(zip(MEASURED, measured, strict=True))
            if log is not None:
                append_line(log, json.dumps({"step": number} | metrics))
            if (number + 1) % config.save_every == 0 or number + 1 == end:
                progress = TrainerState(number + 1, dict(state.balancer.running), origin)
                save_progress(run, trained, optimizer, progress)
            if on_step is not None:
                on_step(number, metrics, model)
    return model


def _first_network(recipe: Recipe, tokenizers: Tokenizers, begin_with: Path | None) -> Ernest:
    """What the process holds of the network, with the weights of a file or with those drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    model = build_network(recipe.model, tokenizer_spec(tokenizers), recipe.parallel)
    if begin_with is not None:
        read_parts([begin_with], parts_of(model, model.state_dict().items()))
    if recipe.training.fp8:
        round_products(model.backbone)
    if recipe.training.even_routing:
        route_in_turn(model)
    return model


def seen_length(document: Tensor) -> float:
    """The length of the document that a position lies in, as the mean over positions; `document` `[rows, length]` numbers those
    of packed rows, and padding is -1."""
    rows = torch.arange(len(document))[:, None] * document.shape[1]
    counts = torch.bincount((document + rows)[document >= 0]).double()
    return float(counts.square().sum() / counts.sum())


def _stage(recipe: Recipe, number: int) -> dict[str, float]:
    """The stage of a step, and its rows, of a run in which these change."""
    if not has_stages(recipe):
        return {}
    part = part_at(recipe, number)
    return {"stage": part.stage, "rows": part.sequence.rows, "length": part.sequence.length}


def run_fingerprint(recipe: Recipe, store: Examples, tokenizers: Tokenizers) -> str:
    """What a state must share with the run that goes on from it: recipe, data and tokenizers. How often it saves and shows, and
    in how many processes, is its own."""
    weights = weight_parts(tokenizers.vision) + weight_parts(tokenizers.audio)
    settings = json.dumps(unusual_settings(recipe), sort_keys=True)
    return fingerprint(settings, store.fingerprint, json.dumps(tokenizers.text.merges), *weights)
