"""Tables of the elements of compiled steppers, and the cache that keeps those of the step lengths that were used last."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.compiled.transforms import Array
from ernest.phasefield.compiled.workspace import Workspace
from ernest.phasefield.timeelement import coupling, gauss, nodal_basis

LENGTHS_KEPT = 4
"""Number of step lengths whose tables are cached, on grids that are not large."""

Key = TypeVar("Key")
Value = TypeVar("Value")


Block = tuple[Array, Array]
"""Stiffness and mobility of the modes that tables are for."""


@cache
def numerators(degree: int) -> tuple[tuple[float, ...], Array, Array]:
    """The table of an element, u_i = a_i u_start + drive sum of V_ij N_j, as rational functions of z, each by the coefficients of
    its powers, constant first: the common denominator det(I + z A), which is Pade's, and the numerators of a `[p + 1, p + 1]` and
    of V `[p + 1, powers, p]`, at the Gauss points and the end.

    By Faddeev and LeVerrier det(I + z A) = sum of e_m z^m, and it times the inverse of I + z A is the sum of z^m B_m, with
    B_0 = I, e_m = tr(A B_{m-1}) / m and B_m = e_m I - A B_{m-1}: here in fractions, since the last e_m are small differences.
    """
    fractions = np.vectorize(lambda entry: Fraction(entry).limit_denominator(2 * degree), otypes=[object])
    A, unit = fractions(coupling(degree).numpy()), fractions(np.eye(degree))
    e, B = [Fraction(1)], [unit]
    for m in range(1, degree + 1):
        product = A @ B[-1]
        e.append(product.trace() / m)
        B.append(e[-1] * unit - product)
    pade, P = np.array(e, dtype=float), nodal_basis(degree).numpy()
    rows = np.einsum("ik,mkj->imj", P, np.array(B[:degree], dtype=float))
    of_a = np.tile(pade, (degree + 1, 1))
    of_a[:, 1:] -= rows[:, :, 0]
    return tuple(pade.tolist()), of_a, -rows @ gauss(degree)[1].numpy()


def row_tables(
    workspace: Workspace,
    tau: float,
    degree: int,
    block: Block | None,
    nodes: Sequence[int],
    matrices: Sequence[Tensor] | None,
    width: int = 0,
) -> list[tuple[Array, Array]]:
    """The tables a `[...]`, W `[w, ...]` of some nodes (`degree`: the end) of an element, from the kernel `tabulate`.

    A matrix `[p, w]` takes the values of a node's window to those at the nodes, None if the rows are the nodes' own; it is
    filled up with zeros on the left to `width`. `block` are the symbols to use instead of the workspace's.
    """
    of_a = numerators(degree)[1][list(nodes)]
    matrices = matrices or [torch.eye(degree, dtype=torch.float64, device=HOST)] * len(nodes)
    a, W = _tabulate(workspace, tau, degree, block, nodes, matrices, width, of_a)
    return [(one, rows[-max(width, len(m.T)) :]) for one, rows, m in zip(a, W, matrices, strict=True)]


def window_tables(
    workspace: Workspace, tau: float, degree: int, block: Block | None, matrices: Sequence[Tensor], width: int
) -> list[Array]:
    """The W `[w, ...]` alone, of all Gauss points."""
    return list(_tabulate(workspace, tau, degree, block, range(degree), matrices, width, np.empty((0, degree + 1)))[1])


def _tabulate(
    workspace: Workspace,
    tau: float,
    degree: int,
    block: Block | None,
    nodes: Sequence[int],
    matrices: Sequence[Tensor],
    width: int,
    of_a: Array,
) -> tuple[Array, Array]:
    width = max(width, *(matrix.shape[1] for matrix in matrices))
    padded = np.zeros((len(nodes), degree, width))
    for whole, matrix in zip(padded, matrices, strict=True):
        whole[:, width - matrix.shape[1] :] = matrix.numpy()
    pade, _, of_V = numerators(degree)
    of_W = np.ascontiguousarray((of_V[list(nodes)] @ padded).transpose(0, 2, 1))
    stiffness, mobility = block or (workspace.stiffness, workspace.mobility)
    a, W = np.empty((len(of_a), stiffness.size)), np.empty((len(nodes), width, stiffness.size))
    workspace.kernels.tabulate(tau / 2, stiffness.reshape(-1), mobility.reshape(-1), pade, of_a, of_W, a, W)
    return a.reshape(-1, *stiffness.shape), W.reshape(len(nodes), width, *stiffness.shape)


class LRUCache(Generic[Key, Value]):
    """The `most` values that were used last, by key, such as the tables of a step length."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[Key, Value] = {}

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of the key, computed by `make` if it is missing."""
        if key not in self._kept:
            while len(self._kept) >= self._most:  # before a new one takes memory
                del self._kept[next(iter(self._kept))]
        value = self._kept.pop(key) if key in self._kept else make()
        self._kept[key] = value
        return value


def lengths_kept(workspace: Workspace, more: int = 0) -> int:
    """Number of step lengths whose tables are cached; on large grids, where they take fields and little time, it is one."""
    return 1 if workspace.is_large else LENGTHS_KEPT + more


def last_rows(rows: Sequence[Array], count: int) -> tuple[Array, ...]:
    """The last `count` rows; where there are fewer the first stands in for the missing, whose weights are zero."""
    return (*(rows[0],) * (count - len(rows)), *rows[-count:])
