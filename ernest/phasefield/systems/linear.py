"""Solves the linear systems of an element, (I - tau/2 A x J) c = r, time made diagonal: one shifted system for each eigenvalue.

With A = V diag(theta) V^{-1} the p coupled systems part into (I - tau/2 theta_j J) y_j = (V^{-1} r)_j (see `sparse.py`): of each
complex pair one is solved, which stands for both. J is frozen, a sparse or dense matrix that is factorised, or a product.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.schemes.iterations import gmres
from ernest.phasefield.systems.system import DynamicalSystem, Solver
from ernest.phasefield.timeelement import diagonalise

if TYPE_CHECKING:
    from scipy.sparse import csc_array

ACCURACY, MOST_PRODUCTS = 1e-2, 60
"""Of GMRES, beside the size of its right-hand side; Newton's next iteration mends the rest."""


@dataclass(frozen=True)
class Shift:
    """One eigenvalue theta of A: the solver of I - tau/2 theta J, its vectors, and 2 where it stands for a complex pair."""

    theta: complex
    column: Tensor
    row: Tensor
    multiplicity: int
    solve: Solver


@dataclass(frozen=True)
class TimeSolver:
    """The solver of the coupled systems of an element with the length tau."""

    tau: float
    shifts: tuple[Shift, ...]

    def solve(self, right: Tensor) -> Tensor:
        """c `[p, n]` with (I - tau/2 A x J) c = r `[p, n]`."""
        total = torch.zeros_like(right)
        for one in self.shifts:
            part = one.solve((one.row.to(right.device) @ right.to(one.row.dtype))[None])[0]
            if one.multiplicity == 1:
                total += torch.outer(one.column.to(right.device), part)
            else:
                total += 2 * torch.outer(one.column.to(right.device), part).real
        return total

    def filtered(self, right: Tensor) -> Tensor:
        """(1 - theta z)^{-1} of vectors `[m, n]`, with z = tau/2 J and one theta: what a stiff part of them comes to."""
        return self.shifts[0].solve(right.to(self.shifts[0].row.dtype))

    def chain(self, value: Tensor, powers: int) -> Tensor:
        """z^powers / product of (1 - theta_j z), over all p of them, of vectors `[m, n]`; `powers` is at most p."""
        factors = [(one, conjugate) for one in self.shifts for conjugate in range(one.multiplicity)]
        for number, (one, conjugate) in enumerate(factors):
            value = value.to(torch.complex128) if one.multiplicity == 2 else value
            theta = one.theta.conjugate() if conjugate else one.theta
            solved = _apply(one, value.conj().resolve_conj()).conj() if conjugate else _apply(one, value)
            # z / (1 - theta z) = ((1 - theta z)^{-1} - 1) / theta, without a product with J.
            value = (solved - value) / theta if number < powers else solved
        return value


def _apply(one: Shift, value: Tensor) -> Tensor:
    if value.is_complex() and one.multiplicity == 1:
        return torch.complex(one.solve(value.real), one.solve(value.imag))
    return one.solve(value)


@dataclass(frozen=True)
class Linearisation:
    """df/du at a time and a state `[n]`; `matrix` is None where no matrix is made."""

    system: DynamicalSystem
    time: float
    u: Tensor
    matrix: "Tensor | csc_array | None"

    def time_solver(self, tau: float, degree: int, damped: bool) -> TimeSolver:
        """Factorises, or prepares GMRES, for elements of a length and degree."""
        shifts = []
        for value, column, row, multiplicity in diagonalise(degree, damped).shifts:
            theta = value if multiplicity == 2 else value.real
            if multiplicity == 1:
                column, row = column.real, row.real
            shifts.append(Shift(theta, column, row, multiplicity, self._shifted(tau / 2 * theta)))
        return TimeSolver(tau, tuple(shifts))

    def _shifted(self, shift: complex) -> Solver:
        if self.matrix is None:
            return self._krylov(shift)
        return _dense(self.matrix, shift) if isinstance(self.matrix, Tensor) else _sparse(self.matrix, shift)

    def _krylov(self, shift: complex) -> Solver:
        """GMRES on (I - shift J) M^{-1}, M the preconditioner; complex numbers are pairs of real ones to it."""
        near: Solver = lambda r: r
        if self.system.preconditioner is not None:
            near = self.system.preconditioner(self.time, self.u, shift)
        pairs = isinstance(shift, complex)
        products = self.system.products(self.time, self.u, 1 + pairs)

        def product(w: Tensor) -> Tensor:
            x = near(torch.view_as_complex(w) if pairs else w)
            parts = torch.stack([x.real, x.imag]) if pairs else x[None]
            moved = products(parts)
            value = x - shift * (torch.complex(*moved) if pairs else moved[0])
            return torch.view_as_real(value) if pairs else value

        def solve_one(r: Tensor) -> Tensor:
            flat = torch.view_as_real(r.resolve_conj()).contiguous() if pairs else r
            w, _ = gmres(product, flat, 1 + pairs, ACCURACY, MOST_PRODUCTS)
            return near(torch.view_as_complex(w.contiguous()) if pairs else w)

        return lambda right: torch.stack([solve_one(r) for r in right])


def linearise(system: DynamicalSystem, time: float, u: Tensor) -> Linearisation:
    """df/du at this time and state."""
    return Linearisation(system, time, u, None if system.is_matrix_free(len(u)) else system.matrix(time, u))


def _dense(J: Tensor, shift: complex) -> Solver:
    kind = torch.complex128 if isinstance(shift, complex) else torch.float64
    eye = torch.eye(len(J), dtype=kind, device=J.device)
    LU, pivots = torch.linalg.lu_factor(eye - shift * J.to(kind))
    return lambda right: torch.linalg.lu_solve(LU, pivots, right.to(kind).mT).mT


def _sparse(J: Any, shift: complex) -> Solver:
    from scipy.sparse import csc_array, eye_array
    from scipy.sparse.linalg import splu

    matrix = csc_array(eye_array(J.shape[0], format="csc") - shift * csc_array(J))
    # Ordering and pivots of a matrix whose entries lie in pairs, as those of differences on a grid do: a third of the fill.
    lu = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.01, options={"SymmetricMode": True})
    kind = np.complex128 if isinstance(shift, complex) else np.float64

    def solve(right: Tensor) -> Tensor:
        columns = np.ascontiguousarray(right.resolve_conj().numpy().astype(kind, copy=False).T)
        return torch.from_numpy(np.ascontiguousarray(lu.solve(columns).T))

    return solve
