"""Writes the page of elastic training: the report's columns, the two that it lacks, and paired differences over seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ernest.evaluation.run import CURVE_DIRECTIONS
from ernest.report.figures import new_figure, write_csv, write_picture
from ernest.report.svg import PALETTE
from ernest.results.elastic import training
from ernest.results.elastic.training import COMPACT, OWN, OWN_COMPUTE, REDUCED, SHORT, SIZES, SYSTEMS, Length, whole_length
from ernest.results.outcome import Outcome, judged_known, table, verdicts, write_outcomes
from ernest.results.pages import write_page
from ernest.results.paired import SEEDS, Difference, Found, difference, measure_rows, spread
from ernest.results.small_runs import Study, seed_by_seed

NAME, LONGER = "elastic", "elastic-longer"
LITTLE, KEPT = 0.98, 0.97
"""Shares of the plain and of the full model's mean score from which on a cost counts as little, and a score as kept."""
WORDS = (
    "Elastic training (ERNIE 5.0 §3.3, §6.4.2, Tables 9 to 12): one run whose rows are computed by sub-models, beside a plain "
    "run of equal steps, seeds and records, and beside networks of the reduced size that were trained on their own, which the "
    "report does not show. Exact answers and judged outputs on held-out records of the world."
)


def run_elastic(study: Study, out: Path) -> None:
    """Trains and scores every system in a short training, and writes tables, picture, outcomes and page after each seed."""
    _run(study, out, NAME, SHORT)


def run_longer(study: Study, out: Path) -> None:
    """The same in trainings as long as the demo's, into a block of their own on the same page."""
    _run(study, out, LONGER, whole_length(study))


def _run(study: Study, out: Path, name: str, length: Length) -> None:
    measure = lambda study, seed: training.measure(study, seed, length)
    seed_by_seed(study, measure, lambda scores: _write(study, scores, out, name, length))


def judge(scores: Found, sizes: tuple[float, float]) -> list[Outcome]:
    """The report's three sentences, and the two comparisons that it does not make."""
    full, plain = "elastic, full", "plain, full"
    reduced, plain_reduced = f"elastic, {REDUCED}", f"plain, {REDUCED}"
    small = f"{sizes[0]:.0%} of the active and {sizes[1]:.0%} of all parameters"
    return [
        _share(scores, "elastic training costs the full model little", "−.004, +.007, +.024 nats", full, plain, LITTLE),
        _gain(
            scores, "and helps at reduced size (against a plain model: not in the report)", "+.058 at k = 2",
            reduced, plain_reduced,
        ),
        _gain(
            scores, "a sub-model is better than a network of its size with the same records (not in the report)", "–",
            reduced, OWN,
        ),
        _gain(scores, "and than one with the same compute (not in the report)", "–", reduced, OWN_COMPUTE),
        _share(
            scores, "36 % of all and 54 % of the active parameters, trained on, keep .995 of the score", "75.17 of 75.55",
            COMPACT, full, KEPT, f"{small}; {_against(scores, COMPACT, OWN_COMPUTE)}",
        ),
    ]  # fmt: skip


def _share(scores: Found, claim: str, paper: str, one: str, other: str, least: float, more: str = "") -> Outcome:
    """Whether a system keeps a share of another's mean score, or lies below it by no more than seeds do, of which one tells
    nothing."""
    means = [float(np.mean([[seed[name][task] for task in CURVE_DIRECTIONS] for seed in scores])) for name in (one, other)]
    share, gain = means[0] / max(means[1], 1e-9), _difference(scores, one, other)
    is_kept = None if gain.seeds == 1 else share >= least or (None if gain.mean >= -gain.interval else False)
    ours = f"mean score {means[0]:.3f} of {means[1]:.3f}, {share:.3f} of it; {_against(scores, one, other)}"
    return Outcome(claim, paper, f"{ours}; {more}" if more else ours, judged_known([is_kept]))


def _gain(scores: Found, claim: str, paper: str, one: str, other: str) -> Outcome:
    """Whether a system scores higher than another, by more than the interval of the seeds' paired differences."""
    verdict = judged_known([_difference(scores, one, other).is_above()])
    return Outcome(claim, paper, _against(scores, one, other), verdict)


def _against(scores: Found, one: str, other: str) -> str:
    return f"{one} against {other} {_in_words(_difference(scores, one, other))}"


def _in_words(gain: Difference) -> str:
    return f"{gain.mean:+.3f} (one seed)" if gain.seeds == 1 else f"{gain.mean:+.3f} ± {gain.interval:.3f}"


def _difference(scores: Found, one: str, other: str, directions: Sequence[str] = CURVE_DIRECTIONS) -> Difference:
    """Of the mean scores over directions, paired by seed."""
    return difference([float(np.mean([seed[one][name] - seed[other][name] for name in directions])) for seed in scores])


# ------------------------------------------------------------------ the page


def _write(study: Study, scores: Found, out: Path, name: str, length: Length) -> None:
    """Everything of the seeds so far."""
    write_csv(out / name / "scores.csv", ("seed", "system", "direction", "score"), measure_rows(scores))
    write_picture(out / name / "scores.png", _picture(scores, training.active_shares(study)))
    outcomes = judge(scores, training.sizes(study))
    write_outcomes(out / name, outcomes)
    title = f"## In {length.steps} steps of {length.rows} rows\n\n"
    write_page(out / f"{NAME}.md", "Elastic training", WORDS, f"ernest results {name}", title + _block(scores, outcomes, name))


def _block(scores: Found, outcomes: Sequence[Outcome], name: str) -> str:
    def cell(system: str, tasks: Sequence[str]) -> str:
        return spread([float(np.mean([seed[system][task] for task in tasks])) for seed in scores])

    rows = [(one, *(cell(one, [task]) for task in CURVE_DIRECTIONS), cell(one, CURVE_DIRECTIONS)) for one in SYSTEMS]
    pairs = [(f"elastic, {size}", f"plain, {size}") for size in SIZES]
    pairs += [(f"elastic, {REDUCED}", OWN), (f"elastic, {REDUCED}", OWN_COMPUTE), (COMPACT, f"elastic, {REDUCED}"),
              (COMPACT, OWN_COMPUTE), (COMPACT, "elastic, full")]  # fmt: skip
    differences = [
        (f"{one} − {other}", *(_in_words(_difference(scores, one, other, [task])) for task in CURVE_DIRECTIONS),
         _in_words(_difference(scores, one, other)))
        for one, other in pairs
    ]  # fmt: skip
    sizes = "; ".join(f"{size}: {', '.join(f'{key} {value}' for key, value in numbers.items())}"
                      for size, numbers in SIZES.items() if numbers)  # fmt: skip
    return "\n\n".join(
        [
            verdicts(outcomes),
            f"![The mean score over the active share of the parameters]({name}/scores.png)",
            table(("score", *CURVE_DIRECTIONS, "mean"), rows),
            table(("difference, paired by seed", *CURVE_DIRECTIONS, "mean"), differences),
            f"{len(scores)} of {len(SEEDS)} seeds, means and standard deviations; of differences the half of the 95 % interval. "
            f"On the demo's examples with its tokenizers; {training.RECORDS} records held out for a direction. Sizes: {sizes}. "
            f"*{OWN_COMPUTE}* has as many steps as cost what the full run and the tenth behind the compact one do. "
            f"Numbers: [scores.csv]({name}/scores.csv).",
        ]
    )


def _picture(scores: Found, active: Mapping[str, float]) -> Any:
    figure = new_figure(6, 3.6)
    axes = figure.subplots()
    groups = {"elastic": PALETTE["image"], "plain": PALETTE["video"], "own size": PALETTE["audio"], "compact": PALETTE["accent"]}
    for group, colour in groups.items():
        names = [name for name in SYSTEMS if name.startswith(group)]
        means = [[np.mean(list(seed[name].values())) for seed in scores] for name in names]
        axes.errorbar([active[name] for name in names], [np.mean(one) for one in means], [np.ptp(one) / 2 for one in means],
                      fmt="o", color=colour, label=group, markersize=5, capsize=3)  # fmt: skip
    axes.set_xlabel("active parameters ÷ those of the full network", fontsize=9)
    axes.set_ylabel("mean score", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False)
    return figure
