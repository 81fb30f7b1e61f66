"""Solvers for c = Phi(c) on batches of fields: Anderson's acceleration, and GMRES for the linear systems of Newton's method.

Each member of a batch has its own inner products; the last `axes` axes of a tensor belong to one member.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ernest.device import HOST


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
        gram = gram + ridge[..., None, None] * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        weights = torch.linalg.solve(gram, dF @ residual.flatten(-self.axes)[..., None])
        step = (weights * (torch.stack(self._changes, -2) + dF)).sum(-2)
        return c + residual - step.unflatten(-1, c.shape[-self.axes :])


def gmres(
    product: Callable[[Tensor], Tensor], right: Tensor, axes: int, accuracy: float = 1e-3, limit: int = 40
) -> tuple[Tensor, int]:
    """x with |product(x) - right| <= accuracy |right| for every member, and the number of products that it took."""
    shape, flat = right.shape, right.flatten(-axes)
    norms = flat.norm(dim=-1)
    tiny = torch.finfo(right.dtype).tiny
    vectors = torch.zeros(*flat.shape[:-1], limit + 1, flat.shape[-1], dtype=flat.dtype, device=flat.device)
    vectors[..., 0, :] = flat / (norms + tiny)[..., None]
    hessenberg = torch.zeros(*flat.shape[:-1], limit + 1, limit, dtype=torch.float64, device=HOST)
    count = 0
    while True:
        new = product(vectors[..., count, :].reshape(shape)).flatten(-axes)
        known = vectors[..., : count + 1, :]
        for _ in range(2):  # once would lose the orthogonality of many vectors
            shares = (known @ new[..., None])[..., 0]
            new = new - (shares[..., None, :] @ known)[..., 0, :]
            hessenberg[..., : count + 1, count] += shares.double().cpu()
        length = new.norm(dim=-1)
        hessenberg[..., count + 1, count] = length.double().cpu()
        vectors[..., count + 1, :] = new / (length + tiny)[..., None]
        count += 1
        if count % 3 and count < min(limit, 6):
            continue
        weights, error = _least_squares(hessenberg[..., : count + 1, :count])
        # A member with nothing on its right side is done.
        if float((error * (norms > 0).double().cpu()).max()) <= accuracy or count == limit:
            combined = (weights.to(flat)[..., None, :] @ vectors[..., :count, :])[..., 0, :]
            return (norms[..., None] * combined).reshape(shape), count


def _least_squares(hessenberg: Tensor) -> tuple[Tensor, Tensor]:
    """The weights y `[..., m]` for which e_1 - H y is smallest, and its size `[...]`."""
    target = torch.zeros(*hessenberg.shape[:-1], 1, dtype=hessenberg.dtype, device=hessenberg.device)
    target[..., 0, :] = 1
    Q, R = torch.linalg.qr(hessenberg)
    ridge = torch.finfo(R.dtype).tiny * torch.eye(R.shape[-1], dtype=R.dtype, device=R.device)
    weights = torch.linalg.solve_triangular(R + ridge, Q.mT @ target, upper=True)
    return weights[..., 0], (hessenberg @ weights - target).norm(dim=-2)[..., 0]
