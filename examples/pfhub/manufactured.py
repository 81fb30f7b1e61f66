"""PFHub's benchmark 7 (a), a manufactured solution of Allen-Cahn.  `python examples/pfhub/manufactured.py [points ...]`

On [0, 1] x [0, 1/2], periodic in x, with eta = 1 at y = 0 and eta = 0 at y = 1/2, until t = 8,

    eta_t = kappa Laplace(eta) - 4 eta (eta - 1) (eta - 1/2) + source(x, y, t),

where the source makes eta = (1 - tanh((y - alpha(x, t)) / sqrt(2 kappa))) / 2 the solution, an interface that moves as
alpha = 1/4 + A1 t sin(B1 x) + A2 sin(B2 x + C2 t). What is reported is the L2 norm of the error at the end, part (a) of
https://pages.nist.gov/pfhub/benchmarks/benchmark7.ipynb; parts (b) and (c) have a smaller kappa and a larger C2.

We march v = eta - (1 - 2y), which is 0 at both ends, in Fourier times sine modes. The solution of the problem as it is posed
differs from eta by 1.8e-7, because eta misses its boundary values by up to 1e-5 when the interface swings near the walls.
"""

import math
import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.phasefield import GaussSeidel, GradientFlow, Grid, Potential, Scheme, march

END = 8.0


@dataclass(frozen=True)
class MovingInterface:
    """The manufactured solution with the parameters of part (a)."""

    kappa: float = 0.0004
    A1: float = 0.0075
    B1: float = 8 * math.pi
    A2: float = 0.03
    B2: float = 22 * math.pi
    C2: float = 0.0625 * math.pi

    def solution(self, time: float | Tensor, coordinates: tuple[Tensor, ...]) -> Tensor:
        x, y = coordinates
        alpha = 0.25 + self.A1 * time * torch.sin(self.B1 * x) + self.A2 * torch.sin(self.B2 * x + self.C2 * time)
        return (1 - torch.tanh((y - alpha) / math.sqrt(2 * self.kappa))) / 2

    def source(self, time: Tensor, coordinates: tuple[Tensor, ...]) -> Tensor:
        """eta_t - kappa Laplace(eta) + f(eta), in which f(eta) and the part of the Laplacian across the interface cancel.

        With T = tanh and eta_alpha = (1 - T^2) / sqrt(8 kappa), the derivative by alpha, what is left is
        eta_alpha (alpha_t - kappa alpha_xx - sqrt(2 kappa) T alpha_x^2).
        """
        x, _ = coordinates
        T = 1 - 2 * self.solution(time, coordinates)
        slow, fast = self.B1 * x, self.B2 * x + self.C2 * time
        by_t = self.A1 * torch.sin(slow) + self.A2 * self.C2 * torch.cos(fast)
        by_x = self.A1 * self.B1 * time * torch.cos(slow) + self.A2 * self.B2 * torch.cos(fast)
        by_xx = -self.A1 * self.B1**2 * time * torch.sin(slow) - self.A2 * self.B2**2 * torch.sin(fast)
        width = math.sqrt(2 * self.kappa)
        return (1 - T * T) / (2 * width) * (by_t - self.kappa * by_xx - width * T * by_x**2)


@dataclass(frozen=True)
class LiftedWell(Potential):
    """F = eta^2 (1 - eta)^2 of eta = v + lift, with the lift `[*points]` that carries the boundary values."""

    lift: Tensor

    def F(self, u: Tensor) -> Tensor:
        eta = u + self.lift
        return (eta * (1 - eta)) ** 2

    def f(self, u: Tensor) -> Tensor:
        eta = u + self.lift
        return 4 * eta * (eta - 1) * (eta - 0.5)

    def df(self, u: Tensor) -> Tensor:
        eta = u + self.lift
        return 12 * eta * (eta - 1) + 2

    @property
    def degree(self) -> int:
        return 4

    @property
    def slopes(self) -> tuple[float, float]:
        return -1.0, 2.0


def error(points: int, steps: int, scheme: Scheme, problem: MovingInterface = MovingInterface()) -> float:
    """L2 norm of the error at the end, with spacing 1 / points in both directions."""
    grid = Grid((points, points // 2 - 1), (1.0, 0.5), ("periodic", "dirichlet"))
    coordinates = grid.coordinates()
    lift = 1 - 2 * coordinates[1]
    flow = GradientFlow(torch.ones_like, lambda k2: problem.kappa * k2, LiftedWell(lift), forcing=problem.source)
    start = problem.solution(0.0, coordinates) - lift
    *_, last = march(flow, grid, start, [END / steps] * steps, scheme)
    return float(grid.integral((last.end + lift - problem.solution(END, coordinates)).square()).sqrt())


def main(*points: int) -> None:
    """Prints the errors of grids with so many points to a length of 1."""
    for n in points or (64, 96, 128, 192):
        print(f"7a: 1/{n}, 32 steps: L2 error {error(n, 32, GaussSeidel(3, 4, 2)):.2e}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
