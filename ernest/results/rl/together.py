"""Reinforcement learning of all modalities in one run, from a fine-tuned model, in two orders: words first, and all at once.

Both orders take equally many updates of equally many answers. Fresh draws are sampled as users do.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ernest.config.recipe import find_recipe
from ernest.config.rl import RLRecipe, load_rl_recipe
from ernest.report.figures import write_csv
from ernest.results.outcome import Outcome, Verdict, table, write_outcomes
from ernest.results.pages import write_page
from ernest.results.paired import SEEDS, seeds_in_words
from ernest.results.rl.study import BEFORE, PAGE, TITLE, Study, engine_of
from ernest.results.units import file_name, kept
from ernest.rl.assess import look
from ernest.rl.tasks import Trained, trained_tasks
from ernest.storage import fingerprint, own_folder
from ernest.verifiers.judges import Judges

NAME = "rl-together"
RECIPE = "stages"
DRAWS = 500
"""Of every direction, before and after."""
WORDS_FIRST, AT_ONCE = "words first", "all at once"
ORDERS = (AT_ONCE, WORDS_FIRST)
FALL, CEILING, UP = 0.02, 0.95, 3
"""What no direction may lose; from where on one is at its verifier's ceiling; how many must be up or there."""
ALL = "one reinforcement learning for all modalities raises them all"
STAGES = "tasks are merged in stages: words first beats all at once (not in the report)"


Passed = Mapping[str, float]
"""The share of fresh draws that pass, by direction."""


def run_together(study: Study, out: Path) -> None:
    """Trains both orders, a seed after the other, and writes table, outcomes and page into `out` after each run."""
    with own_folder(study.build):
        begun = study.fine_tuned()
        before = _looked(study, begun, begun, study.build / "before", SEEDS[0])
        after: dict[str, list[Passed]] = {order: [] for order in ORDERS}
        for seed in SEEDS:
            for order in ORDERS:
                name = f"{file_name(order)}-{seed}"
                trained = study.trained(begun, study.build / name, recipe(order, seed))
                after[order].append(_looked(study, begun, trained, study.build / f"{name}-looks", seed))
                _write(before, after, out)
                study.tell(f"{order}, seed {seed}: {_mean(before):.3f} → {_mean(after[order][-1]):.3f}")


def recipe(order: str, seed: int) -> RLRecipe:
    """The shipped one, without looks of its own; all at once, every task begins with the first update."""
    shipped = load_rl_recipe(find_recipe(RECIPE, "rl"), ())
    tasks = tuple(replace(task, begin=task.begin if order == WORDS_FIRST else 0) for task in shipped.tasks)
    return replace(shipped, seed=seed, tasks=tasks, update=replace(shipped.update, assess=0))


def judge(before: Passed, after: Mapping[str, Sequence[Passed]]) -> list[Outcome]:
    """Whether directions rise and none falls, in the better order; and whether that is words first, by more than seeds or draws
    scatter."""
    means = _means(after)
    best = max(means, key=lambda order: _mean(means[order]))
    gains = {task: means[best][task] - before[task] for task in before}
    errors = {task: _error(before[task]) for task in before}
    up = [task for task in before if gains[task] > 2 * errors[task]]
    there = [task for task in before if task not in up and means[best][task] >= CEILING]
    fallen = [task for task in before if gains[task] < -FALL]
    risen = len(up) + len(there)
    verdict: Verdict = "holds" if risen == len(before) else "holds in part" if risen >= UP and not fallen else "doesn't hold here"
    parts = (
        f"{best}: mean {_mean(before):.3f} → {_mean(means[best]):.3f}; up {_named(up)}; at the ceiling {_named(there)}; "
        f"fallen by more than {FALL} {_named(fallen)}; {_seeds(after)}"
    )
    return [Outcome(ALL, "no table", parts, verdict), _judge_stages(after, errors)]


def _judge_stages(after: Mapping[str, Sequence[Passed]], errors: Passed) -> Outcome:
    apart = [_mean(first) - _mean(once) for first, once in zip(after[WORDS_FIRST], after[AT_ONCE], strict=False)]
    if not apart:
        return Outcome(STAGES, "–", "", "not run yet")
    scatter = 2 * math.sqrt(sum(error**2 for error in errors.values()) / len(apart)) / len(errors)
    verdict: Verdict = "can't be judged here"
    if abs(np.mean(apart)) > scatter and len({gap > 0 for gap in apart}) == 1:
        verdict = "doesn't hold here" if apart[0] < 0 else "holds" if len(apart) == len(SEEDS) else "holds in part"
    return Outcome(STAGES, "–", f"mean over directions {np.mean(apart):+.3f} ± {scatter:.3f} (draws); {_seeds(after)}", verdict)


def _means(after: Mapping[str, Sequence[Passed]]) -> dict[str, Passed]:
    """Of the orders that have been run so far, the means over seeds."""
    return {
        order: {task: float(np.mean([one[task] for one in seeds])) for task in seeds[0]}
        for order in ORDERS
        if (seeds := after[order])
    }


def _named(tasks: Sequence[str]) -> str:
    return ", ".join(tasks) or "none"


def _seeds(after: Mapping[str, Sequence[Passed]]) -> str:
    return seeds_in_words(len(after[AT_ONCE]))


def _mean(passed: Passed) -> float:
    return float(np.mean(list(passed.values())))


def _error(share: float) -> float:
    """The standard error of a difference of two shares of DRAWS each."""
    return math.sqrt(2 * share * (1 - share) / DRAWS)


def _looked(study: Study, begun: Path, trained: Path, folder: Path, seed: int) -> Passed:
    """Fresh draws of every direction by the model `trained`, a file each; those of the same prompts for all models of a seed."""
    weights, tasks = fingerprint(trained / "model.safetensors"), _tasks(study, seed)
    found = {}
    for task in tasks:
        path = folder / f"{file_name(task.name.replace('→', ' to '))}.json"
        settings = {"draws": DRAWS, "weights": weights, "verifiers": task.config.verifiers}
        found[task.name] = kept(path, settings, lambda one=task: _passed(study, trained, one, seed))
    return found


def _passed(study: Study, trained: Path, task: Trained, seed: int) -> float:
    (found,), _ = look(engine_of(trained), [task], seed, 0, DRAWS)
    study.tell(f"{trained.parent.name}: {task.name} {asdict(found)}")
    return found.passed


def _tasks(study: Study, seed: int) -> list[Trained]:
    return trained_tasks(recipe(AT_ONCE, seed), Judges.load(study.judges), {})


# ------------------------------------------------------------------ the page


def _write(before: Passed, after: Mapping[str, Sequence[Passed]], out: Path) -> None:
    rows = [(task, BEFORE, "", value) for task, value in before.items()]
    rows += [(task, order, seed, one[task]) for order in ORDERS for seed, one in enumerate(after[order]) for task in before]
    write_csv(out / NAME / "scores.csv", ("direction", "model", "seed", "passed"), rows)
    outcomes = judge(before, after)
    write_outcomes(out / NAME, outcomes)
    write_page(out / f"{PAGE}.md", TITLE, "", f"ernest results {NAME}", _block(before, after, outcomes))


def _block(before: Passed, after: Mapping[str, Sequence[Passed]], outcomes: Sequence[Outcome]) -> str:
    means = _means(after)
    columns = {BEFORE: before} | means

    def cells(value: Callable[[Passed], float]) -> list[str]:
        """Of a row: the shares, and what they gained."""
        shares = [value(column) for column in columns.values()]
        return [*(f"{share:.3f}" for share in shares), *(f"{share - shares[0]:+.3f}" for share in shares[1:])]

    rows = [(task, *cells(lambda column, one=task: column[one]), f"{2 * _error(before[task]):.3f}") for task in before]
    rows.append(("mean", *cells(_mean), ""))
    header = ("share that passes", BEFORE, *means, *(f"gain, {order}" for order in means), "two standard errors")
    update = recipe(AT_ONCE, 0)
    note = (
        f"{DRAWS} fresh draws of each direction; {update.update.steps} updates of {update.rollout.prompts} prompts with "
        f"{update.rollout.samples} answers each, by the recipe `{RECIPE}`; {_seeds(after)} of {len(SEEDS)}. *{WORDS_FIRST}* "
        f"trains words alone for the first third, *{AT_ONCE}* all directions from the first update on. Both begin with the "
        f"demo's model after 300 steps of 16 rows of `ernest sft worked`. Numbers: [scores.csv]({NAME}/scores.csv)."
    )
    verdicts = [(one.claim, one.ours, f"**{one.verdict}**") for one in outcomes]
    return "\n\n".join(["## All modalities in one run", table(header, rows), note, table(("claim", "here", "verdict"), verdicts)])
