"""Reinforcement learning by laws of physics, over seeds: what fresh films are like before and after, and what was not rewarded.

Films are asked for in the words of the five families and sampled as users do; each seed trains from the same checkpoint.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ernest.config.recipe import find_recipe
from ernest.config.rl import RLRecipe, load_rl_recipe
from ernest.report.figures import write_csv
from ernest.results.outcome import Outcome, Verdict, table, write_outcomes
from ernest.results.pages import write_page
from ernest.results.paired import SEEDS
from ernest.results.rl.study import PAGE, TITLE, Study, engine_of, rebuilt_films
from ernest.results.units import file_name, kept
from ernest.rl.assess import Look, look
from ernest.rl.tasks import trained_tasks
from ernest.sequence.record import made
from ernest.storage import fingerprint, own_folder
from ernest.verifiers.judges import Judges
from ernest.world.video import FAMILIES

NAME = "rl"
RECIPE = "laws"
DRAWS = 1000
"""Fresh films before, and after the training of each seed."""
LAWFUL, WORST = 0.90, 0.85
"""What is wanted of the share of films that pass, in the mean over seeds and of each."""
CLAIM = "films are raised by verifiers that are laws of physics (not in the report)"
WORDS = (
    "Reinforcement learning of the demo's model by verifiers (ERNIE 5.0 §4): films of phase fields that must show the family "
    "asked for, and whose energy must fall as the law of the flow says. The area law, of which a conserved mass is a part, "
    "rewards nothing, but for one run."
)
REWARDED, WATCHED = ("family", "energy law"), "area law"
CEILING, TRUE = "true films, rebuilt", 40
"""What verifiers say of so many true films of each family behind the tokenizer, which the model cannot draw better than."""
AS_WELL = 0
"""The seed that is also trained with the area law among what is rewarded."""


@dataclass(frozen=True)
class Films:
    """What verifiers say of the same films: of all that is rewarded usually, and with the area law as well."""

    lawful: Look
    strictly: Look


MEASURES: Mapping[str, Callable[[Films], float | None]] = {
    "family and energy law": lambda one: one.lawful.passed,
    "family": lambda one: one.lawful.verifiers["family"],
    "energy law": lambda one: one.lawful.verifiers["energy law"],
    "area law": lambda one: one.lawful.verifiers[WATCHED],
    "all three": lambda one: one.strictly.passed,
    "distance of first frames": lambda one: one.lawful.distance,
    "distinct first frames": lambda one: one.lawful.distinct,
}


def run_reinforcement(study: Study, out: Path) -> None:
    """Trains and looks, a seed after the other, and writes table, outcome and page into `out` after each."""
    build = study.build
    with own_folder(build):
        films = {CEILING: _ceiling(study), "before": _looked(study, study.checkpoint, build / "before.json", SEEDS[0])}
        for name, recipe in recipes().items():
            trained = study.trained(study.checkpoint, build / file_name(name), recipe)
            films[name] = _looked(study, trained, build / f"{name}.json", recipe.seed)
            _write(films, out)
            study.tell(f"{name}: {films['before'].lawful.passed:.3f} → {films[name].lawful.passed:.3f}")


def recipes() -> dict[str, RLRecipe]:
    """What is trained, by name: the shipped recipe with each seed, and one that rewards the area law too."""
    found = {f"seed {seed}": _recipe(seed, REWARDED) for seed in SEEDS}
    return found | {f"seed {AS_WELL}, area law rewarded too": _recipe(AS_WELL, (*REWARDED, WATCHED))}


def judge(films: Mapping[str, Films]) -> list[Outcome]:
    """Whether more films pass than before, by more than draws scatter."""
    before, values = films["before"].lawful, _passed(films)
    error = math.sqrt(2 * before.passed * (1 - before.passed) / before.count)
    sure = min(values) > before.passed + 2 * error
    verdict: Verdict = "doesn't hold here" if not sure else "holds" if len(values) == len(SEEDS) else "holds in part"
    ours = f"films that pass {before.passed:.3f} → {np.mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})"
    return [Outcome(CLAIM, "–", ours, verdict)]


def _passed(films: Mapping[str, Films]) -> list[float]:
    """The share of films that pass, of each seed so far."""
    return [films[f"seed {seed}"].lawful.passed for seed in SEEDS if f"seed {seed}" in films]


def _recipe(seed: int, rewarded: tuple[str, ...]) -> RLRecipe:
    """The shipped one with these verifiers, without the looks of a run, which are too small to tell seeds apart."""
    recipe = load_rl_recipe(find_recipe(RECIPE, "rl"), ())
    (task,) = recipe.tasks
    watched = () if WATCHED in rewarded else (WATCHED,)
    tasks = (replace(task, verifiers=rewarded, watched=watched),)
    return replace(recipe, seed=seed, tasks=tasks, update=replace(recipe.update, assess=0))


def _looked(study: Study, trained: Path, path: Path, seed: int) -> Films:
    """Looks at the model `trained`."""

    def draw() -> list[dict[str, Any]]:
        usual, strict = (_recipe(seed, rewarded) for rewarded in (REWARDED, (*REWARDED, WATCHED)))
        tasks = trained_tasks(replace(usual, tasks=(*usual.tasks, *strict.tasks)), Judges.load(study.judges), {})
        looks, _ = look(engine_of(trained), tasks, seed, usual.update.steps, DRAWS)
        return [asdict(one) for one in looks]

    found = kept(path, {"draws": DRAWS, "weights": fingerprint(trained / "model.safetensors")}, draw)
    return Films(*(Look(**one) for one in found))


def _ceiling(study: Study) -> Films:
    """Looks at true films that went through the tokenizer and back."""
    seed = SEEDS[0]
    (task,) = trained_tasks(_recipe(seed, (*REWARDED, WATCHED)), Judges.load(study.judges), {})
    passes: dict[str, list[bool]] = {name: [] for name in task.known}
    for family, films in enumerate(rebuilt_films(study.checkpoint, seed, TRUE).values()):
        prompt = task.task.record(seed, family)
        for frames in films:
            for name, verify in task.known.items():
                passes[name].append(verify(prompt, [made("video", frames)]).passed)
    shares = {name: float(np.mean(passed)) for name, passed in passes.items()}

    def found(names: tuple[str, ...]) -> Look:
        passed = float(np.mean([all(one) for one in zip(*(passes[name] for name in names), strict=True)]))
        return Look(task.name, 0, TRUE * len(FAMILIES), passed, shares)

    return Films(found(REWARDED), found((*REWARDED, WATCHED)))


def _write(films: Mapping[str, Films], out: Path) -> None:
    rows = [(name, *(measure(one) for measure in MEASURES.values())) for name, one in films.items()]
    write_csv(out / NAME / "films.csv", ("model", *MEASURES), rows)
    outcomes, passed = judge(films), _passed(films)
    write_outcomes(out / NAME, outcomes)
    cells = [(name, *("–" if value is None else f"{value:.3f}" for value in values)) for name, *values in rows]
    verdict = "reached" if np.mean(passed) >= LAWFUL and min(passed) >= WORST else "**not reached**"
    note = (
        f"{DRAWS} fresh films each; {_recipe(0, REWARDED).update.steps} updates of the recipe `{RECIPE}`; distances in levels of "
        f"255. The mean of {len(passed)} seeds is {np.mean(passed):.3f}, the least {min(passed):.3f}; wanted were {LAWFUL} and "
        f"{WORST}: {verdict}. Numbers: [films.csv]({NAME}/films.csv)."
    )
    block = "\n\n".join([table(("model", *MEASURES), cells), note])
    write_page(out / f"{PAGE}.md", TITLE, WORDS, f"ernest results {NAME}", block)
