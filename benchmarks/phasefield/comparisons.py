"""Ours against ETDRK4 and IMEX-BDF4 with the same transforms and the same fused kernels: time to reach an error."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from benchmarks.findings import Findings, Panel
from benchmarks.phasefield.problems import prepare, spatial_error
from benchmarks.phasefield.races import Entrant, Race, order, race
from benchmarks.tables import Figure, Table
from ernest.phasefield.schemes.coarse import CoarseGaussSeidel
from ernest.phasefield.schemes.exponential import ETDRK4, IMEXBDF4
from ernest.phasefield.schemes.gaussseidel import GaussSeidel

ERRORS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)


@dataclass(frozen=True)
class Bar:
    """At this error the baselines must take so many times our time."""

    error: float
    etdrk4: float
    bdf4: float


@dataclass(frozen=True)
class Comparison:
    name: str
    points: int
    entrants: tuple[Entrant, ...]
    bars: tuple[Bar, ...]
    errors: tuple[tuple[str, str, int, float], ...] = ()
    """Errors that must be met: number of the check, name of the entrant, steps, bar."""


def baselines(etdrk4: tuple[int, ...], bdf4: tuple[int, ...], stabilisations: Sequence[float]) -> tuple[Entrant, ...]:
    """Both at their best: ETDRK4 is more accurate without a stabilisation, IMEX-BDF4 runs with each of several."""
    return (
        Entrant("ETDRK4", ETDRK4(0.0), etdrk4, ours=False),
        *(Entrant(f"IMEX-BDF4, S = {s:g}", IMEXBDF4(s), bdf4, ours=False) for s in stabilisations),
    )


def sliding(stabilisation: float, *schemes: tuple[int, int, int, tuple[int, ...]]) -> tuple[Entrant, ...]:
    """Sweeps on the full grid: degree, window, sweeps, and the numbers of steps."""
    return tuple(
        Entrant(f"GS({degree}, {window}, {sweeps})", GaussSeidel(degree, window, sweeps, stabilisation), counts)
        for degree, window, sweeps, counts in schemes
    )


def coarse(counts: tuple[int, ...], *schemes: CoarseGaussSeidel) -> tuple[Entrant, ...]:
    """Further sweeps on coarse grids; where only some nodes visit the full grid, the name counts them from 1."""
    return tuple(Entrant(_name(scheme), scheme, counts) for scheme in schemes)


def _name(scheme: CoarseGaussSeidel) -> str:
    sweeps = f"1+{scheme.half_sweeps}{f'+{scheme.quarter_sweeps}' * (scheme.quarter_sweeps > 0)}"
    nodes = f"; nodes {' '.join(str(node + 1) for node in scheme.nodes)}" * scheme.sparse
    ratio = f"; {Fraction(scheme.ratio).limit_denominator(9)}" * (scheme.ratio != 0.5)
    start = f"; start {scheme.start_sweeps}" * (scheme.start_sweeps != 2)
    return f"CGS({scheme.degree}, {scheme.window}, {sweeps}{nodes}{ratio}{start})"


def _cgs(
    *parameters: int, nodes: tuple[int, ...] | None = None, ratio: float = 0.5, S: float = 0.5, start: int = 2
) -> CoarseGaussSeidel:
    return CoarseGaussSeidel(*parameters, stabilisation=S, fine_nodes=nodes, ratio=ratio, start_sweeps=start)


_ETDRK4, _BDF4 = (16, 24, 32, 48, 69, 100, 128, 180, 224, 320, 400, 512), (48, 85, 128, 154, 220, 275, 380, 490, 650, 880)
_SOME, _MANY, _FEW = (8, 10, 12, 16, 20, 24, 32, 48), (12, 16, 20, 24, 32, 40, 56), (4, 5, 6, 7, 8, 10, 12, 16)
_WAVES = (
    *baselines(_ETDRK4, _BDF4, (0.0, 0.5)),
    *sliding(0.5, (3, 4, 1, _MANY), (4, 4, 1, _MANY), (4, 5, 2, _SOME)),
)
_ON_128 = _cgs(3, 3, 2, 0), _cgs(3, 4, 2, 0), _cgs(4, 4, 2, 0), _cgs(4, 4, 3, 0), _cgs(5, 4, 3, 0)
_ON_192 = (
    *(_cgs(3, 4, 2, 1), _cgs(4, 4, 2, 1), _cgs(4, 5, 2, 2), _cgs(5, 4, 2, 2), _cgs(5, 5, 2, 2), _cgs(6, 5, 3, 2)),
    *(_cgs(6, 5, 2, 2, nodes=(1, 3, 5), ratio=2 / 3), _cgs(6, 5, 2, 2, nodes=(2, 5), ratio=2 / 3)),
    *(_cgs(6, 5, 1, 3, nodes=(2, 5), ratio=2 / 3), _cgs(5, 5, 2, 2, nodes=(2, 4), ratio=2 / 3)),
)
_ON_256 = (
    *(_cgs(3, 4, 1, 2), _cgs(4, 4, 1, 3), _cgs(5, 5, 2, 2), _cgs(6, 5, 2, 2)),
    *(_cgs(3, 4, 1, 2, nodes=(2,)), _cgs(4, 4, 1, 3, nodes=(3,)), _cgs(5, 4, 1, 3, nodes=(4,)), _cgs(5, 4, 1, 3, nodes=(2, 4))),
    *(_cgs(5, 5, 2, 2, nodes=(2, 4)), _cgs(6, 5, 2, 2, nodes=(1, 3, 5)), _cgs(6, 5, 2, 2, nodes=(2, 5))),
)
COMPARISONS = (
    Comparison("several waves", 128, (*_WAVES, *coarse((*_FEW, 20, 28), *_ON_128)), (Bar(1e-6, 2.8, 1.8),)),
    Comparison("several waves", 192, (*_WAVES, *coarse(_FEW, *_ON_192)), (Bar(1e-8, 6.8, 4.2),)),
    Comparison(
        "several waves",
        256,
        (*_WAVES, *coarse(_FEW, *_ON_256)),
        (Bar(1e-6, 4.7, 3.0), Bar(1e-8, 8.5, 5.2)),
        (("37", "CGS(4, 4, 1+1+3)", 10, 1e-7), ("37", "CGS(5, 5, 1+2+2)", 8, 2.5e-8), ("37", "CGS(5, 5, 1+2+2)", 12, 1e-9)),
    ),
    Comparison(
        *("seven circles", 256),
        (
            *baselines((80, 160, 240, 320, 480, 640), (160, 320, 640, 900, 1280, 1800), (0.0, 0.5)),
            *sliding(0.5, (3, 4, 2, (28, 40, 56, 80)), (4, 5, 2, (20, 28, 40, 56))),
            *coarse((12, 14, 20, 28, 40, 56), _cgs(4, 4, 1, 2), _cgs(5, 5, 2, 2), _cgs(6, 5, 2, 2)),
            *coarse((12, 14, 20, 28, 40), _cgs(4, 4, 1, 3, nodes=(1, 3)), _cgs(5, 5, 2, 2, nodes=(2, 4))),
            *coarse((12, 14, 20, 28, 40), _cgs(6, 5, 2, 2, nodes=(1, 3, 5))),
        ),
        (Bar(1e-6, 4.5, 4.5),),
    ),
    Comparison(
        *("Cahn-Hilliard", 128),
        (
            *baselines((160, 320, 640, 1280, 2560), (320, 480, 640, 960, 1280, 1920), (0.0, 1.0)),
            *sliding(1.0, (3, 3, 2, (40, 56, 80, 120, 160, 320)), (3, 4, 2, (56, 80, 120, 160, 240))),
            *coarse((20, 28, 40, 56, 80, 120), _cgs(3, 3, 4, 0, S=1.0), _cgs(4, 4, 2, 0, S=1.0)),
            *coarse((28, 36, 40, 44, 48, 56, 80), _cgs(3, 4, 2, 0, S=1.0, start=6)),
            *coarse((28, 36, 40, 48, 56, 80), _cgs(4, 4, 2, 0, S=1.0, start=6), _cgs(4, 4, 3, 0, S=1.0, start=6)),
        ),
        (Bar(1e-6, 10.0, 1.6),),
        (("17", "GS(3, 3, 2)", 40, 1e-4), ("17", "GS(3, 4, 2)", 80, 3e-7)),
    ),
)
QUICK = Comparison(
    *("several waves", 64),
    (
        *baselines((24, 48, 72), (85, 160), (0.5,)),
        *sliding(0.5, (3, 4, 1, (16, 24, 32))),
        *coarse((6, 8, 12), _cgs(3, 4, 2, 0)),
    ),
    (),
)


def compare(folder: Path, turns: int, quick: bool) -> Findings:
    """The table of every problem, the rows of its bars, and its curves."""
    found = Findings()
    for comparison in (QUICK,) if quick else COMPARISONS:
        found += held(comparison, folder, turns)
    return found if quick else found + grids(folder)


def held(comparison: Comparison, folder: Path, turns: int) -> Findings:
    """One comparison; the steppers of its race, some gigabytes of them, are let go with it."""
    problem = prepare(comparison.name, comparison.points, folder / "phasefield")
    result = race(problem, comparison.entrants, turns)
    return Findings(figures(comparison, result), (table(result),), panels=(panel(result),))


def figures(comparison: Comparison, result: Race) -> tuple[Figure, ...]:
    """For each bar the ratio of medians, which is what the bar is for, and that of the least times; then errors."""
    rows: list[Figure] = []
    for bar in comparison.bars:
        for baseline, least in (("ETDRK4", bar.etdrk4), ("IMEX-BDF4", bar.bdf4)):
            where = f"{comparison.name}, N = {comparison.points}, error {bar.error:.0e}"
            rows.append(Figure(f"11: {baseline} ÷ ours, {where}", ratio(result, baseline, bar.error), least))
            rows.append(Figure(f"11: {baseline} ÷ ours, {where}, least times", ratio(result, baseline, bar.error, True)))
    for number, name, steps, most in comparison.errors:
        reached = next(timed.error for timed in result.runs[name] if timed.steps == steps)
        rows.append(Figure(f"{number}: error of {name}, {comparison.name}, {steps} steps", reached, most, less=True))
    if comparison.name == "Cahn-Hilliard":
        wild = [timed for timed in result.runs["IMEX-BDF4, S = 0"] if timed.steps <= 1280]
        blown = sum(not math.isfinite(timed.error) for timed in wild)
        rows.append(Figure("17: runs of IMEX-BDF4 without stabilisation that blow up, 320 to 1280 steps", blown, len(wild)))
    return tuple(rows)


def ratio(result: Race, baseline: str, error: float, least: bool = False) -> float:
    """Time of the baseline's better variant ÷ that of the fastest of ours; infinite where no run of the baseline gets there."""
    theirs, _ = result.fastest([name for name in result.runs if name.startswith(baseline)], error, least)
    return theirs / result.fastest(result.ours, error, least)[0]


def table(result: Race) -> Table:
    rows = []
    for error in ERRORS:
        ours, name = result.fastest(result.ours, error)
        if not name:
            continue
        full, _ = result.fastest([name for name in result.ours if name.startswith("GS")], error)
        cubic, _ = result.fastest([name for name in result.ours if "(3" in name], error)
        against = [ratio(result, baseline, error) for baseline in ("ETDRK4", "IMEX-BDF4")]
        rows.append((f"{error:.0e}", name, f"{1e3 * ours:.2f}", *map(_times, (*against, full / ours, cubic / ours))))
    header = ("error", "ours, fastest", "ms", "ETDRK4 ÷ it", "IMEX-BDF4 ÷ it", "full sweeps ÷ it", "best p = 3 ÷ it")
    problem = result.problem
    note = f"The two references differ by {problem.doubt:.0e}."
    return Table(f"{problem.name}, N = {problem.grid.points[0]}", header, tuple(rows), note)


def _times(factor: float) -> str:
    return f"{factor:.2f}" if math.isfinite(factor) else "not reached"


def panel(result: Race) -> Panel:
    """The baselines and those of ours that are fastest at some error, with and without coarse grids."""
    groups = ([n for n in result.runs if n.startswith(kind)] for kind in ("ETDRK4", "IMEX-BDF4", "GS", "CGS"))
    names = [name for group in groups for name in dict.fromkeys(result.fastest(group, error)[1] for error in ERRORS) if name]
    return Panel(f"{result.problem.name}, N = {result.problem.grid.points[0]}", {name: result.curve(name) for name in names})


def grids(folder: Path) -> Findings:
    """What each grid adds to the error, and how much of the solution lies beyond the coarse grids."""
    names = [(c.name, c.points) for c in COMPARISONS]
    problems = [prepare(name, points, folder / "phasefield") for name, points in names]
    finest = max((p for p in problems if p.name == "several waves"), key=lambda p: p.grid.points[0])
    rows, figures = [], []
    for problem in problems:
        points = problem.grid.points[0]
        where = f"{problem.name}, N = {points}"
        figures.append(Figure(f"11: greatest |û| at N/4, {where}", problem.tail()))
        space = ""
        if problem.name == finest.name and problem is not finest:
            figures.append(Figure(f"11: error of the grid, {where}", spatial_error(problem, finest)))
            space = f"{figures[-1].value:.1e}"
        rows.append((problem.name, str(points), f"{problem.tail():.1e}", space))
    header = ("problem", "N", "greatest abs(û) at N/4", "error of the grid")
    return Findings(tuple(figures), (Table("Grids", header, tuple(rows)),))


def orders(folder: Path, turns: int, quick: bool) -> Findings:
    """Orders of the baselines: on long waves they are four; on Cahn–Hilliard the stiff part takes some from ETDRK4."""
    smooth, stiff = ((32, 64), (160, 320)) if quick else ((16, 32, 64, 128), (160, 320, 640, 1280))
    found = Findings()
    for name, points, counts, bar, s in (("long waves", 64, smooth, 3.9, 0.0), ("Cahn-Hilliard", 128, stiff, None, 1.0)):
        if quick and bar is None:
            continue
        entrants = (
            Entrant("ETDRK4", ETDRK4(0.0), counts, ours=False),
            Entrant("IMEX-BDF4", IMEXBDF4(s), tuple(2 * n for n in counts), ours=False),
        )
        result = race(prepare(name, points, folder / "phasefield"), entrants, 0)
        for entrant in entrants:
            found += Findings((Figure(f"13: order of {entrant.name}, {name}", order(result.runs[entrant.name]), bar),))
        rows = tuple((e.name, ", ".join(f"{timed.steps}: {timed.error:.1e}" for timed in result.runs[e.name])) for e in entrants)
        found += Findings((), (Table(f"Orders, {name}", ("method", "steps: error"), rows),))
    return found
