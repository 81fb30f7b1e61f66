"""Training with products of the trunk in 8-bit floats, which are imitated (`ernest.model.fp8`), beside the same without: what it
costs of the losses on held-out records of all modalities."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ernest.report.figures import write_csv
from ernest.results.held_out import LOSSES
from ernest.results.outcome import Outcome, table, verdicts, without_figure, write_outcomes
from ernest.results.pages import write_page
from ernest.results.paired import SEEDS, Difference, Found, difference, measure_rows, spread
from ernest.results.recipe import ablations
from ernest.results.recipe.arms import ALL, ARMS, BASE, MIXTURES, ROWS, SIZE, Arm, training_change
from ernest.results.small_runs import Study, seed_by_seed

NAME = "precision"
FP8 = "E4M3 in blocks"
MOST = 0.01
"""Of the loss, that rounding may cost."""
SIDES = (*(arm for arm in ARMS if (arm.base, arm.name) == (ALL, BASE)), Arm(ALL, FP8, training_change(fp8=True)))
ALL_LOSSES = tuple(name for names in LOSSES.values() for name in names)
WORDS = (
    "FP8 (ERNIE 5.0 §5.1, §5.4): every product of a weight in the trunk on inputs and weights rounded to E4M3, in blocks of 32 "
    "numbers along the sum with a power of two each, in training and in what is measured. It is imitated: numbers are rounded as "
    "FP8 rounds them and multiplied in wider ones, gradients pass straight through and are not rounded, and no device with "
    "products in FP8 was used. So this tells what the rounding costs of the loss, and nothing of time or memory."
)


def judge(found: Found) -> list[Outcome]:
    """The gap of the losses, paired by seed."""
    gap = _gap(found, ALL_LOSSES)
    ours = f"imitated on a CPU: share of the loss more, mean over {len(ALL_LOSSES)} losses, {gap} (bar: {MOST:.0%})"
    return [without_figure("FP8 loses nothing", ours, [gap.is_within(MOST)])]


def _gap(found: Found, names: Sequence[str]) -> Difference:
    """How much higher losses are with rounding, as a share."""
    return difference([float(np.mean([seed[FP8][name] / seed[BASE][name] - 1 for name in names])) for seed in found])


def run_precision(study: Study, out: Path) -> None:
    """Trains and measures both, and writes table, outcomes and page after each seed; the side without rounding is that of the
    ablations, and kept where they keep it."""
    measure = lambda study, seed: ablations.measure(study, seed, SIDES)[ALL]
    seed_by_seed(study, measure, lambda found: write(found, out))


def write(found: Found, out: Path) -> None:
    """The page of the seeds so far, and what lies beside it."""
    write_csv(out / NAME / "measures.csv", ("seed", "products", "measure", "value"), measure_rows(found))
    outcomes = judge(found)
    write_outcomes(out / NAME, outcomes)
    lines = [(name, *(spread([seed[side][name] for seed in found]) for side in (BASE, FP8)), str(_gap(found, [name])))
             for name in ALL_LOSSES]  # fmt: skip
    parts = [
        verdicts(outcomes),
        table(("loss", "base", FP8, "share more"), lines),
        f"{len(found)} of {len(SEEDS)} seeds, means and deviations; of shares the half of the 95 % interval. Networks of "
        f"{SIZE} layers, {MIXTURES[ALL].steps} steps of {ROWS} rows of the demo's mixture; losses in nats a "
        f"token, bit or code of held-out records. `training.fp8` trains so. Numbers: [measures.csv]({NAME}/measures.csv).",
    ]
    write_page(out / f"{NAME}.md", "Products in 8-bit floats", WORDS, f"ernest results {NAME}", "\n\n".join(parts))
