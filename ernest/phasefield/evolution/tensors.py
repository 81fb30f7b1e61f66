"""Gradient energies that are tensors: what kappa_ab, a /= b, adds to the energy, in the corners between the points.

    integral of kappa_ab du/da du/db,    both slopes on the faces of their own axis, carried to those of the other by the series.

Both axes are periodic: between walls a tensor turns the condition at the wall, which the series do not know. There the discrete
energy of a constant tensor is nowhere negative where the tensor is not, for no wave gets longer on its way to the corners.
"""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.evolution.coefficients import Coefficients


@dataclass(frozen=True)
class Cross:
    """kappa_ab of field `i`, a number or a function (u, x, t)."""

    i: int
    axes: tuple[int, int]
    kappa: Any


def diagonal_of(kappa: Any) -> Any:
    """What a gradient energy says of each axis by itself."""
    return tuple(row[a] for a, row in enumerate(kappa)) if is_tensor(kappa) else kappa


def is_tensor(kappa: Any) -> bool:
    """Whether a gradient energy is told by rows."""
    return isinstance(kappa, tuple) and any(isinstance(row, tuple) for row in kappa)


def crosses(kappas: tuple[Any, ...], at: Coefficients) -> list[Cross]:
    """All of them that are not zero. Raises ValueError for what is no tensor, or for walls."""
    found = []
    for i, kappa in enumerate(kappas):
        if not is_tensor(kappa):
            continue
        if len(kappa) != at.d or any(not isinstance(row, tuple) or len(row) != at.d for row in kappa):
            raise ValueError(f"kappa: expected a tensor of {at.d} rows of {at.d}, got {kappa!r}")
        numbers = all(isinstance(one, Real) for row in kappa for one in row)
        if numbers and np.linalg.eigvalsh(np.array(kappa)).min() < -1e-12 * np.abs(kappa).max():
            raise ValueError(f"kappa: expected a tensor that is nowhere negative, got {kappa!r}")
        for a in range(at.d):
            for b in range(a + 1, at.d):
                one = kappa[a][b]
                if one != kappa[b][a] or not (callable(one) or isinstance(one, Real)):
                    raise ValueError(f"kappa: expected a symmetric tensor, of numbers or functions (u, x, t), got {kappa!r}")
                if one == 0:
                    continue
                if any(at.grid.boundaries[axis] != "periodic" for axis in (a, b)):
                    raise ValueError(
                        f"kappa: a tensor between axes {a} and {b} needs both to be periodic, got {at.grid.boundaries}"
                    )
                found.append(Cross(i, (a, b), one))
    return found


def cross_energy(crosses: list[Cross], at: Coefficients, u: Tensor, t: Tensor) -> Tensor:
    """What they add to the energy of fields `[..., n, q, *points]`: `[..., q]`."""
    total = torch.zeros((), dtype=u.dtype, device=u.device)
    for one in crosses:
        a, b = one.axes
        v = u.select(at.axis, one.i)
        slopes = at.faces.middle(at.faces.slope(v, a), b) * at.faces.middle(at.faces.slope(v, b), a)
        kappa: Any = one.kappa
        if callable(kappa):
            lines = at.grid.lines(u.dtype, u.device)
            ends = [at.faces.axes[axis].positions if axis in one.axes else line for axis, line in enumerate(lines)]
            corners = at.faces.middle(at.faces.middle(u, a), b)
            kappa = kappa(at.fields_of(corners), tuple(torch.meshgrid(*ends, indexing="ij")), t)
        total = total + at.faces.integral(kappa * slopes)  # both axes are periodic: their weights are one
    return total


def cross_variation(crosses: list[Cross], at: Coefficients, u: Tensor, t: Tensor) -> Tensor:
    """The exact gradient of that, `[..., n, q, *points]`."""
    with torch.enable_grad():
        variable = u.detach().requires_grad_()
        return torch.autograd.grad(cross_energy(crosses, at, variable, t).sum(), variable)[0] / (at.grid.cell * at.faces.weights)
