"""Measures the weak order of noise: how fast the mean of u^2 comes to what it should be as steps get shorter.

On points that do not know of each other a field is a sample of as many solutions of one stochastic equation; that of a conserved
field is one of its waves. Their means are known: by the spectrum of the Fokker-Planck equation in a double well, in closed form
for noise in proportion to u, and for waves that are linear.
"""

import math
import time as clock
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.findings import Findings
from benchmarks.tables import Figure, Table
from ernest.phasefield import DoubleWell, EnergeticElements, Grid, Noise, Polynomial, VariableFlow, march

POINTS = 256
QUICK_SAMPLES = 2


@dataclass(frozen=True)
class Case:
    """A flow with the noise of a seed, the first value, the time, numbers of steps, the mean square of u at the end, and how many
    fields are drawn.
    """

    name: str
    flow: Callable[[int], VariableFlow]
    start: float
    time: float
    counts: tuple[int, int]
    exact: float
    samples: int


def double_well(start: float, temperature: float, time: float) -> float:
    """The mean of u^2 for du = b dt + sqrt(2 T) dW, b = u - u^3, by the eigenvalues of -T y'' + (b^2 / 4T + b' / 2) y."""
    n, length = 512, 8.0
    x = np.arange(1, n) * length / n - length / 2
    b, slope = x - x**3, 1 - 3 * x**2
    k = np.arange(1, n) * math.pi / length
    sines = math.sqrt(2 / n) * np.sin(np.outer(np.arange(1, n), np.arange(1, n)) * math.pi / n)
    values, vectors = np.linalg.eigh((sines * temperature * k**2) @ sines + np.diag(b**2 / (4 * temperature) + slope / 2))
    root = np.exp(-(x**4 / 4 - x**2 / 2) / (2 * temperature))
    at = int(np.argmin(abs(x - start)))
    assert x[at] == start
    return float((vectors[at] * np.exp(-values * time)) @ (vectors.T @ (x**2 * root)) / root[at])


def waves(temperature: float, time: float) -> float:
    """The mean of u^2 for u_t = Laplace(u) + noise of that temperature, conserved, from 0: of each wave T (1 - exp(-2 k^2 t))."""
    k2 = Grid((POINTS, POINTS), (float(POINTS), float(POINTS))).squared_wavenumbers()
    weights = torch.full_like(k2, 2.0)
    weights[:, 0] = weights[:, -1] = 1.0
    return float((weights * temperature * (1 - torch.exp(-2 * k2 * time))).sum()) / POINTS**2


CASES = (
    Case(
        "a double well, constant noise",
        lambda seed: VariableFlow(DoubleWell(), 0.0, noise=Noise(0.3, seed=seed)),
        0.5,
        1.0,
        (2, 4),
        double_well(0.5, 0.3, 1.0),
        4,
    ),
    Case(
        "noise in proportion to u, by Ito",
        lambda seed: VariableFlow(Polynomial((0.0, 0.0, 0.5)), 0.0, noise=Noise(strength=lambda u, x, t: 0.7 * u, seed=seed)),
        1.0,
        1.0,
        (2, 4),
        math.exp(0.49 - 2),
        8,
    ),
    Case(
        "linear waves, conserved noise",
        lambda seed: VariableFlow(Polynomial((0.0, 0.0, 0.5)), 0.0, conserved=True, noise=Noise(0.3, seed=seed)),
        0.0,
        0.2,
        (1, 2),
        waves(0.3, 0.2),
        24,
    ),
)


def measure(quick: bool) -> Findings:
    """The errors of the means over the lengths of steps, with what is left to chance, and the orders."""
    figures, rows = [], []
    for case in CASES:
        begun = clock.process_time()
        found = [_error(case, steps, QUICK_SAMPLES if quick else case.samples) for steps in case.counts]
        order = math.log2(abs(found[0][0] / found[1][0]))
        shown = [f"{error:+.5f} ± {chance:.5f}" for error, chance in found]
        rows.append((case.name, *shown, f"{order:.2f}", f"{clock.process_time() - begun:.0f}"))
        figures.append(Figure(f"noise: weak order, {case.name}", order, None if quick else 0.85))
    header = ("equation", "long steps", "half as long", "order", "seconds")
    note = "Errors of the mean of u^2, with one standard deviation of what is left to chance."
    return Findings(tuple(figures), (Table("Noise: weak errors and orders", header, tuple(rows), note),))


def _error(case: Case, steps: int, samples: int) -> tuple[float, float]:
    """What the mean of u^2 errs by over so many fields, and its standard deviation."""
    grid = Grid((POINTS, POINTS), (float(POINTS), float(POINTS)))  # cells of size 1
    start = torch.full(grid.points, case.start, dtype=torch.float64)
    means = [_mean_square(case.flow(1000 * steps + seed), grid, start, [case.time / steps] * steps) for seed in range(samples)]
    return float(np.mean(means)) - case.exact, float(np.std(means)) / math.sqrt(max(samples - 1, 1))


def _mean_square(flow: VariableFlow, grid: Grid, start: Tensor, lengths: list[float]) -> float:
    *_, last = march(flow, grid, start, lengths, EnergeticElements(1, tolerance=1e-8))  # pyright: ignore[reportArgumentType]
    return float(last.end.square().mean())
