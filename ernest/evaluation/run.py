"""Evaluates a trained run: every direction at full size and as sub-models, balance and speed, in as many processes as cores."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console

from ernest.checkpoint import load_expert_importance, load_model
from ernest.config.recipe import Recipe
from ernest.config.stages import longest
from ernest.config.submodel_size import FULL_SIZE, SubModelSize
from ernest.data.store import ExampleStore
from ernest.device import set_threads
from ernest.evaluation.directions import BALANCE, DIRECTIONS, SPEED, Criterion
from ernest.evaluation.evaluate import evaluate
from ernest.evaluation.results import FULL, EvalResult, Findings, Sample, Score, SubModelRow
from ernest.evaluation.routing import mixture_load, normalised_entropy, usage
from ernest.evaluation.run_facts import facts_of
from ernest.generation.engine import Engine, bf16_pays
from ernest.model.cost import active_parameters, total_parameters
from ernest.model.slicing import choose
from ernest.model.submodel import SubModel
from ernest.storage import read_log
from ernest.training.progress import stage_bar
from ernest.verifiers.judges import Judges


@dataclass(frozen=True)
class System:
    """The model at a size, by the name that stands in the report."""

    name: str
    size: SubModelSize = FULL_SIZE


SYSTEMS = (System(FULL), System("half", SubModelSize(5, 24, 1)), System("top-1", SubModelSize(top_k=1)))
"""The full model, the half-size one (54 % active, 36 % in all), and the one that only runs one expert per token."""
CURVE = (
    System("7 layers, 36 experts", SubModelSize(7, 36)),
    System("6 layers, 30 experts, top-1", SubModelSize(6, 30, 1)),
)
"""Sizes between, for the elastic curve alone."""
CURVE_DIRECTIONS = ("image→text", "speech→text", "text→image", "text→speech", "video→text")
SAMPLES = 12
"""The most samples of a direction, of the full model alone."""


def evaluate_run(build: Path, recipe: Recipe, console: Console) -> Findings:
    """Scores, samples, routing and the elastic curve of `build/model`, verified by `build/judges`."""
    jobs = [(system, name) for system in SYSTEMS for name in DIRECTIONS]
    jobs += [(system, name) for system in CURVE for name in CURVE_DIRECTIONS]
    results: dict[tuple[System, str], tuple[EvalResult, ...]] = {}
    count = recipe.world.held_out
    with (
        ProcessPoolExecutor(os.cpu_count() or 1, get_context("spawn"), set_threads, (1,)) as pool,
        stage_bar(console) as progress,
    ):
        bar = progress.add_task("held-out records", total=len(jobs), note="")
        running = {pool.submit(_evaluate, build, system, name, recipe.seed, count): (system, name) for system, name in jobs}
        for done in as_completed(running):
            results[running[done]] = done.result()
            progress.update(bar, advance=1, note=f"{running[done][1]}, {running[done][0].name}")
    scores = [
        _score(criterion, direction.group, system, result)
        for name, direction in DIRECTIONS.items()
        for system in SYSTEMS
        for criterion, result in zip(direction.criteria, results[system, name], strict=True)
    ]
    samples = [sample for name in DIRECTIONS for result in results[SYSTEMS[0], name] for sample in result.samples]
    return _findings(build, recipe, scores, samples, results)


def _score(criterion: Criterion, group: str, system: System, result: EvalResult) -> Score:
    true, rebuilt = result.ceilings
    return Score(
        criterion.name,
        system.name,
        result.value,
        criterion.bar if system.name == FULL else None,
        criterion.chance,
        criterion.checked_by,
        true,
        rebuilt,
        result.count,
        criterion.lower_is_better,
        group,
    )


def training_scores(load: np.ndarray, metrics: Sequence[Mapping[str, float]]) -> list[Score]:
    """Scores of the training itself: the load `[batches, layers, experts]` of the least balanced layer, and the speed."""
    system = SYSTEMS[0]
    scores = [_score(BALANCE, "training", system, EvalResult(float(normalised_entropy(load.sum(0)).min()), 0))]
    pace = [entry["positions"] / entry["seconds"] for entry in metrics if entry.get("seconds", 0) > 0]
    if pace:
        scores.append(_score(SPEED, "training", system, EvalResult(median(pace), 0)))
    return scores


def _findings(
    build: Path,
    recipe: Recipe,
    scores: list[Score],
    samples: list[Sample],
    results: dict[tuple[System, str], tuple[EvalResult, ...]],
) -> Findings:
    model, tokenizers = load_model(build / "model")
    store = ExampleStore(build / "examples")
    rows = []
    for system in (*SYSTEMS, *CURVE):
        submodel = _submodel(build, system)
        active = active_parameters(model.config, submodel) / active_parameters(model.config)
        total = total_parameters(model.config, model.spec, submodel) / total_parameters(model.config, model.spec)
        values = {direction: results[system, direction][0].value for direction in CURVE_DIRECTIONS}
        layers, experts, top_k = (given or vars(model.config)[name] for name, given in vars(system.size).items())
        rows.append(SubModelRow(system.name, active, total, layers, experts, top_k, values))
    metrics = tuple(read_log(build / "metrics.jsonl"))
    load = mixture_load(model, store, recipe.weights(store.tasks), tokenizers, longest(recipe), recipe.seed)
    return Findings(
        "Ernest: first light",
        (*scores, *training_scores(load, metrics)),
        tuple(samples),
        tuple(rows),
        metrics,
        usage=usage(model, store, tokenizers, longest(recipe)),
        load=load,
        facts=facts_of(model, recipe, metrics),
        threads=os.cpu_count() or 1,
    )


@cache
def _loaded(build: Path):
    return *load_model(build / "model"), Judges.load(build / "judges"), load_expert_importance(build / "model")


def _submodel(build: Path, system: System) -> SubModel | None:
    if system.size.is_full:
        return None
    model, _, _, importance = _loaded(build)
    return choose(model, importance, system.size)


def _evaluate(build: Path, system: System, name: str, seed: int, count: int) -> tuple[EvalResult, ...]:
    """One direction at one size; only the full model leaves samples."""
    model, tokenizers, judges, _ = _loaded(build)
    engine = Engine(model, tokenizers, _submodel(build, system), bf16=bf16_pays(model))
    return evaluate(DIRECTIONS[name], engine, judges, seed, count, SAMPLES if system.name == FULL else 0)
