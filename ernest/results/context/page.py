"""Writes the page on the growing context: losses by position before and after mid-training, and what was told far back."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ernest.report.figures import new_figure, write_csv, write_picture
from ernest.report.svg import PALETTE
from ernest.results.context.training import (
    BEFORE,
    FAR,
    FIRST,
    FORGETS,
    GROWN,
    JUDGED,
    MIDDLE,
    NEAR,
    REMEMBERS,
    ROWS,
    SHORT,
    SPANS,
    STEPS,
    Measures,
    Study,
    measure,
    readers,
    span,
)
from ernest.results.outcome import Outcome, judged_known, table, verdicts, write_outcomes
from ernest.results.pages import write_page
from ernest.results.paired import SEEDS, Found, difference, measure_rows, spread
from ernest.storage import own_folder

NAME = "context"
CLAIM = "the context grows in mid-training without loss"
LEAST = 0.02
"""Nats a token that the run which grew may lose in the first 256 positions to the one that never did."""
WORDS = (
    "Does the context grow in mid-training without loss (ERNIE 5.0 §3.2)? The recipe of two stages, with a small network, on "
    "texts in which everyone's number is told at the first mention of a name and again at every later one, so that the far past "
    "helps: `emma seven, ben two, emma seven, …`. Beside it one that goes on from the same border, with equal steps, rates and "
    "positions, in rows that stay at 256. What a reader would pay who knows this world and remembers all, or the last 256 "
    "positions, is worked out exactly."
)
COLOURS = {BEFORE: PALETTE["muted"], GROWN: PALETTE["accent"], SHORT: PALETTE["image"], REMEMBERS: PALETTE["ink"],
           FORGETS: PALETTE["line"]}  # fmt: skip


def run_context(build: Path, out: Path, tell: Callable[[str], None]) -> None:
    """Trains and measures both runs, a seed after the other, and writes tables, picture, outcomes and page after each seed."""
    with own_folder(build):
        study, found = Study(build, lambda line: tell(f"{NAME}: {line}")), []
        exact = readers(study.tokenizers)
        for seed in SEEDS:
            found.append(measure(study, seed))
            write(found, exact, out)


# ------------------------------------------------------------------ what it says


def judge(found: Found) -> Outcome:
    """By three comparisons: positions beyond 256 cost no more than those from 128 to 256; the first 256 lose little to the run
    that never grew; and the others gain."""
    near, far = span(128, 256), [span(low, high) for low, high in SPANS if low >= 256]
    beyond = [{arm: _mean(measures, far) for arm, measures in seed.items()} for seed in found]
    within = [{arm: _mean(measures, [span(0, 128), near]) for arm, measures in seed.items()} for seed in found]
    bar = difference([far_loss[GROWN] - seed[GROWN][near] for seed, far_loss in zip(found, beyond, strict=True)])
    lost = difference([one[GROWN] - one[SHORT] for one in within])
    gained = difference([one[SHORT] - one[GROWN] for one in beyond])
    recalled = difference([seed[SHORT][FAR] - seed[GROWN][FAR] for seed in found])
    met = [bar.is_within(0.0), lost.is_within(LEAST), gained.is_above()]
    words = (
        f"positions beyond 256 beside 128 to 256: {bar} nats a token (the bar: at most 0); the first 256 beside those of a run "
        f"that never grew: {lost}; the others are better than its by {gained}, a number told more than 256 positions ago by "
        f"{recalled}"
    )
    return Outcome(CLAIM, "8K to 128K", words, judged_known(met))


def _mean(measures: Mapping[str, float], names: Sequence[str]) -> float:
    """Over spans by their width."""
    widths = {span(low, high): high - low for low, high in SPANS}
    return sum(measures[name] * widths[name] for name in names) / sum(widths[name] for name in names)


# ------------------------------------------------------------------ the page


def write(found: Found, exact: Mapping[str, Measures], out: Path) -> None:
    """Everything of the seeds so far."""
    rows: list[tuple[object, ...]] = [*measure_rows(found)]
    rows += [("", reader, measure, value) for reader, measures in exact.items() for measure, value in measures.items()]
    write_csv(out / NAME / "measures.csv", ("seed", "run", "measure", "value"), rows)
    write_picture(out / NAME / "positions.png", _picture(found, exact))
    outcome = judge(found)
    write_outcomes(out / NAME, [outcome])
    columns = [*(span(low, high) for low, high in SPANS), FIRST, NEAR, MIDDLE, FAR]
    lines = [(arm, *(spread([seed[arm][name] for seed in found]) for name in columns)) for arm in (BEFORE, GROWN, SHORT)]
    lines += [(name, *(f"{values[key]:.3f}" if key in values else "–" for key in columns)) for name, values in exact.items()]
    parts = [
        verdicts([outcome]),
        f"![Loss by position before and after mid-training, beside a run that never grew and two readers]({NAME}/positions.png)",
        table(("run", *columns), lines),
        f"{len(found)} of {len(SEEDS)} seeds, means and deviations. Losses in nats a token by position, numbers in nats each, of "
        f"{JUDGED} held-out texts of about a thousand positions. {STEPS} steps of {ROWS * 256:,} positions; in the first three "
        f"fifths rows are of 256, then of 512 and 1,024 for one fifth each. Numbers: [measures.csv]({NAME}/measures.csv).",
    ]  # fmt: skip
    write_page(out / f"{NAME}.md", "A context that grows", WORDS, f"ernest results {NAME}", "\n\n".join(parts))


def _picture(found: Found, exact: Mapping[str, Measures]) -> Any:
    """Loss by position, a step for each span."""
    figure = new_figure(6, 3)
    axes = figure.subplots()
    edges = [low for low, _ in SPANS] + [SPANS[-1][1]]
    curves = {arm: [sum(seed[arm][span(*one)] for seed in found) / len(found) for one in SPANS] for arm in (BEFORE, GROWN, SHORT)}
    curves |= {name: [values[span(*one)] for one in SPANS] for name, values in exact.items()}
    for name, values in curves.items():
        style = "--" if name in exact else "-"
        axes.stairs(values, edges, baseline=None, color=COLOURS[name], label=name, linestyle=style, linewidth=1.8)
    axes.axvline(256, color="0.8", linewidth=0.8)
    axes.set_xlabel("position", fontsize=9)
    axes.set_ylabel("nats a token", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7, frameon=False)
    return figure
