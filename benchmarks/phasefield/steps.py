"""What a step costs: the share of its transforms, two threads against one, torch against the fused kernels, memory in 3-D."""

import math
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch

from benchmarks.findings import Findings
from benchmarks.phasefield import gpu
from benchmarks.phasefield.problems import KAPPA, several_waves
from benchmarks.phasefield.races import fused
from benchmarks.tables import Figure, Table
from ernest.phasefield.compiled.stepper import FusedStepper
from ernest.phasefield.compiled.transforms import FftwPlan, describe_engines
from ernest.phasefield.flows import AllenCahn
from ernest.phasefield.grid import Grid
from ernest.phasefield.initial_conditions import circle
from ernest.phasefield.schemes.coarse import CoarseGaussSeidel
from ernest.phasefield.schemes.exponential import ETDRK4, IMEXBDF4
from ernest.phasefield.schemes.gaussseidel import GaussSeidel
from ernest.phasefield.stepping import Scheme

FLOW = AllenCahn(KAPPA)
SCHEMES: dict[str, tuple[Scheme, float]] = {
    "GS(3, 4, 1)": (GaussSeidel(3, 4, 1, 0.5), 0.25),
    "GS(4, 5, 2)": (GaussSeidel(4, 5, 2, 0.5), 0.5),
    "CGS(4, 4, 1+1+3)": (CoarseGaussSeidel(4, 4, 1, 3, 0.5), 1.0),
    "CGS(5, 5, 1+2+2)": (CoarseGaussSeidel(5, 5, 2, 2, 0.5), 1.0),
    "CGS(4, 4, 1+1+3; nodes 4)": (CoarseGaussSeidel(4, 4, 1, 3, 0.5, fine_nodes=(3,)), 1.0),
    "ETDRK4": (ETDRK4(0.0), 0.1),
    "IMEX-BDF4": (IMEXBDF4(0.5), 0.05),
}
"""Each with a usual length of its steps."""


def measure(_: Path, turns: int, quick: bool) -> Findings:
    points = 64 if quick else 512
    found = shares(points, turns) + threads(points, turns)
    for n in (64,) if quick else (128, 256):
        found += torch_and_fused(n, turns)
    return found + volume(16 if quick else 96) + gpu.measure(quick)


def square(points: int) -> Grid:
    return Grid.cube(points, 2 * math.pi)


def seconds_per_step(stepper: FusedStepper, start: torch.Tensor, tau: float, clock: Callable[[], float]) -> float:
    """Of steps alone: what a run of twelve takes beyond one of four."""
    spent = []
    for steps in (4, 12):
        begun = clock()
        stepper.run(start, tau, steps)
        spent.append(clock() - begun)
    return (spent[1] - spent[0]) / 8


@contextmanager
def clocked_transforms() -> Iterator[list[float]]:
    """The seconds that each transform inside takes, with about a microsecond of its own."""
    spent: list[float] = []
    plain = {name: getattr(FftwPlan, name) for name in ("forward", "inverse")}

    def clocked(transform: Callable[..., None]) -> Callable[..., None]:
        def timed(*arguments: object) -> None:
            begun = time.perf_counter()
            transform(*arguments)
            spent.append(time.perf_counter() - begun)

        return timed

    for name, transform in plain.items():
        setattr(FftwPlan, name, clocked(transform))
    try:
        yield spent
    finally:
        for name, transform in plain.items():
            setattr(FftwPlan, name, transform)


def clocked_step(stepper: FusedStepper, start: torch.Tensor, tau: float) -> tuple[float, float, float]:
    """Of a step, as what a run of twelve has beyond one of four: seconds, seconds inside transforms, their number."""
    runs = []
    for steps in (4, 12):
        with clocked_transforms() as spent:
            begun = time.perf_counter()
            stepper.run(start, tau, steps)
            runs.append((time.perf_counter() - begun, sum(spent), len(spent)))
    short, long = runs
    return (long[0] - short[0]) / 8, (long[1] - short[1]) / 8, (long[2] - short[2]) / 8


def shares(points: int, turns: int) -> Findings:
    """The share of a step's time that is spent inside the transforms."""
    grid = square(points)
    start = several_waves(grid)
    steppers = {name: fused(scheme, FLOW, grid) for name, (scheme, _) in SCHEMES.items()}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in SCHEMES}
    for turn in range(turns + 1):
        for name, (_, tau) in SCHEMES.items():
            steppers[name].prepare(tau)
            one = clocked_step(steppers[name], start, tau)
            if turn:  # the first one warms
                found[name].append(one)
    rows, figures = [], []
    for name, runs in found.items():
        step, share = median(step for step, _, _ in runs), median(inside / step for step, inside, _ in runs)
        bar = 0.6 if name.startswith(("GS", "CGS")) and points == 512 else None
        figures.append(Figure(f"share of the transforms, {name}, N = {points}", share, bar))
        rows.append((name, f"{1e3 * step:.2f}", f"{runs[0][2]:.0f}", f"{share:.0%}"))
    header = ("method", "ms per step", "transforms", "their share")
    return Findings(tuple(figures), (Table(f"Steps, N = {points}", header, tuple(rows), describe_engines(grid.points)),))


def threads(points: int, turns: int) -> Findings:
    """Time on the wall of one thread ÷ two."""
    grid = square(points)
    start = several_waves(grid)
    rows, figures = [], []
    for name in ("GS(4, 5, 2)", "CGS(4, 4, 1+1+3)", "ETDRK4"):
        scheme, tau = SCHEMES[name]
        steppers = {count: fused(scheme, FLOW, grid, count) for count in (1, 2)}
        spent: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(turns + 1):
            for count, stepper in steppers.items():
                stepper.prepare(tau)
                seconds = seconds_per_step(stepper, start, tau, time.perf_counter)
                if turn:
                    spent[count].append(seconds)
        one, two = (median(spent[count]) for count in (1, 2))
        bar = 1.0 if points == 512 and name != "ETDRK4" else None
        figures.append(Figure(f"two threads: times as fast as one, {name}, N = {points}", one / two, bar, threads=2))
        rows.append((name, f"{1e3 * one:.2f}", f"{1e3 * two:.2f}", f"{one / two:.2f}"))
    header = ("method", "ms per step, one thread", "two threads", "factor")
    return Findings(tuple(figures), (Table(f"Two threads, N = {points}", header, tuple(rows)),))


def torch_and_fused(points: int, turns: int) -> Findings:
    """A step in plain torch, one of the fused kernels as `solve` takes it, and one of a run that keeps nothing."""
    grid = square(points)
    start, steps = several_waves(grid), 8
    rows, figures = [], []
    for name in ("GS(3, 4, 1)", "CGS(4, 4, 1+1+3)"):
        scheme, tau = SCHEMES[name]
        plain, quick = scheme.stepper(FLOW, grid, start), fused(scheme, FLOW, grid)
        spent: dict[str, list[float]] = {"torch": [], "fused": [], "run": []}
        for turn in range(turns + 1):
            for kind, stepper in (("torch", plain), ("fused", quick)):
                state = stepper.init(start)
                for _ in range(2):
                    state, _, _ = stepper.step(state, tau)
                begun = time.process_time()
                for _ in range(steps):
                    state, _, _ = stepper.step(state, tau)
                spent[kind].append((time.process_time() - begun) / steps)
            spent["run"].append(seconds_per_step(quick, start, tau, time.process_time))
            if not turn:
                for times in spent.values():
                    times.clear()
        slow, fast, bare = (median(spent[kind]) for kind in ("torch", "fused", "run"))
        figures.append(Figure(f"fused: times as fast as torch, {name}, N = {points}", slow / fast))
        rows.append((name, f"{1e3 * slow:.2f}", f"{1e3 * fast:.2f}", f"{1e3 * bare:.2f}", f"{slow / fast:.1f}"))
    header = ("method", "ms per step, torch", "fused", "fused, run", "factor")
    note = "A fused step hands out its state and its polynomial; a run keeps nothing but its end."
    return Findings(tuple(figures), (Table(f"Torch and fused kernels, N = {points}", header, tuple(rows), note),))


def volume(points: int) -> Findings:
    """Three dimensions in torch: what the coefficients take as tables of |k|², as arrays, and all of the process at its most."""
    grid = Grid.cube(points, 2 * math.pi, 3)
    start = circle(grid, KAPPA)
    small, end = _three_steps(grid, start, shells=True)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    large, same = _three_steps(grid, start, shells=False)
    where = f"{points}³, GS(3, 4, 1)"
    figures = (
        Figure(f"3-D: MiB of coefficients as tables of |k|², {where}", small),
        Figure(f"3-D: MiB of coefficients as arrays, {where}", large),
        Figure(f"3-D: greatest difference of the two, {where}", float((end - same).abs().max()), 1e-13, less=True),
        Figure(f"3-D: MiB of the whole process at most, with tables, {where}", most),
    )
    cells = where, f"{small:.1f}", f"{large:.1f}", f"{most:.0f}"
    header = ("3-D", "tables of k², MiB", "arrays, MiB", "whole process, MiB")
    return Findings(figures, (Table("Memory in three dimensions", header, (cells,)),))


def _three_steps(grid: Grid, start: torch.Tensor, shells: bool) -> tuple[float, torch.Tensor]:
    """MiB of the coefficients, and the field after three steps."""
    stepper = GaussSeidel(3, 4, 1, 0.5, shells=shells).stepper(FLOW, grid, start)
    state = stepper.init(start)
    for _ in range(3):
        state, _, _ = stepper.step(state, 0.1)
    return stepper.table_bytes / 2**20, grid.field(state.modes)
