"""PFHub's benchmark 6 (a), charges part into two phases between electrodes.  `python examples/pfhub/electrostatics.py [cells]`

    c_t = div(M grad(f'(c) - kappa Laplace(c) + k Phi)),    Laplace(Phi) = -k c / epsilon,    f = 5 (c - 0.3)^2 (0.7 - c)^2,

on a square of 100 without flux of c, with Phi = 0 on the left, sin(y / 7) on the right, no slope of it below and above; M = 5,
kappa = 2, k = 0.09, epsilon = 90. Phi follows from c at once, so that df/dc is no sparse matrix: `solve_system` does without one,
and the part that is stiff, in the cosines of finite volumes, is its preconditioner.
https://pages.nist.gov/pfhub/benchmarks/benchmark6-hackathon.ipynb
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from ernest.phasefield import DynamicalSystem, Polynomial, Solution, solve_system

M, KAPPA, K, EPSILON, SIDE = 5.0, 2.0, 0.09, 90.0, 100.0
WELL = Polynomial(tuple(5 * a for a in (0.0441, -0.42, 1.42, -2.0, 1.0)))  # (c^2 - c + 0.21)^2
TIMES = (0.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 400.0)


def second_difference(n: int, h: float, ends: float) -> Tensor:
    """Minus the second derivative on n cells; at the walls 1 for no slope, 3 for a value that is held."""
    diagonal = torch.full((n,), 2.0, dtype=torch.float64)
    diagonal[0] = diagonal[-1] = ends
    beside = torch.ones(n - 1, dtype=torch.float64)
    return (torch.diag(diagonal) - torch.diag(beside, 1) - torch.diag(beside, -1)) / h**2


def electrostatics(cells: int) -> tuple[DynamicalSystem, Tensor, Callable[[Tensor], Tensor]]:
    """The system, its first state, and the potential Phi `[cells, cells]` of a concentration."""
    h = SIDE / cells
    at = (torch.arange(cells, dtype=torch.float64) + 0.5) * h
    x, y = at[:, None], at[None, :]
    (closed, Q), (held, R) = (torch.linalg.eigh(second_difference(cells, h, ends)) for ends in (1.0, 3.0))
    k2, poisson = closed[:, None] + closed, held[:, None] + closed
    walls = torch.zeros(cells, cells, dtype=torch.float64)
    walls[-1] = 2 * torch.sin(at / 7) / h**2

    def spread(u: Tensor) -> Tensor:
        """The Laplacian without flux through the walls."""
        return -(Q @ (k2 * (Q.T @ u @ Q)) @ Q.T)

    def potential(c: Tensor) -> Tensor:
        return R @ ((R.T @ (K / EPSILON * c + walls) @ Q) / poisson) @ Q.T

    def rate(t: Tensor, w: Tensor) -> Tensor:
        c = w.unflatten(-1, (cells, cells))
        return M * spread(WELL.f(c) - KAPPA * spread(c) + K * potential(c)).flatten(-2)

    def preconditioner(t: float, w: Tensor, shift: complex) -> Callable[[Tensor], Tensor]:
        mean = max(float(WELL.df(w).mean()), 0.0)
        symbol = 1 + shift * M * k2 * (mean + KAPPA * k2)
        V = Q.to(symbol.dtype)
        return lambda r: (V @ ((V.T @ r.view(cells, cells) @ V) / symbol) @ V.T).flatten()

    def energy(w: Tensor) -> Tensor:
        c = w.unflatten(-1, (cells, cells))
        return h * h * (WELL.F(c) - KAPPA / 2 * c * spread(c) + K / 2 * c * potential(c)).sum((-2, -1))

    waves = torch.cos(0.2 * x) * torch.cos(0.11 * y) + (torch.cos(0.13 * x) * torch.cos(0.087 * y)) ** 2
    start = 0.5 + 0.04 * (waves + torch.cos(0.025 * x - 0.15 * y) * torch.cos(0.07 * x - 0.02 * y))
    return DynamicalSystem(rate, preconditioner=preconditioner, invariant=energy), start.flatten(), potential


def charge(cells: int, t1: float, tolerance: float = 1e-4) -> tuple[Solution, dict[float, float]]:
    """The run, and its free energy at the times up to t1."""
    system, u0, _ = electrostatics(cells)
    solution = solve_system(system, u0, t1, tolerance, stops=[t for t in TIMES if 0 < t < t1], dense=False)
    at = dict(zip(solution.times.round(9).tolist(), solution.energy.tolist(), strict=True))
    return solution, {t: at[t] for t in TIMES if t in at}


def main(cells: int = 50, t1: float = 400.0) -> None:
    """Prints the free energy, and concentration and potential in the middle at the end."""
    solution, energies = charge(cells, t1)
    drift = abs(solution.mass / solution.mass[0] - 1).max()
    print(f"6a: {len(solution.steps)} steps on {cells} x {cells} cells, charge kept to {drift:.0e}")
    print(*(f"  t = {t:<5g} free energy {energy:.4f}" for t, energy in energies.items()), sep="\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
