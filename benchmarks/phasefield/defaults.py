"""What `solve` makes of a problem by itself, for a tolerance: the error it ends with, its elements and its time.

Beside it stand the fastest of the schemes that were tuned by hand, at the error that `solve` reached, and an exponential
Runge-Kutta pair under the same controller. The hand-tuned ones have their coefficients made before; `solve` and the pair are
charged all that they do. Plans and index tables of a flow and grid `solve` keeps for the next run in the same process: its runs
without them are timed as well.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from benchmarks.findings import Findings
from benchmarks.phasefield.comparisons import COMPARISONS, QUICK, Comparison
from benchmarks.phasefield.etd34 import solve_by_etd34
from benchmarks.phasefield.problems import Problem, prepare
from benchmarks.phasefield.races import Curve, Race, seconds_to
from benchmarks.tables import Figure, Table
from ernest.phasefield.compiled.kit import forget
from ernest.phasefield.solver.solution import Solution
from ernest.phasefield.solver.solve import solve

PROBLEMS = (("several waves", 256), ("seven circles", 256), ("Cahn-Hilliard", 128))
TOLERANCES = (1e-4, 1e-6, 1e-8)
RACED = 1e-6
"""The tolerance at which the pair runs beside `solve`."""
LADDER = tuple(10 ** (-k / 2) for k in range(6, 21))
"""Tolerances of the pair: one of them reaches what `solve` did."""
NEAR = 1.4
"""Schemes that take so many times the best time in their first run do not run again."""


@dataclass
class Run:
    """Runs of `solve` with one tolerance: the last solution, its error, and the seconds of the processor of each; of those that
    found nothing kept by a run before them `anew`."""

    tolerance: float
    solution: Solution
    error: float
    seconds: list[float] = field(default_factory=list)
    anew: list[float] = field(default_factory=list)


def measure(folder: Path, turns: int, quick: bool) -> Findings:
    """Nothing is chosen by hand. Times are medians of the processor's clock, runs of all methods taken in turn."""
    tuned = {(c.name, c.points): c for c in COMPARISONS}
    chosen = [QUICK] if quick else [tuned[problem] for problem in PROBLEMS]
    found, rows = Findings(), []
    for comparison in chosen:
        figures, lines = beside(comparison, folder, turns, TOLERANCES[:1] if quick else TOLERANCES)
        found += Findings(figures)
        rows += lines
    header = (
        "problem",
        "tolerance",
        "error",
        "÷ allowed",
        "elements",
        "rejected",
        "ms",
        "nothing kept, ms",
        "hand-tuned, ms",
        "scheme",
    )
    header += ("solve ÷ it", "ETD34 ÷ solve")
    note = "Allowed is tolerance × amplitude × time ÷ own time. The others' times are those at the error that solve reached."
    return found + Findings((), (Table("What solve does by itself", header, tuple(rows), note),))


def beside(
    comparison: Comparison, folder: Path, turns: int, tolerances: Sequence[float]
) -> tuple[tuple[Figure, ...], list[tuple[str, ...]]]:
    """Figures and lines of the table for one problem."""
    problem = prepare(comparison.name, comparison.points, folder / "phasefield")
    runs = [Run(tolerance, *by_itself(problem, tolerance)[:2]) for tolerance in tolerances]
    race = _nearest(Race.begin(problem, [entrant for entrant in comparison.entrants if entrant.ours]), [r.error for r in runs])
    for _ in range(turns):
        race.turn()
        for run in runs:
            forget()
            run.anew.append(by_itself(problem, run.tolerance)[2])
            run.seconds.append(by_itself(problem, run.tolerance)[2])
    figures, lines = [], []
    for run in runs:
        hand, name = race.fastest(race.ours, run.error)
        mine, units = median(run.seconds), run.solution.units
        pair = seconds_to(run.error, _pair(problem, run)) if run.tolerance == RACED or len(runs) == 1 else None
        where = f"{comparison.name}, N = {comparison.points}, tolerance {run.tolerance:.0e}"
        used = run.error / (run.tolerance * units.speed * problem.end)
        figures.append(Figure(f"solve, {where}: error ÷ allowed", used, 1.0, True))
        figures.append(Figure(f"solve ÷ hand-tuned at the same reached error, {where}", mine / hand, 2.0, True))
        anew = median(run.anew)
        figures.append(Figure(f"solve with nothing kept ÷ hand-tuned at the same reached error, {where}", anew / hand))
        if pair is not None:
            figures.append(Figure(f"ETD34 with adaptive steps ÷ solve at the same reached error, {where}", pair / mine, 3.0))
        what = f"{comparison.name}, N = {comparison.points}", f"{run.tolerance:.0e}", f"{run.error:.1e}", f"{used:.2g}"
        steps, times = (str(len(run.solution.steps)), str(run.solution.rejected)), (mine, anew, hand)
        ratios = f"{mine / hand:.2f}", "" if pair is None else f"{pair / mine:.2f}"
        lines.append((*what, *steps, *(f"{1e3 * seconds:.1f}" for seconds in times), name, *ratios))
    return tuple(figures), lines


def by_itself(problem: Problem, tolerance: float) -> tuple[Solution, float, float]:
    """The solution, its error at the end, and the seconds of the processor that it took."""
    begun = time.process_time()
    solution = solve(problem.flow, problem.grid, problem.start, problem.end, tolerance, dense=False, progress=False)
    seconds = time.process_time() - begun
    return solution, problem.error(solution.end), seconds


def _nearest(race: Race, errors: Sequence[float]) -> Race:
    """The race of those that may be the fastest at one of the errors, by their first runs."""
    kept: set[str] = set()
    for error in errors:
        times = {name: seconds_to(error, race.curve(name)) for name in race.ours}
        kept |= {name for name, seconds in times.items() if seconds <= NEAR * min(times.values())}
    runs = {name: race.runs[name] for name in kept}
    timed = {id(one) for some in runs.values() for one in some}
    entrants = tuple(entrant for entrant in race.entrants if entrant.name in kept)
    return replace(race, entrants=entrants, runs=runs, ready=tuple(pair for pair in race.ready if id(pair[1]) in timed))


def _pair(problem: Problem, run: Run) -> Curve:
    """Seconds and errors of the pair, by falling tolerance until it is below the error that `solve` reached."""
    points: list[tuple[float, float]] = []
    for tolerance in LADDER:
        if points and points[-1][1] <= run.error:
            break
        end, _, seconds = solve_by_etd34(problem, tolerance, run.solution.units)
        points.append((seconds, problem.error(end)))
    return tuple(points)
