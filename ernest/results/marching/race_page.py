"""Writes the page of the race in time marching: the paper's two schemes beside IMEX-BDF4 and ETDRK4, problem by problem."""

import math
from collections.abc import Callable, Mapping
from itertools import groupby, product
from pathlib import Path
from typing import Any

from ernest.report.figures import new_figure, write_csv, write_picture
from ernest.report.svg import PALETTE
from ernest.results.marching.forms import FIELD, IMPLICIT, TERM
from ernest.results.marching.race import (
    ENTRANTS,
    FEW,
    FLOWS,
    LEVELS,
    MANY,
    PEERS,
    POINTS,
    WIDTHS,
    Run,
    cost_at,
    race,
    read_runs,
    settings,
)
from ernest.results.outcome import Outcome, judged_places, table, verdicts, write_outcomes
from ernest.results.pages import write_page
from ernest.results.units import file_name, kept

NAME = "time-marching"
PAPERS = (IMPLICIT, FIELD, TERM)
"""The families that the abstract describes: one implicit scheme, and two readings of its linear one."""
FAMILY = {entrant.name: entrant.family for entrant in ENTRANTS}
WORDS = (
    "Whole runs to three errors (arXiv 2406.16287): the paper's abstract says that its schemes with p = 3 outperform IMEX-BDF4 "
    "and ETDRK4. It does not say at which errors, nor what is extrapolated: both readings race."
)
Problem = tuple[str, float]
"""The name of a flow, and ε."""


def run_race(build: Path, out: Path, tell: Callable[[str], None]) -> None:
    """Races on every problem, and writes tables, picture, outcomes and page into `out`."""
    runs: dict[Problem, list[Run]] = {}
    doubts = []
    for flow, width in product(FLOWS, WIDTHS):
        name = f"{file_name(flow)}-{width:g}.json"
        done = kept(build / name, settings() | {"flow": flow, "width": width}, lambda f=flow, w=width: race(FLOWS[f](w * w)))
        runs[flow, width] = read_runs(done["runs"])
        doubts.append(done["doubt"])
        tell(f"{NAME}: {flow}, ε = {width:g}")
    folder = out / NAME
    write_csv(folder / "runs.csv", ("flow", "epsilon", "method", "steps", "error", "seconds", "transforms"),
              [(*problem, run.name, run.steps, f"{run.error:.3e}", f"{run.seconds:.5f}", run.transforms)
               for problem, some in runs.items() for run in some])  # fmt: skip
    costs = costs_of(runs)
    write_csv(folder / "levels.csv", ("flow", "epsilon", "error", "method", "seconds", "transforms"),
              [(*problem, f"{level:.0e}", method, _plain(cost["seconds"]), _plain(cost["transforms"]))
               for (problem, level), methods in costs.items() for method, cost in methods.items()])  # fmt: skip
    write_picture(folder / "work-precision.png", _picture(runs))
    outcomes = judge(costs)
    write_outcomes(folder, outcomes)
    write_page(out / f"{NAME}.md", "The time-marching paper's schemes", WORDS, f"ernest results {NAME}",
               _block(costs, outcomes, max(doubts)))  # fmt: skip


Costs = Mapping[tuple[Problem, float], Mapping[str, Mapping[str, float]]]
"""By problem and error, by method: its seconds and its transforms."""


def costs_of(runs: Mapping[Problem, list[Run]]) -> Costs:
    """What every method takes to every error; infinite where it does not come there."""
    by_method = {
        problem: {name: list(some) for name, some in groupby(sorted(found, key=_order), key=lambda run: run.name)}
        for problem, found in runs.items()
    }
    return {
        (problem, level): {
            name: {cost: cost_at(level, some, cost) for cost in ("seconds", "transforms")}
            for name, some in by_method[problem].items()
        }
        for problem, level in product(runs, LEVELS)
    }


def judge(costs: Costs) -> list[Outcome]:
    """The abstract's comparison, by the clock and by transforms, for all three errors and for each; and which form does it."""
    outcomes = []
    for cost, unit in (("seconds", "by the processor's time"), ("transforms", "by the number of transforms")):
        wins = {place: _least(methods, cost, PAPERS) < _least(methods, cost, PEERS) for place, methods in costs.items()}
        by_level = ", ".join(f"{sum(w for (_, at), w in wins.items() if at == level)} at {level:.0e}" for level in LEVELS)
        outcomes.append(
            Outcome(f"p = 3 outperforms both IMEX-BDF4 and ETDRK4, {unit}", "yes (no figure readable)",
                    f"a form of the paper is first in {sum(wins.values())} of {len(wins)} ({by_level})",
                    judged_places(sum(wins.values()), len(wins)))
        )  # fmt: skip
    for family in PAPERS:
        first = [_least(methods, "seconds", (family,)) < _least(methods, "seconds", PEERS) for methods in costs.values()]
        outcomes.append(
            Outcome(f"{_named(family)} alone outperforms both", "not said which", f"first in {sum(first)} of {len(first)}",
                    judged_places(sum(first), len(first)))
        )  # fmt: skip
    return outcomes


def _block(costs: Costs, outcomes: list[Outcome], doubt: float) -> str:
    rows = []
    for ((flow, width), level), methods in costs.items():
        name, seconds = _fastest(methods, "seconds", PAPERS)
        counted, transforms = _fastest(methods, "transforms", PAPERS)
        times = [_ratio(_least(methods, "seconds", (peer,)), seconds) for peer in PEERS]
        counts = [_ratio(_least(methods, "transforms", (peer,)), transforms) for peer in PEERS]
        best = [_ms(_fastest(methods, "seconds", (family,))[1]) for family in PAPERS]
        rows.append((flow, f"{width:g}", f"{level:.0e}", *best, name, *times, counted, *counts))
    header = ("flow", "ε", "error", "implicit, ms", "u extrapolated, ms", "N extrapolated, ms", "fastest of these",
              *(f"{peer} ÷ it" for peer in PEERS), "fewest transforms", *(f"{peer} ÷ its" for peer in PEERS))  # fmt: skip
    return "\n\n".join(
        [
            verdicts(outcomes, "sentence of the abstract", "there"),
            f"![Errors over the time of whole runs, on six problems]({NAME}/work-precision.png)",
            table(header, rows),
            f"{POINTS}² points of the periodic square of side 2π, to t = 4 from waves that become phases; κ = ε². Milliseconds "
            "of the processor on one thread, torch's operations for all; a ratio above 1 is a lead of the paper's form. Not "
            f"reached: in {MANY[-1]} steps, {FEW[-1]} of the implicit scheme. Two references differ by "
            f"{doubt:.0e}. [runs.csv]({NAME}/runs.csv), [levels.csv]({NAME}/levels.csv).",
        ]
    )  # fmt: skip


def _picture(runs: Mapping[Problem, list[Run]]) -> Any:
    figure = new_figure(12, 7)
    shades = {IMPLICIT: PALETTE["ink"], FIELD: PALETTE["image"], TERM: PALETTE["video"], "ETDRK4": PALETTE["accent"],
              "IMEX-BDF4": PALETTE["audio"]}  # fmt: skip
    shown = figure.subplots(len(FLOWS), len(WIDTHS), sharex=True, sharey=True)
    for axes, ((flow, width), found) in zip(shown.flat, runs.items(), strict=True):
        for name, some in groupby(sorted(found, key=_order), key=lambda run: run.name):
            curve = [(1e3 * run.seconds, run.error) for run in some if run.error < 1]
            if curve:
                family, sweeps = FAMILY[name], name.split(", ")[-1].split()[0]
                axes.loglog(*zip(*curve, strict=True), "-o", color=shades[family], markersize=3, linewidth=1)
                if family in (FIELD, TERM):
                    axes.annotate(sweeps, curve[-1], (3, -3), textcoords="offset points", fontsize=7, color=shades[family])
        axes.set_title(f"{flow}, ε = {width:g}", fontsize=9)
        axes.tick_params(labelsize=8)
        for level in LEVELS:
            axes.axhline(level, color=PALETTE["line"], linewidth=0.7, zorder=0)
    for axes in shown[-1]:
        axes.set_xlabel("milliseconds of a whole run", fontsize=9)
    figure.supylabel("error at the end", fontsize=9)
    handles = [shown[0, 0].plot([], [], color=colour, label=_named(family))[0] for family, colour in shades.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8, frameon=False,
                  title="numbers at the ends of curves: sweeps", title_fontsize=8)  # fmt: skip
    return figure


def _order(run: Run) -> tuple[int, int]:
    return list(FAMILY).index(run.name), run.steps


def _fastest(methods: Mapping[str, Mapping[str, float]], cost: str, families: tuple[str, ...]) -> tuple[str, float]:
    name = min((name for name in methods if FAMILY[name] in families), key=lambda name: methods[name][cost])
    return name, methods[name][cost]


def _least(methods: Mapping[str, Mapping[str, float]], cost: str, families: tuple[str, ...]) -> float:
    return _fastest(methods, cost, families)[1]


def _named(family: str) -> str:
    return {IMPLICIT: "the implicit scheme", FIELD: "the linear scheme with u extrapolated",
            TERM: "the linear scheme with N extrapolated"}.get(family, family)  # fmt: skip


def _ratio(other: float, ours: float) -> str:
    if math.isinf(ours):
        return "–"
    return "not reached" if math.isinf(other) else f"{other / ours:.2f}"


def _ms(seconds: float) -> str:
    return "not reached" if math.isinf(seconds) else f"{1e3 * seconds:.1f}"


def _plain(cost: float) -> str:
    return "" if math.isinf(cost) else f"{cost:.5g}"
