"""Tables of the elements of compiled steppers, and the cache that keeps those of the step lengths that were used last."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from typing import Generic, TypeVar

import numpy as np

from ernest.phasefield.compiled.transforms import Array
from ernest.phasefield.compiled.workspace import Workspace
from ernest.phasefield.timeelement import coupling, gauss, nodal_basis

LENGTHS_KEPT = 4
"""Number of step lengths whose tables are cached, on grids that are not large."""

Key = TypeVar("Key")
Value = TypeVar("Value")


Block = tuple[Array, Array]
"""Stiffness and mobility of the modes that tables are for."""


class NodeByNode(dict[int, Value]):
    """Tables by node, made anew whenever one is asked for: of large grids a table takes fields, and less time than its use."""

    def __init__(self, make: Callable[[int], Value]) -> None:
        self._make = make

    def __missing__(self, node: int) -> Value:
        return self._make(node)


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
    matrices: Sequence[Array] | None,
    width: int = 0,
) -> dict[int, tuple[Array, Array]]:
    """The tables a `[...]`, W `[w, ...]` of some nodes (`degree`: the end) of an element, from the kernel `tabulate`.

    A matrix `[p, w]` takes the values of a node's window to those at the nodes, None if the rows are the nodes' own; it is
    filled up with zeros on the left to `width`. `block` are the symbols to use instead of the workspace's.
    """
    nodes = list(nodes)
    of_a, of_W = (numbers[nodes] for numbers in numerators(degree)[1:])
    widths = [degree] * len(nodes)
    if matrices is not None:
        of_W, widths = of_W @ _filled_up(matrices, width), [max(width, matrix.shape[1]) for matrix in matrices]

    def made(first: int, last: int) -> list[tuple[Array, Array]]:
        a, W = _tabulate(workspace, tau, degree, block, of_a[first:last], of_W[first:last])
        return [(a[i], W[i, W.shape[1] - own :]) for i, own in enumerate(widths[first:last])]

    if workspace.is_large:
        return NodeByNode(lambda node: made(nodes.index(node), nodes.index(node) + 1)[0])
    return dict(zip(nodes, made(0, len(nodes)), strict=True))


def window_tables(
    workspace: Workspace, tau: float, degree: int, block: Block | None, matrices: Sequence[Array], width: int
) -> dict[int, Array]:
    """The W `[w, ...]` alone, of all Gauss points."""
    of_W, of_a = numerators(degree)[2][:degree] @ _filled_up(matrices, width), np.empty((0, degree + 1))
    if workspace.is_large:
        return NodeByNode(lambda node: _tabulate(workspace, tau, degree, block, of_a, of_W[node : node + 1])[1][0])
    return dict(enumerate(_tabulate(workspace, tau, degree, block, of_a, of_W)[1]))


def _filled_up(matrices: Sequence[Array], width: int) -> Array:
    """All matrices as one array `[nodes, p, w]`, with zeros on the left where they have fewer columns than others or `width`."""
    width = max(width, *(matrix.shape[1] for matrix in matrices))
    filled = np.zeros((len(matrices), len(matrices[0]), width))
    for whole, matrix in zip(filled, matrices, strict=True):
        whole[:, width - matrix.shape[1] :] = matrix
    return filled


def _tabulate(
    workspace: Workspace, tau: float, degree: int, block: Block | None, of_a: Array, of_W: Array
) -> tuple[Array, Array]:
    """a `[nodes, ...]` and W `[nodes, w, ...]` from the coefficients of their numerators, `of_W` `[nodes, powers, w]`."""
    stiffness, mobility = block or (workspace.stiffness, workspace.mobility)
    nodes, _, width = of_W.shape
    a, W = np.empty((len(of_a), stiffness.size)), np.empty((nodes, width, stiffness.size))
    of_W = np.ascontiguousarray(of_W.transpose(0, 2, 1))
    workspace.kernels.tabulate(tau / 2, stiffness.reshape(-1), mobility.reshape(-1), numerators(degree)[0], of_a, of_W, a, W)
    return a.reshape(-1, *stiffness.shape), W.reshape(nodes, width, *stiffness.shape)


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
