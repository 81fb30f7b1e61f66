"""Times and laws that longer runs must show: a circle that vanishes, drops that feed each other, steps chosen by the engine."""

import math
import time

import numpy as np
import torch
from torch import Tensor

from benchmarks.findings import Findings
from benchmarks.phasefield.problems import KAPPA
from benchmarks.tables import Figure, Table
from ernest.phasefield.flows import AllenCahn, CahnHilliard, ConservativeAllenCahn, Flow
from ernest.phasefield.grid import Grid
from ernest.phasefield.initial_conditions import circle, seven_circles, two_drops
from ernest.phasefield.schemes.gaussseidel import GaussSeidel
from ernest.phasefield.solver.events import Event
from ernest.phasefield.solver.solve import solve

CIRCLE = {64: (197.728, 1e-3), 128: (197.7090, 2e-4)}
"""When the circle is gone on so many points, in steps of 0.25, and how near that must be; in space it is converged at 128."""
SEVEN = {"first": (32, 6.3463), "second": (96, 26.0086)}
"""Index along both axes of 128 points, and when u is 0 there; in space these times are converged to three digits."""


def measure(quick: bool) -> Findings:
    if quick:
        return vanishing_circle(64)
    found = Findings()
    for points in CIRCLE:
        found += vanishing_circle(points)
    return found + seven_circles_apart() + drops() + adaptive() + stabilisations()


def vanishing_circle(points: int) -> Findings:
    """Allen–Cahn, a disk of radius 2 with κ = 0.01: the time at which u = 0 in its middle."""
    grid = Grid.cube(points, 2 * math.pi)
    gone = Event("gone", (points // 2, points // 2), -1, terminal=True)
    begun = time.process_time()
    run = solve(AllenCahn(KAPPA), grid, circle(grid, KAPPA), 250.0, step=0.25, events=gone, dense=False, progress=False)
    seconds, expected, near = time.process_time() - begun, *CIRCLE[points]
    found = run.events("gone")[0]
    name = f"14: vanishing circle, N = {points}"
    figures = (
        Figure(f"{name}, time − {expected}", abs(found - expected), near, less=True),
        Figure(f"{name}, greatest rise of the energy", _rise(run.energy), 1e-10, less=True),
        Figure(f"{name}, seconds", seconds, 5.0 if points == 128 else None, less=True),
    )
    cells = f"N = {points}", f"{found:.7f}", f"{seconds:.1f}"
    return Findings(figures, (Table("The circle vanishes", ("grid", "time", "seconds"), (cells,)),))


def seven_circles_apart() -> Findings:
    """Cahn–Hilliard, seven circles: the times at which two of them are gone."""
    grid = Grid.cube(128, 2 * math.pi)
    events = [Event(name, (index, index)) for name, (index, _) in SEVEN.items()]
    begun = time.process_time()
    run = solve(CahnHilliard(KAPPA), grid, seven_circles(grid, KAPPA), 27.0, 1e-6, events=events, dense=False, progress=False)
    seconds = time.process_time() - begun
    found = {name: run.events(name)[0] for name in SEVEN}
    figures = [
        Figure(f"14: seven circles under Cahn–Hilliard, {name} time − {expected}", abs(found[name] - expected), 5e-4, less=True)
        for name, (_, expected) in SEVEN.items()
    ]
    figures.append(Figure("14: seven circles under Cahn–Hilliard, drift of the mass", _drift(run.mass), 1e-13, less=True))
    cells = *(f"{found[name]:.5f}" for name in SEVEN), str(len(run.steps)), f"{seconds:.1f}"
    header = ("first", "second", "elements", "seconds")
    return Findings(tuple(figures), (Table("Seven circles under Cahn–Hilliard, N = 128", header, (cells,)),))


def drops() -> Findings:
    """Conservative Allen–Cahn, two drops of radius 1 and 0.7: the small one is gone at about 53.5, the mass stays."""
    grid = Grid.cube(128, 2 * math.pi)
    start = two_drops(grid, KAPPA, (1.0, 0.7), ((2.0, 2.0), (4.4, 4.4)))
    middle = int(4.4 / grid.spacings[0])
    run = solve(
        ConservativeAllenCahn(KAPPA),
        *(grid, start, 200.0),
        step=0.5,
        events=Event("gone", (middle, middle), -1),
        dense=False,
        progress=False,
    )
    gone = run.events("gone")[0]
    figures = (
        Figure("8: two drops, drift of the mass", _drift(run.mass), 1e-13, less=True),
        Figure("8: two drops, time at which the small one is gone − 53.5", abs(gone - 53.5), 0.5, less=True),
        Figure("8: two drops, greatest rise of the energy", _rise(run.energy), 1e-10, less=True),
    )
    return Findings(figures)


def noise(grid: Grid) -> Tensor:
    """Even noise of 0.2, its short waves damped by exp(-|k|²/300)."""
    rough = 0.2 * (2 * torch.rand(grid.points, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1)
    return grid.field(grid.modes(rough) * torch.exp(-grid.squared_wavenumbers() / 300))


def adaptive() -> Findings:
    """Steps chosen by the engine at tolerance 1e-9: the error at the end against a run at 1e-11 of higher degree."""
    grid = Grid.cube(128, 2 * math.pi)
    cases: tuple[tuple[str, Flow, Tensor, float, int | None], ...] = (
        ("seven circles, Allen–Cahn", AllenCahn(KAPPA), seven_circles(grid, KAPPA), 19.0, 120),
        ("noise, Allen–Cahn", AllenCahn(KAPPA), noise(grid), 60.0, 220),
        ("seven circles, Cahn–Hilliard", CahnHilliard(KAPPA), seven_circles(grid, KAPPA), 10.0, None),
    )
    figures, rows = [], []
    for name, flow, start, end, most in cases:
        reference = solve(flow, grid, start, end, 1e-11, scheme=GaussSeidel(5, 5, 5), dense=False, progress=False).end
        begun = time.process_time()
        run = solve(flow, grid, start, end, 1e-9, dense=False, progress=False)
        seconds = time.process_time() - begun
        error = float((run.end - reference).square().mean().sqrt())
        figures.append(Figure(f"15: adaptive steps, {name}: error", error, 2e-8, less=True))
        figures.append(Figure(f"15: adaptive steps, {name}: elements", len(run.steps), most, less=True))
        shortest, longest = f"{run.steps.min():.1e}", f"{run.steps.max():.1e}"
        rows.append((name, f"{error:.1e}", str(len(run.steps)), str(run.rejected), shortest, longest, f"{seconds:.2f}"))
    header = ("problem", "error", "elements", "rejected", "shortest", "longest", "seconds")
    return Findings(tuple(figures), (Table("Adaptive steps at tolerance 1e-9, N = 128", header, tuple(rows)),))


def stabilisations() -> Findings:
    """Cahn–Hilliard, seven circles on 64 points to t = 2: steps, sweeps and energy for several S, and for the engine's own."""
    grid = Grid.cube(64, 2 * math.pi)
    start, flow = seven_circles(grid, KAPPA), CahnHilliard(KAPPA)
    schemes = {f"{s:g}": GaussSeidel(3, 4, 3, s) for s in (0.0, 0.5, 1.0, 2.0, 4.0)}
    rows = []
    for name, scheme in schemes.items():
        run = solve(flow, grid, start, 2.0, 1e-6, scheme=scheme, dense=False, progress=False)
        rows.append((name, str(len(run.steps)), str(run.rejected), str(run.iterations.sum()), f"{_rise(run.energy):.1e}"))
    run = solve(flow, grid, start, 2.0, 1e-6, dense=False, progress=False)
    rows.append(("chosen", str(len(run.steps)), str(run.rejected), str(run.iterations.sum()), f"{_rise(run.energy):.1e}"))
    figures = (
        Figure(
            "18: seven circles under Cahn–Hilliard to t = 2, greatest rise of the energy", _rise(run.energy), 1e-12, less=True
        ),
        Figure("18: seven circles under Cahn–Hilliard to t = 2, elements", len(run.steps)),
    )
    header = ("S", "elements", "rejected", "sweeps", "greatest rise of the energy")
    return Findings(figures, (Table("Stabilisation of Cahn–Hilliard, tolerance 1e-6, N = 64", header, tuple(rows)),))


def _rise(energy: np.ndarray) -> float:
    """The greatest rise of the energy over an element, as a share of its first value."""
    return max(0.0, float((energy[1:] - energy[:-1]).max() / energy[0]))


def _drift(mass: np.ndarray) -> float:
    return float(abs(mass - mass[0]).max())
