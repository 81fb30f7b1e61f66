"""The peer of `solve`: ETD34, an exponential Runge-Kutta pair of orders 4 and 3 with the transforms and the control of `solve`.

It is ETD34 of P. Whalen, M. Brio and J. V. Moloney (Exponential time-differencing with embedded Runge-Kutta adaptive step
control, J. Comput. Phys. 280, 2015, 579-601). Its fourth-order method is ETDRK4-B of S. Krogstad (Generalized integrating factor
methods for stiff PDEs, J. Comput. Phys. 203, 2005, 72-88); the companion takes N at the end, which the next step needs anyway, in
place of N at the last stage, and so costs nothing:

    a = E v + tau/2 phi_1 N_v,   b = E v + tau/2 (phi_1 - 2 phi_2) N_v + tau phi_2 N_a,   with E, phi at z/2,
    c = E v + tau (phi_1 - 2 phi_2) N_v + 2 tau phi_2 N_b,   with E, phi at z = -tau Lambda, as all below,
    end = E v + tau (phi_1 - 3 phi_2 + 4 phi_3) N_v + tau (2 phi_2 - 4 phi_3) (N_a + N_b) + tau (4 phi_3 - phi_2) N_c,
    error = tau (4 phi_3 - phi_2) (N_c - N_end),   N standing for -G N(u).
"""

import math
import time

import numpy as np
from torch import Tensor

from benchmarks.phasefield.problems import Problem
from ernest.phasefield.compiled.tables import LRUCache
from ernest.phasefield.compiled.transforms import Array
from ernest.phasefield.compiled.workspace import Workspace, make_workspace
from ernest.phasefield.solver.controller import Adaptive
from ernest.phasefield.solver.initial_step import first_step, time_derivative, turnover
from ernest.phasefield.solver.units import Units

ORDER = 3
"""Of the error per unit of time that the pair estimates."""
NEAR, TERMS = 1.0, 20
"""Up to this |z| the functions are summed as series of so many terms."""


def functions(x: Array) -> tuple[Array, Array, Array, Array]:
    """exp, phi_1, phi_2 and phi_3 at z = -x, x >= 0: phi_k = sum of z^n / (n + k)!."""
    small, large = np.minimum(x, NEAR), np.maximum(x, NEAR)
    found, decayed = [np.exp(-x)], np.exp(-large)
    exact = decayed
    for k in (1, 2, 3):
        exact = (1 / math.factorial(k - 1) - exact) / large
        series = sum((-small) ** n / math.factorial(n + k) for n in range(TERMS))
        found.append(np.where(x <= NEAR, series, exact))
    return found[0], found[1], found[2], found[3]


class Etd34:
    """Steps of one flow on one grid, without a stabilisation, which would only cost accuracy."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._tables: LRUCache[float, list[tuple[Array, Array]]] = LRUCache(4)
        *self._rows, self._zero = workspace.rows(5)

    def tables(self, tau: float) -> list[tuple[Array, Array]]:
        """For a, b, c, the end and the error: the factor of v, and those of N_v, N_a, .. one after the other."""
        work = self.workspace
        drive, none = -tau * work.mobility, np.zeros_like(work.mobility)
        half, h1, h2, _ = functions(tau / 2 * work.stiffness)
        whole, f1, f2, f3 = functions(tau * work.stiffness)
        last = drive * (4 * f3 - f2)
        middle = drive * (2 * f2 - 4 * f3)
        return [
            (half, np.stack([drive / 2 * h1])),
            (half, np.stack([drive / 2 * (h1 - 2 * h2), drive * h2])),
            (whole, np.stack([drive * (f1 - 2 * f2), none, 2 * drive * f2])),
            (whole, np.stack([drive * (f1 - 3 * f2 + 4 * f3), middle, middle, last])),
            (none, np.stack([last, -last])),
        ]

    def step(self, v: Array, N: Array, tau: float) -> tuple[Array, Array, float]:
        """From v, whose explicit part is N: the end, its explicit part, and the error, a root of a mean square."""
        after, N_after, moved = self.ends(v, N, tau)
        return (
            after,
            N_after,
            self.workspace.rms(self.workspace.kernels.square_distance(moved, self._zero, self.workspace.grid.points[-1] // 2)),
        )

    def ends(self, v: Array, N: Array, tau: float) -> tuple[Array, Array, Array]:
        """The end, its explicit part, and by how much the end is ahead of the third-order one, in memory for the next step."""
        work, kernels = self.workspace, self.workspace.kernels
        a, b, c, end, error = self._tables.get(tau, lambda: self.tables(tau))
        Na, Nb, Nc, moved = self._rows
        known = [N]
        for stage, into in ((a, Na), (b, Nb), (c, Nc)):
            kernels.combine(*stage, work.fold, v, tuple(known), work.buffer)
            work.explicit(into)
            known.append(into)
        after, N_after = work.rows(1)[0], work.rows(1)[0]
        kernels.combine(*end, work.fold, v, tuple(known), after)
        work.buffer[...] = after
        work.explicit(N_after)
        kernels.combine(*error, work.fold, v, (Nc, N_after), moved)
        return after, N_after, moved


def solve_by_etd34(problem: Problem, tolerance: float, units: Units) -> tuple[Tensor, int, float]:
    """The field at the end, the steps that were tried, and the seconds of the processor, all but the plans charged."""
    workspace = make_workspace(problem.flow, problem.grid, 0.0, 1)
    if workspace is None:
        raise RuntimeError("the comparisons need numba and pyfftw: pip install 'ernest-ai[fast]'")
    begun = time.process_time()
    stepper, modes = Etd34(workspace), problem.grid.modes(problem.start)
    speed = time_derivative(problem.flow, problem.grid, modes, 0.0)
    lasts = turnover(problem.grid.norm(modes), problem.grid.norm(speed))
    first = min(tolerance ** (1 / (ORDER + 1)), 0.25) * first_step(lasts, 8 * problem.end, 1.0) / 2
    control, v, tried, now = (
        Adaptive(tolerance * units.speed, ORDER, min(first, problem.end)),
        workspace.modes(problem.start),
        0,
        0.0,
    )
    N = workspace.explicit_of(v)
    while now < problem.end * (1 - 1e-13):
        tau = control.propose(problem.end - now)
        end, N_end, moved = stepper.step(v, N, tau)
        tried += 1
        if control.accepts(moved / tau):
            now, v, N, control = now + tau, end, N_end, control.after_accepted(tau, moved / tau, 0.0)
        else:
            control = control.after_rejected(tau, moved / tau)
    return workspace.field_of(v), tried, time.process_time() - begun
