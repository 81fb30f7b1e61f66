"""The examination of the demo's model: full size and sub-models, every direction, on held-out records."""

import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console

from ernest.checkpoint import load_expert_importance, load_model
from ernest.config.recipe import Recipe
from ernest.data.store import ExampleStore
from ernest.evaluation.directions import DIRECTIONS, Examiner, Judges, Outcome
from ernest.evaluation.results import FULL, Findings, Sample, Score, SubModelRow
from ernest.evaluation.routing import mixture_load, usage
from ernest.evaluation.run_facts import facts_of
from ernest.generation.engine import Engine
from ernest.model.cost import active_parameters, total_parameters
from ernest.model.slicing import choose
from ernest.model.submodel import SubModel
from ernest.tokenizers.precision import half_precision
from ernest.training.monitor import stage_bar


@dataclass(frozen=True)
class System:
    """The model at a size: all of it where a number is None."""

    name: str
    layers: int | None = None
    experts: int | None = None
    top_k: int | None = None


SYSTEMS = (System(FULL), System("half", 5, 24, 1), System("top-1", top_k=1))
"""The full model, the half-size one (54 % active, 36 % in all), and the one that only runs one expert per token."""
CURVE = (System("7 layers, 36 experts", 7, 36), System("6 layers, 30 experts, top-1", 6, 30, 1))
"""Sizes between, for the elastic curve alone."""
CURVE_DIRECTIONS = ("image→text", "speech→text", "text→image", "text→speech", "video→text")


@dataclass(frozen=True)
class Line:
    """How a direction stands in the score table."""

    name: str
    verifier: str
    bar: float | None
    chance: str
    group: str
    lower_is_better: bool = False


LINES: dict[str, tuple[Line, ...]] = {
    "image→text": (Line("image → text, whole caption", "caption grammar", 0.90, "≤ 0.01", "understanding"),),
    "speech→text": (Line("speech → text, draws never heard", "exact word", 0.95, "0.05", "understanding"),),
    "speech→text, voices never heard": (Line("speech → text, voices never heard", "exact word", 0.90, "0.05", "understanding"),),
    "video→text": (Line("video → text, family", "exact", 0.95, "0.2", "understanding"),),
    "question about image": (Line("question about a picture", "exact", None, "–", "understanding"),),
    "text→image": (Line("text → image: digit, colour, place", "judge, exact, exact", 0.90, "≤ 0.01", "generation"),),
    "text→speech": (Line("text → speech, from the waveform", "word classifier", 0.95, "0.05", "generation"),),
    "text→video": (
        Line("text → video: family", "judge", 0.80, "0.2", "generation"),
        Line("text → video: family and lawful", "judge, energy law", 0.60, "–", "generation"),
    ),
    "first frame→video": (
        Line("first frame and words → video: family", "judge", 0.90, "0.2", "generation"),
        Line("first frame and words → video: family and lawful", "judge, energy law", 0.70, "–", "generation"),
    ),
    "text": (Line("text: bits per byte ÷ unigram's", "held-out likelihood", 0.50, "1", "text", True),),
    "image→speech": (Line("image → speech, never trained", "word classifier", None, "0.1", "never trained"),),
    "speech→image": (Line("speech → image, never trained", "judge", None, "0.1", "never trained"),),
}


def examine(build: Path, recipe: Recipe, console: Console) -> Findings:
    """Scores, samples, routing and the elastic curve of `build/model`, in as many processes as there are cores."""
    jobs = [(system, direction) for system in SYSTEMS for direction in DIRECTIONS]
    jobs += [(system, direction) for system in CURVE for direction in CURVE_DIRECTIONS]
    found: dict[tuple[System, str], tuple[Outcome, ...]] = {}
    count = recipe.world.held_out
    with (
        ProcessPoolExecutor(os.cpu_count() or 1, get_context("spawn"), _one_thread) as pool,
        stage_bar(console) as progress,
    ):
        bar = progress.add_task("held-out records", total=len(jobs), note="")
        waiting = {
            pool.submit(_examine, build, system, direction, recipe.seed, count): (system, direction) for system, direction in jobs
        }
        for done in as_completed(waiting):
            found[waiting[done]] = done.result()
            progress.update(bar, advance=1, note=f"{waiting[done][1]}, {waiting[done][0].name}")
    scores = [
        _score(line, system, outcome)
        for direction, lines in LINES.items()
        for system in SYSTEMS
        for line, outcome in zip(lines, found[system, direction], strict=True)
    ]
    samples = [sample for direction in DIRECTIONS for outcome in found[SYSTEMS[0], direction] for sample in outcome.samples]
    return _findings(build, recipe, scores, samples, found)


def _score(line: Line, system: System, outcome: Outcome) -> Score:
    bar = line.bar if system.name == FULL else None
    true, rebuilt = outcome.ceilings
    return Score(
        line.name,
        system.name,
        outcome.value,
        bar,
        line.chance,
        line.verifier,
        true,
        rebuilt,
        outcome.count,
        line.lower_is_better,
        line.group,
    )


def _findings(
    build: Path, recipe: Recipe, scores: list[Score], samples: list[Sample], found: dict[tuple[System, str], tuple[Outcome, ...]]
) -> Findings:
    model, tokenizers = load_model(build / "model")
    store = ExampleStore(build / "examples")
    rows = []
    for system in (*SYSTEMS, *CURVE):
        submodel = _submodel(build, system)
        active = active_parameters(model.config, submodel) / active_parameters(model.config)
        total = total_parameters(model.config, model.spec, submodel) / total_parameters(model.config, model.spec)
        shown = {direction: found[system, direction][0].value for direction in CURVE_DIRECTIONS}
        experts = system.experts or model.config.experts
        layers, top_k = system.layers or model.config.layers, system.top_k or model.config.top_k
        rows.append(SubModelRow(system.name, active, total, layers, experts, top_k, shown))
    metrics = tuple(json.loads(line) for line in (build / "metrics.jsonl").read_text().splitlines())
    threads = os.cpu_count() or 1
    return Findings(
        "Ernest: first light", tuple(scores), tuple(samples), tuple(rows), metrics,
        usage=usage(model, store, tokenizers, recipe.sequence),
        load=mixture_load(model, store, recipe.weights(store.tasks), tokenizers, recipe.sequence, recipe.seed),
        facts=facts_of(model, recipe, metrics), threads=threads,
    )  # fmt: skip


def _one_thread() -> None:
    torch.set_num_threads(1)


@cache
def _loaded(build: Path):
    return *load_model(build / "model"), Judges.load(build / "judges"), load_expert_importance(build / "model")


def _submodel(build: Path, system: System) -> SubModel | None:
    if system.name == FULL:
        return None
    model, _, _, importance = _loaded(build)
    return choose(model, importance, system.layers, system.experts, system.top_k)


def _examine(build: Path, system: System, direction: str, seed: int, count: int) -> tuple[Outcome, ...]:
    """One direction at one size; only the full model leaves samples."""
    model, tokenizers, judges, _ = _loaded(build)
    engine = Engine(model, tokenizers, _submodel(build, system), bf16=half_precision())
    examiner = Examiner(engine, judges, seed, count, show=12 if system.name == FULL else 0)
    outcome = DIRECTIONS[direction](examiner)
    return outcome if isinstance(outcome, tuple) else (outcome,)
