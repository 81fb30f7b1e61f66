"""PFHub's benchmark 1, spinodal decomposition.  `python examples/pfhub/spinodal.py [abc [points [end]]]`

    c_t = div(M grad(f'(c) - kappa Laplace(c))),    f = 5 (c - 0.3)^2 (0.7 - c)^2,    M = 5,    kappa = 2,

(a) on a periodic square of 200, (b) on the same square without flux, (c) on a T of 100 by 120 whose arms are 20 wide. (a) and (b)
are gradient flows on a `Grid`. The T is no box: its Laplacian is a sparse matrix of finite volumes, and `solve_system` solves
what follows. https://pages.nist.gov/pfhub/benchmarks/benchmark1.ipynb; the free energy over time is what is compared.
"""

import sys
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield import DynamicalSystem, GradientFlow, Grid, Polynomial, Solution, energy_of, solve, solve_system

M, KAPPA = 5.0, 2.0
WELL = Polynomial(tuple(5 * a for a in (0.0441, -0.42, 1.42, -2.0, 1.0)))  # (c^2 - c + 0.21)^2
FLOW = GradientFlow(lambda k2: M * k2, lambda k2: KAPPA * k2, WELL)
TIMES = (0.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)


def start(x: Tensor, y: Tensor) -> Tensor:
    """The concentration that all three parts begin with."""
    waves = torch.cos(0.105 * x) * torch.cos(0.11 * y) + (torch.cos(0.13 * x) * torch.cos(0.087 * y)) ** 2
    return 0.5 + 0.01 * (waves + torch.cos(0.025 * x - 0.15 * y) * torch.cos(0.07 * x - 0.02 * y))


def square(
    boundary: Literal["periodic", "neumann"], points: int, t1: float, tolerance: float = 1e-4
) -> tuple[Solution, list[float]]:
    """Part (a) or (b), and the free energy at the times up to t1."""
    grid = Grid.cube(points, 200.0, boundary=boundary)
    solution = solve(FLOW, grid, start(*grid.coordinates()), t1, tolerance, progress=False)
    return solution, [float(energy_of(solution(t), FLOW, grid)) for t in TIMES if t <= t1]


def faces(inside: np.ndarray) -> Any:
    """Differences between cells that share a face, a sparse matrix `[faces, cells]`."""
    from scipy.sparse import csc_array

    number = np.cumsum(inside).reshape(inside.shape) - 1
    pairs = [(number[:-1], number[1:], inside[:-1] & inside[1:]), (number[:, :-1], number[:, 1:], inside[:, :-1] & inside[:, 1:])]
    low, high = (np.concatenate([pair[side][pair[2]] for pair in pairs]) for side in (0, 1))
    rows, ones = np.arange(len(low)), np.ones(len(low))
    entries = np.concatenate([ones, -ones]), (np.concatenate([rows, rows]), np.concatenate([high, low]))
    return csc_array(entries, shape=(len(low), int(inside.sum())))


def tee(h: float) -> tuple[DynamicalSystem, Tensor]:
    """Part (c) on cells of size h, which 20 has to be a multiple of, and its first state."""
    from scipy.sparse import csc_array, diags_array

    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(h / 2, 100, h), np.arange(h / 2, 120, h), indexing="ij"))
    inside = (y > 100) | (abs(x - 50) < 10)
    D = faces(inside.reshape(round(100 / h), -1))
    L = csc_array(-(D.T @ D) / h**2)
    entries = L.tocoo()
    places, values = torch.from_numpy(np.array(entries.coords)), torch.from_numpy(entries.data)
    matrix = torch.sparse_coo_tensor(places, values, L.shape, check_invariants=True)

    def spread(u: Tensor) -> Tensor:
        return (matrix @ u.reshape(-1, u.shape[-1]).T).T.view_as(u)

    def rate(t: Tensor, u: Tensor) -> Tensor:
        return M * spread(WELL.f(u) - KAPPA * spread(u))

    def jacobian(t: float, u: Tensor) -> Any:
        return csc_array(M * (L @ (diags_array(WELL.df(u).numpy()) - KAPPA * L)))

    def energy(u: Tensor) -> Tensor:
        return h * h * (WELL.F(u) - KAPPA / 2 * u * spread(u)).sum(-1)

    at = (torch.from_numpy(axis[inside]) for axis in (x, y))
    return DynamicalSystem(rate, jacobian=jacobian, invariant=energy), start(*at)


def part_c(h: float, t1: float, tolerance: float = 1e-4) -> tuple[Solution, list[float]]:
    """Part (c), and the free energy at the times up to t1."""
    system, u0 = tee(h)
    solution = solve_system(system, u0, t1, tolerance)
    assert system.invariant is not None
    return solution, [float(system.invariant(solution(t))) for t in TIMES if t <= t1]


def main(parts: str = "abc", points: float = 128, t1: float = 10000.0) -> None:
    """Prints the free energy of the parts; for (c), `points` is the size of a cell if it is given."""
    for part in parts:
        if part == "c":
            solution, energies = part_c(1.25 if points == 128 else points, t1)
        else:
            solution, energies = square("periodic" if part == "a" else "neumann", int(points), t1)
        drift = abs(solution.mass - solution.mass[0]).max() / abs(solution.mass[0])
        print(f"1{part}: {len(solution.steps)} steps, solute kept to {drift:.0e}")
        print(*(f"  t = {t:<6g} free energy {energy:.3f}" for t, energy in zip(TIMES, energies, strict=False)), sep="\n")


if __name__ == "__main__":
    parts, *numbers = sys.argv[1:] or ["abc"]
    main(parts, *map(float, numbers))
