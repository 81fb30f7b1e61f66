"""Dynamical systems u_t = f(t, u) of any kind, and their Jacobians: dense, sparse, or known by products with vectors only.

The energetic element asks nothing of f but that it is smooth: no energy has to fall, and no part of f has to be linear. What
differs from system to system is how Newton's method gets at J = df/du, and that is told here.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.user_functions import ask, check_rows

if TYPE_CHECKING:
    from scipy.sparse import csc_array

MOST_DENSE = 1000
"""Unknowns up to which a system that says nothing of its Jacobian gets a dense one."""
MOST = 1e150
"""The greatest number whose square is one too."""
FEW = 512
"""Unknowns up to which a dense one costs less than GMRES with whatever preconditioner."""

Solver = Callable[[Tensor], Tensor]
"""From right-hand sides `[..., n]`, real or complex, to what solves them, or nearly."""


@dataclass(frozen=True)
class DynamicalSystem:
    """u_t = f(t, u) for n unknowns; any partial differential equation is one on its grid.

    `rate(t, u)` takes times `[..., 1]` and states `[..., n]` to `[..., n]`, in torch operations: the states at several times are
    one call. Newton's method needs df/du, from one of these:

    - `pattern`, a SciPy sparse matrix `[n, n]` that is zero where df/du always is. Columns without a common row are
      differentiated together, automatically, and (I - shift df/du) gets a sparse LU factorisation.
    - `jacobian(t, u)`, which takes a number and a state `[n]` to df/du itself, sparse or a tensor `[n, n]`.
    - `preconditioner(t, u, shift)`, which returns a function r -> x that nearly solves (I - shift df/du) x = r for a shift and
      r `[n]` that may be complex. No matrix is made then, beyond 512 unknowns: products with df/du are derivatives of `rate`,
      and GMRES solves.
    - nothing: up to 1,000 unknowns a dense matrix, beyond that no matrix and no preconditioner.

    An `invariant`, from states `[..., n]` to `[...]`, is measured at every step, as the energy of the records.
    """

    rate: Callable[[Tensor, Tensor], Tensor]
    pattern: Any = field(default=None, kw_only=True)
    jacobian: Callable[[float, Tensor], Any] | None = field(default=None, kw_only=True)
    preconditioner: Callable[[float, Tensor, complex], Solver] | None = field(default=None, kw_only=True)
    invariant: Callable[[Tensor], Tensor] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        given = [name for name in ("pattern", "jacobian", "preconditioner") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"system: expected one of pattern, jacobian and preconditioner, got {' and '.join(given)}")

    def check_state(self, u0: Tensor) -> None:
        """Raise ValueError unless u0 is a finite state `[n]` in double precision, and `rate` and `pattern` fit it."""
        if not isinstance(u0, Tensor):
            raise ValueError(f"u0: expected a tensor, got {type(u0).__name__}; torch.as_tensor makes one")
        if u0.ndim != 1 or not len(u0) or u0.dtype != torch.float64 or not bool(torch.isfinite(u0).all()):
            raise ValueError(f"u0: expected a finite float64 state [n], got {u0.dtype} {list(u0.shape)}")
        n = len(u0)
        many = 3 if n == 2 else 2  # not as many states as unknowns, so that no one takes one for the other
        value = ask("rate", self.rate, u0.new_zeros(many, 1), u0.expand(many, n))
        if not isinstance(value, Tensor) or value.shape != (many, n) or value.dtype != u0.dtype:
            got = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"rate: expected float64 [{many}, {n}] for the times [{many}, 1] and the states [{many}, {n}], "
                f"whose unknowns are u[..., 0], u[..., 1] and so on, got {got}"
            )
        beside = torch.cat([u0[None], 0.999 * u0.expand(many - 1, n)])
        others = self.rate(u0.new_zeros(many, 1), beside)
        check_rows("rate", value, others, value.shape, 0, "the last axis, u.mean(-1, keepdim=True)")
        if not bool(torch.isfinite(value).all()):
            raise ValueError("rate: expected finite values at u0, got some that are not")
        if self.pattern is not None and getattr(self.pattern, "shape", None) != (n, n):
            got = list(self.pattern.shape) if hasattr(self.pattern, "shape") else type(self.pattern).__name__
            raise ValueError(f"pattern: expected a sparse matrix {[n, n]} for this state, got {got}")
        if max(float(u0.abs().max()), float(value.abs().max())) > MOST:
            raise ValueError(f"u0: expected numbers up to {MOST:g}, in u and in its rate, whose squares a computer knows")
        if self.jacobian is None:
            self._check_derivative(u0)
        else:
            ask("jacobian", self.jacobian, 0.0, u0)
            if not math.isfinite(float(self.matrix(0.0, u0).sum())):
                raise ValueError("jacobian: expected finite values at u0, got some that are not")
        if self.invariant is not None:
            kept = ask("invariant", self.invariant, u0)
            if getattr(kept, "shape", None) != ():
                raise ValueError(f"invariant: expected a function from states [..., n] to [...], got {kept!r} for one state")

    def _check_derivative(self, u0: Tensor) -> None:
        """Raise ValueError where torch cannot differentiate `rate` by u, or finds that nothing of it depends on u which does."""
        wanted = "rate: expected torch operations on u all through, without numpy, detach() or no_grad; or give jacobian="
        try:
            with torch.enable_grad():
                known = self.rate(u0.new_zeros(1, 1), u0[None].clone().requires_grad_()).requires_grad
        except RuntimeError as error:  # numpy takes no tensor that is differentiated
            raise ValueError(f"{wanted} ({next(iter(str(error).splitlines()), '')})") from None
        if not known:
            at = u0.new_zeros(2, 1)
            one, other = self.rate(at, torch.stack([u0, 1.001 * u0 + 0.001]))
            if not torch.equal(one, other):
                raise ValueError(wanted)

    def is_matrix_free(self, n: int) -> bool:
        """Whether no matrix is made of df/du."""
        return self.pattern is None and self.jacobian is None and n > (MOST_DENSE if self.preconditioner is None else FEW)

    def products(self, time: float, u: Tensor, count: int) -> Solver:
        """The function that multiplies `count` real vectors `[count, n]` by df/du.

        Forward differentiation, as the derivative of the backward one: w -> w df/du is linear, and its own backward pass
        is v -> df/du v. The graph of both is kept, so that a product costs no evaluation of `rate`.
        """
        with torch.inference_mode(False), torch.enable_grad():
            at = u.detach().clone().repeat(count, 1).requires_grad_()
            value = self.rate(u.new_tensor([time]), at)
            if not value.requires_grad:
                return torch.zeros_like
            w = torch.zeros_like(value, requires_grad=True)
            backward = torch.autograd.grad((value * w).sum(), at, create_graph=True)[0]
            if not backward.requires_grad:  # a derivative that is zero everywhere, as that of a sign
                return torch.zeros_like

        def product(vectors: Tensor) -> Tensor:
            with torch.inference_mode(False), torch.enable_grad():
                return torch.autograd.grad((backward * vectors).sum(), w, retain_graph=True, materialize_grads=True)[0]

        return product

    def matrix(self, time: float, u: Tensor) -> "Tensor | csc_array":
        """df/du `[n, n]`: a SciPy sparse matrix, or a tensor where nothing is known of it."""
        n = len(u)
        if self.jacobian is not None:
            given = self.jacobian(time, u)
            if getattr(given, "shape", None) != (n, n):
                got = list(given.shape) if hasattr(given, "shape") else type(given).__name__
                raise ValueError(f"jacobian: expected a matrix {[n, n]}, got {got}")
            return given
        if self.pattern is None:
            return self.products(time, u, n)(torch.eye(n, dtype=u.dtype, device=u.device)).T
        return self._groups.matrix(lambda seeds: self.products(time, u, len(seeds))(torch.from_numpy(seeds)).numpy())

    @cached_property
    def _groups(self) -> "Groups":
        return group_columns(self.pattern)


@dataclass(frozen=True)
class Groups:
    """Groups of the columns of a sparse matrix `[n, n]` that have no row in common, by number, and its entries."""

    group: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    def matrix(self, products: Callable[[np.ndarray], np.ndarray]) -> "csc_array":
        """The matrix, from its products with the sums of the unit vectors of each group, `[groups, n]`."""
        from scipy.sparse import csc_array

        n, count = len(self.group), int(self.group.max()) + 1
        seeds = np.zeros((count, n))
        seeds[self.group, np.arange(n)] = 1
        values = products(seeds)[self.group[self.columns], self.rows]
        return csc_array((values, (self.rows, self.columns)), shape=(n, n))


def group_columns(pattern: Any) -> Groups:
    """Columns that share a row get different groups, each the first that is free."""
    from scipy.sparse import coo_array, csr_array

    entries = coo_array(pattern)
    ones, n = np.ones(entries.nnz, dtype=np.int32), entries.shape[0]  # pyright: ignore[reportOptionalSubscript]
    plain = csr_array((ones, (entries.row, entries.col)), shape=(n, n))
    entries = coo_array(plain)  # each once
    beside = csr_array(plain.T @ plain)
    group = [-1] * n
    for column in range(n):
        taken = {group[other] for other in beside.indices[beside.indptr[column] : beside.indptr[column + 1]].tolist()}
        group[column] = next(number for number in range(len(taken) + 1) if number not in taken)
    return Groups(np.array(group), entries.row, entries.col)
