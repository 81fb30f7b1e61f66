"""Solvers for c = Phi(c) on batches of fields: Anderson's acceleration, and GMRES for the linear systems of Newton's method.

Each member of a batch has its own inner products; the last `axes` axes of a tensor belong to one member.
"""

from collections.abc import Callable

import torch
from torch import Tensor


class Anderson:
    """The next iterate from the last `depth` + 1 ones: their combination with the least residual, one step on."""

    def __init__(self, depth: int, axes: int) -> None:
        self.depth, self.axes = depth, axes
        self._last: tuple[Tensor, Tensor] | None = None
        self._changes: list[Tensor] = []
        self._residual_changes: list[Tensor] = []

    def next(self, c: Tensor, residual: Tensor) -> Tensor:
        """The iterate after c, whose residual is Phi(c) - c."""
        if self._last is not None:
            self._changes = [*self._changes, (c - self._last[0]).flatten(-self.axes)][-self.depth :]
            self._residual_changes = [*self._residual_changes, (residual - self._last[1]).flatten(-self.axes)][-self.depth :]
        self._last = c, residual
        if not self._changes:
            return c + residual
        dF = torch.stack(self._residual_changes, -2)
        gram = dF @ dF.mT
        # Nearly dependent differences make the Gram matrix singular to round-off.
        ridge = 1e-14 * gram.diagonal(dim1=-2, dim2=-1).sum(-1) + torch.finfo(c.dtype).tiny
        gram = gram + ridge[..., None, None] * torch.eye(gram.shape[-1]).to(gram)
        weights = torch.linalg.solve(gram, dF @ residual.flatten(-self.axes)[..., None])
        step = (weights * (torch.stack(self._changes, -2) + dF)).sum(-2)
        return c + residual - step.unflatten(-1, c.shape[-self.axes :])


def gmres(
    product: Callable[[Tensor], Tensor], right: Tensor, axes: int, accuracy: float = 1e-3, limit: int = 40
) -> tuple[Tensor, int]:
    """x with |product(x) - right| <= accuracy |right| for every member, and the number of products that it took."""
    norms = _inner(right, right, axes).sqrt()
    size = _spread(norms, axes)
    tiny = torch.finfo(right.dtype).tiny
    vectors, columns = [right / (size + tiny)], []
    while True:
        new, column = product(vectors[-1]), []
        for vector in vectors:
            column.append(_inner(new, vector, axes))
            new = new - _spread(column[-1], axes) * vector
        columns.append([*column, _inner(new, new, axes).sqrt()])
        vectors.append(new / (_spread(columns[-1][-1], axes) + tiny))
        hessenberg, target = _hessenberg(columns), torch.zeros(len(columns) + 1, 1).to(right)
        target[0] = 1
        weights = torch.linalg.pinv(hessenberg) @ target
        # A member with nothing on its right side is done.
        error = ((hessenberg @ weights - target).norm(dim=-2).squeeze(-1) * (norms > 0)).max().item()
        if error <= accuracy or len(columns) == limit:
            shares = (_spread(weight, axes) for weight in weights[..., 0].unbind(-1))
            parts = [share * vector for share, vector in zip(shares, vectors[:-1], strict=True)]
            return size * torch.stack(parts).sum(0), len(columns)


def _inner(x: Tensor, y: Tensor, axes: int) -> Tensor:
    """Inner products of the members, `[...]`."""
    return (x * y).sum(tuple(range(-axes, 0)))


def _spread(numbers: Tensor, axes: int) -> Tensor:
    """Numbers `[...]` of the members as factors of their fields."""
    return numbers.reshape(*numbers.shape, *[1] * axes)


def _hessenberg(columns: list[list[Tensor]]) -> Tensor:
    """The matrix `[..., m + 1, m]` of m columns, of which column j has j + 2 entries `[...]`."""
    m = len(columns)
    padded = [torch.stack([*column, *[torch.zeros_like(column[0])] * (m - 1 - j)], -1) for j, column in enumerate(columns)]
    return torch.stack(padded, -1)
