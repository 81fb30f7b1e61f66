"""Tables of the elements of compiled steppers, and the cache that keeps those of the step lengths that were used last."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
from torch import Tensor

from ernest.phasefield.compiled.transforms import Array
from ernest.phasefield.compiled.workspace import Workspace
from ernest.phasefield.timeelement import gauss, nodal_basis

LENGTHS_KEPT = 4
"""Number of step lengths whose tables are cached, on grids that are not large."""

Key = TypeVar("Key")
Value = TypeVar("Value")


def row_tables(
    workspace: Workspace,
    tau: float,
    degree: int,
    block: tuple[Array, Array] | None,
    nodes: Sequence[int],
    matrices: Sequence[Tensor] | None,
    width: int = 0,
) -> list[tuple[Array, Array]]:
    """The tables a `[...]`, W `[w, ...]` of some nodes (`degree`: the end) of an element, from the kernel `tabulate`.

    A matrix `[p, w]` takes the values of a node's window to those at the nodes, None if the rows are the nodes' own; it is
    filled up with zeros on the left to `width`. `block` are the stiffness and the mobility to use instead of the workspace's.
    """
    P, to_moments = nodal_basis(degree).numpy()[list(nodes)], gauss(degree)[1].numpy()
    values = [np.eye(degree) for _ in nodes] if matrices is None else [matrix.numpy() for matrix in matrices]
    width = max(width, *(value.shape[1] for value in values))
    padded = np.zeros((len(nodes), degree, width))
    for whole, value in zip(padded, values, strict=True):
        whole[:, width - value.shape[1] :] = value
    moments = to_moments @ padded
    stiffness, mobility = block or (workspace.stiffness, workspace.mobility)
    a, W = np.empty((len(nodes), *stiffness.shape)), np.empty((len(nodes), width, *stiffness.shape))
    workspace.kernels.tabulate(tau / 2, stiffness, mobility, P, moments, a, W)
    return [(a[i], W[i]) for i in range(len(nodes))]


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
