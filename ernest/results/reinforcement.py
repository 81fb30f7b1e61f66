"""Reinforcement learning by laws of physics, over seeds: what fresh films are like before and after, and what was not rewarded.

Films are asked for in the words of the five families and sampled as users do; each seed trains from the same checkpoint.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ernest.checkpoint import load_model
from ernest.config.recipe import find_recipe
from ernest.config.rl import RLRecipe, load_rl_recipe
from ernest.device import set_threads, supports_bf16
from ernest.generation.engine import Engine
from ernest.report.routing import write_csv
from ernest.results.outcome import Outcome, Verdict, table, write_outcomes
from ernest.results.pages import write_page
from ernest.results.units import kept
from ernest.rl.assess import Look, look
from ernest.rl.loop import reinforce
from ernest.rl.tasks import trained_tasks
from ernest.storage import fingerprint, own_folder
from ernest.verifiers.judges import Judges

NAME = "rl"
RECIPE = "laws"
SEEDS = (0, 1, 2)
DRAWS = 1000
"""Fresh films before, and after the training of each seed."""
LAWFUL, WORST = 0.90, 0.85
"""What is wanted of the share of films that pass, in the mean over seeds and of each."""
CLAIM = "one reinforcement learning for all modalities raises them all"
WORDS = (
    "Reinforcement learning of the demo's model by verifiers (ERNIE 5.0 §4): films of phase fields that must show the family "
    "asked for, and whose energy must fall as the law of the flow says. The area law is watched and rewards nothing."
)
MEASURES: Mapping[str, Callable[[Look], float | None]] = {
    "family and lawful": lambda one: one.passed,
    "family": lambda one: one.verifiers["family"],
    "energy law": lambda one: one.verifiers["energy law"],
    "area law (not rewarded)": lambda one: one.verifiers["area law"],
    "distance of first frames": lambda one: one.distance,
    "distinct first frames": lambda one: one.distinct,
}


def run_reinforcement(checkpoint: Path, build: Path, out: Path, tell: Callable[[str], None]) -> None:
    """Trains and looks, a seed after the other, and writes table, outcome and page into `out` after each."""
    with own_folder(build):
        after: list[Look] = []
        before = _looked(checkpoint, checkpoint, build / "before.json", _recipe(SEEDS[0]))
        for seed in SEEDS:
            after.append(_of_seed(checkpoint, build, seed, tell))
            _write(before, after, out)
            tell(f"{NAME}: seed {seed}: {before.passed:.3f} → {after[-1].passed:.3f}")


def judge(before: Look, after: Sequence[Look]) -> list[Outcome]:
    """Whether more films pass than before, by more than draws scatter."""
    values = [one.passed for one in after]
    error = math.sqrt(2 * before.passed * (1 - before.passed) / before.count)
    verdict: Verdict = "holds in part" if min(values) > before.passed + 2 * error else "doesn't hold here"
    ours = f"films that pass {before.passed:.3f} → {np.mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})"
    return [Outcome(CLAIM, "no table", f"{ours}; films alone", verdict)]


def _of_seed(checkpoint: Path, build: Path, seed: int, tell: Callable[[str], None]) -> Look:
    recipe, run = _recipe(seed), build / f"seed-{seed}"

    def told(step: int, measures: Mapping[str, float]) -> None:
        if (step + 1) % 10 == 0:
            tell(f"{NAME}: seed {seed}: update {step + 1} of {recipe.update.steps}, passed {measures['passed']:.2f}")

    trained = reinforce(checkpoint, checkpoint.parent / "judges", run, recipe, told)
    return _looked(checkpoint, trained, build / f"after-{seed}.json", recipe)


def _recipe(seed: int) -> RLRecipe:
    """The shipped one, without the looks of a run, which are too small to tell seeds apart."""
    recipe = load_rl_recipe(find_recipe(RECIPE, "rl"), ())
    return replace(recipe, seed=seed, update=replace(recipe.update, assess=0))


def _looked(checkpoint: Path, trained: Path, path: Path, recipe: RLRecipe) -> Look:
    """A look at the model `trained`, which began as that of `checkpoint`."""

    def draw() -> dict[str, Any]:
        set_threads(1)
        model, tokenizers = load_model(trained)
        tasks = trained_tasks(recipe, Judges.load(checkpoint.parent / "judges"), {})
        (found,), _ = look(
            Engine(model, tokenizers, bf16=supports_bf16(), rows=100), tasks, recipe.seed, recipe.update.steps, DRAWS
        )
        return asdict(found)

    return Look(**kept(path, {"draws": DRAWS, "weights": fingerprint(trained / "model.safetensors")}, draw))


def _write(before: Look, after: Sequence[Look], out: Path) -> None:
    looks = {"before": before} | {f"seed {seed}": one for seed, one in zip(SEEDS, after, strict=False)}
    rows = [(name, *(measure(one) for measure in MEASURES.values())) for name, one in looks.items()]
    write_csv(out / NAME / "films.csv", ("model", *MEASURES), rows)
    outcomes = judge(before, after)
    write_outcomes(out / NAME, outcomes)
    cells = [(name, *("–" if value is None else f"{value:.3f}" for value in values)) for name, *values in rows]
    passed = [one.passed for one in after]
    verdict = "reached" if np.mean(passed) >= LAWFUL and min(passed) >= WORST else "**not reached**"
    told = (
        f"{DRAWS} fresh films each; {_recipe(0).update.steps} updates of the recipe `{RECIPE}`; distances in levels of 255. The "
        f"mean of {len(passed)} seeds is {np.mean(passed):.3f}, the least {min(passed):.3f}; wanted were {LAWFUL} and {WORST}: "
        f"{verdict}. Numbers: [films.csv]({NAME}/films.csv)."
    )
    block = "\n\n".join([table(("model", *MEASURES), cells), told])
    write_page(out / f"{NAME}.md", "Reinforcement learning by laws", WORDS, f"ernest results {NAME}", block)
