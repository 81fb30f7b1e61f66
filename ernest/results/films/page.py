"""Writes the page on what makes long films, and on a training that begins with few bits."""

from collections.abc import Sequence
from pathlib import Path

from ernest.report.figures import write_csv
from ernest.results.films import long_films, switched
from ernest.results.films.long_films import BASE, GROWING, HIDDEN, LONGER, WINDOW
from ernest.results.films.switched import SCRATCH, SWITCHED
from ernest.results.outcome import Outcome, table, verdicts, without_figure, write_outcomes
from ernest.results.pages import write_page
from ernest.results.paired import SEEDS, Difference, Found, difference, measure_rows, spread
from ernest.results.small_runs import Study, seed_by_seed

NAME = "films"
SLOWER, FAINTER, LOSS, SPIKE = 0.20, 0.30, 0.01, 0.01
"""The bars: how much smaller the error's slope, and the cost of a frame's removal, must be; and how far the loss of a switched
training may lie above the other's, in the end and from a tenth of the steps behind the switch on, in nats a bit."""
WORDS = (
    "What the report and VideoAR (arXiv 2601.05966) do for long films, and how ERNIE 5.0 goes from few bits to many: each in a "
    "run of its own beside one without. Small networks and short runs on the demo's examples."
)


def run_films(study: Study, out: Path) -> None:
    """Trains and measures all arms, and writes table, outcomes and page after each seed."""
    measure = lambda study, seed: long_films.measure(study, seed) | switched.measure(study, seed)
    seed_by_seed(study, measure, lambda found: write(found, out))


def judge(found: Found) -> list[Outcome]:
    """The three claims, each over all seeds, whose runs are compared in pairs."""
    above = difference([seed[SWITCHED]["nats a bit"] - seed[SCRATCH]["nats a bit"] for seed in found])
    behind = difference([seed[SWITCHED]["excess, a tenth behind it"] for seed in found])
    costs, windowed = _less(found, HIDDEN, "a frame hidden, rise"), _less(found, WINDOW, "a frame hidden, rise")
    slopes = _less(found, GROWING, "error, a frame")
    rise, error, reading = (_beside_plain(found, GROWING, name) for name in ("error, a frame", "error, mean", "nats a bit"))
    cost = _beside_plain(found, HIDDEN, "a frame hidden, rise")
    return [
        without_figure(
            "corruption that grows with time slows the drift of long videos",
            f"the error of films {LONGER} times as long rises by {rise} a frame, less by {slopes}; its mean is {error}; "
            f"true films cost {reading} nats a bit",
            [slopes.is_above(SLOWER)],
        ),
        without_figure(
            "windowed attention and dropped frames",
            f"a frame that is gone costs the later ones {cost} nats a bit, less by {costs}; with a window as well, less by "
            f"{windowed}",
            [costs.is_above(FAINTER)],
        ),
        without_figure(
            "from few bits to many during training",
            f"nats a bit above a training with all bits from its start: in the end {above}, in training a tenth of the "
            f"steps behind the switch {behind}",
            [above.is_within(LOSS), behind.is_within(SPIKE)],
        ),
    ]


def _less(found: Found, arm: str, measure: str) -> Difference:
    """By which share of what it is in the plain run a measure is less in an arm."""
    return difference([1 - seed[arm][measure] / seed[BASE][measure] for seed in found])


def _beside_plain(found: Found, arm: str, measure: str) -> str:
    without, with_it = (spread([seed[name][measure] for seed in found], 4) for name in (BASE, arm))
    return f"{without} without, {with_it} with it"


def write(found: Found, out: Path) -> None:
    """Everything of the seeds so far."""
    write_csv(out / NAME / "measures.csv", ("seed", "arm", "measure", "value"), measure_rows(found))
    outcomes = judge(found)
    write_outcomes(out / NAME, outcomes)
    parts = [
        verdicts(outcomes),
        _block(found, [arm.name for arm in long_films.ARMS]),
        _block(found, [SCRATCH, SWITCHED]),
        f"{len(found)} of {len(SEEDS)} seeds, means and deviations. Networks of {long_films.LAYERS} layers, {long_films.WIDTH} "
        f"wide, steps of {long_films.ROWS} rows: {long_films.STEPS} on films, {switched.STEPS} on {switched.LEARNT:,} pictures. "
        f"{long_films.READ} held-out films are read, {long_films.DRAWN} go on from their first frame, whose energy is the unit "
        f"of their error; {switched.READ} held-out pictures are read. The tokenizer of {switched.FEW} bits had "
        f"{switched.TOKENIZER_STEPS} steps. Numbers: [measures.csv]({NAME}/measures.csv).",
    ]
    write_page(out / f"{NAME}.md", "Long films, and few bits first", WORDS, f"ernest results {NAME}", "\n\n".join(parts))


def _block(found: Found, arms: Sequence[str]) -> str:
    columns = list(dict.fromkeys(measure for arm in arms for measure in found[0][arm]))
    rows = [(arm, *(spread([seed[arm][one] for seed in found if one in seed[arm]], 4) for one in columns)) for arm in arms]
    return table(("run", *columns), rows)
