"""PFHub's benchmark 3, a dendrite.  `python examples/pfhub/dendrite.py [cells]`

A quarter of a seed grows into a melt that is too cold by 0.3. With a = 1 + 0.05 cos 4 theta, theta the direction of grad phi,

    a^2 phi_t = (phi - lambda U (1 - phi^2)) (1 - phi^2) + div(a^2 grad phi + a a' (-phi_y, phi_x)),    lambda = 10 / 0.6267,
    U_t = 10 Laplace(U) + phi_t / 2,

without flux through the walls. The gradient energy depends on the direction of the gradient, so this goes to `solve_system`:
finite volumes, and a Jacobian whose pattern alone is told. The benchmark asks for a square of 960 until t = 1500; a laptop does
the beginning of it in minutes, on a smaller square. https://pages.nist.gov/pfhub/benchmarks/benchmark3.ipynb
"""

import sys

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield import DynamicalSystem, Solution, solve_system

LAMBDA, D, COLD, EPSILON = 10 / 0.6267, 10.0, -0.3, 0.05


def pad(u: Tensor, axis: int) -> Tensor:
    """One cell more at both ends of an axis, without a slope there."""
    n = u.shape[axis]
    return torch.cat([u.narrow(axis, 0, 1), u, u.narrow(axis, n - 1, 1)], axis)


def slopes(u: Tensor, axis: int, h: float) -> Tensor:
    """The derivative in the middle of the cells."""
    return (pad(u, axis).diff(dim=axis).unfold(axis, 2, 1).sum(-1)) / (2 * h)


def anisotropy(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """a and a' for a gradient (x, y)."""
    squares = x * x + y * y + 1e-12
    nx, ny = x * x / squares, y * y / squares
    return 1 - 3 * EPSILON + 4 * EPSILON * (nx * nx + ny * ny), -16 * EPSILON * x * y / squares * (nx - ny)


def divergence(flux: Tensor, axis: int, h: float) -> Tensor:
    """Of a flux on the faces between cells, none through the walls."""
    none = torch.zeros_like(flux.narrow(axis, 0, 1))
    return torch.cat([none, flux, none], axis).diff(dim=axis) / h


def dendrite(cells: int, h: float) -> tuple[DynamicalSystem, Tensor]:
    """The system for phi and U on cells of size h, and its first state: a seed of radius 8."""
    from scipy.sparse import block_array, diags_array, eye_array, kron

    def rate(t: Tensor, w: Tensor) -> Tensor:
        phi, U = w.unflatten(-1, (2, cells, cells)).unbind(-3)
        centre = slopes(phi, -2, h), slopes(phi, -1, h)
        grown = (phi - LAMBDA * U * (1 - phi**2)) * (1 - phi**2)
        for axis, turn in ((-2, -1.0), (-1, 1.0)):
            along = phi.diff(dim=axis) / h
            across = centre[-1 - axis].unfold(axis, 2, 1).mean(-1)
            a, da = anisotropy(*((along, across) if axis == -2 else (across, along)))
            grown = grown + divergence(a * a * along + turn * a * da * across, axis, h)
        moved = grown / anisotropy(*centre)[0] ** 2
        spread = sum(divergence(U.diff(dim=axis) / h, axis, h) for axis in (-2, -1))
        return torch.stack([moved, D * spread + moved / 2], -3).flatten(-3)

    line = diags_array([1.0, 1.0, 1.0], offsets=[-1, 0, 1], shape=(cells, cells))  # pyright: ignore[reportArgumentType]
    around, here = kron(line, line), eye_array(cells**2)
    cross = kron(line, eye_array(cells)) + kron(eye_array(cells), line)
    x = (torch.arange(cells, dtype=torch.float64) + 0.5) * h
    phi = torch.tanh((8 - torch.hypot(x[:, None], x)) / 2**0.5)
    u0 = torch.cat([phi.flatten(), torch.full((cells**2,), COLD, dtype=torch.float64)])
    return DynamicalSystem(rate, pattern=block_array([[around, here], [around, cross]])), u0


def tip(w: Tensor, cells: int, h: float) -> float:
    """Where phi = 0 on the lower side."""
    line = w[: cells**2].view(cells, cells)[:, 0].numpy()
    last = int(np.flatnonzero(line > 0)[-1])
    return float((last + 0.5 + line[last] / (line[last] - line[last + 1])) * h)


def grow(cells: int, h: float, t1: float, tolerance: float = 1e-3) -> tuple[Solution, dict[float, tuple[float, float]]]:
    """The run, and at some times the position of the tip and the area of the solid."""
    system, u0 = dendrite(cells, h)
    solution = solve_system(system, u0, t1, tolerance, stops=[t1 * k / 5 for k in range(1, 5)])
    told = {}
    for k in range(6):
        w = u0 if k == 0 else solution.end if k == 5 else solution(t1 * k / 5)
        told[t1 * k / 5] = tip(w, cells, h), float((w[: cells**2] + 1).sum() / 2 * h * h)
    return solution, told


def main(cells: int = 80, length: float = 100.0, t1: float = 100.0) -> None:
    """Prints the tip over time."""
    solution, told = grow(cells, length / cells, t1)
    print(f"3: {len(solution.steps)} steps on {cells} x {cells} cells of {length / cells:g}")
    print(*(f"  t = {t:<5g} tip at {position:.3f}, solid {solid:.1f}" for t, (position, solid) in told.items()), sep="\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
