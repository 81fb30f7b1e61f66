"""Marching a gradient flow element by element with the semi-implicit linear scheme (arXiv 2406.16287).

The stiff part Lambda = G (L + S) is implicit; the rest, N(u) = f(u) - S u, is taken at an extrapolation of the
last element's polynomial and, if wanted, corrected by Picard sweeps. Each sweep solves, for every spatial mode,

    (I + z A) c = -(z u_start e_1 + tau/2 G n),   z = tau/2 Lambda,   n = Legendre moments of N at the Gauss points.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.phasefield.energies import Flow
from ernest.phasefield.grid import PeriodicGrid
from ernest.phasefield.timeelement import Factors, basis, factorise, gauss, solve


@dataclass(frozen=True)
class Scheme:
    """Degree p of the element, `sweeps` K of Picard after the first linear solve, and the stabilisation S.

    The order at the ends of the elements is min(2p, p + 1 + K). A step costs 2p (K + 1) real FFTs. For the double
    well, S = s allows the longest steps in which the energy still falls; S = s/2 converges fastest in many sweeps.
    Without a sweep Cahn-Hilliard takes tiny steps only: give it one.
    """

    degree: int = 3
    sweeps: int = 0
    stabilisation: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.degree <= 8:
            raise ValueError(f"scheme degree: expected 1 to 8, got {self.degree}")
        if self.sweeps < 0:
            raise ValueError(f"scheme sweeps: expected 0 or more, got {self.sweeps}")


@dataclass(frozen=True)
class Element:
    """The solution on one element of length `tau`, `[]` or `[batch]`.

    It is the polynomial with value `start` `[batch, n, n]` and `coefficients` `[batch, p, n, n]` of psi_1 .. psi_p.
    """

    start: Tensor
    coefficients: Tensor
    tau: Tensor

    @property
    def end(self) -> Tensor:
        """The field at the end, `[batch, n, n]`."""
        return self.start + 2 * self.coefficients[:, 0]

    def at(self, xi: Tensor) -> Tensor:
        """The fields at local times `xi`, `[q]` or `[batch, q]`: `[batch, q, n, n]`. Beyond xi = 1 it extrapolates."""
        return self.start[:, None] + _combine(basis(self.coefficients.shape[1], xi), self.coefficients)


def march(
    flow: Flow, grid: PeriodicGrid, start: Tensor, steps: Iterable[float | Tensor], scheme: Scheme = Scheme()
) -> Iterator[Element]:
    """One `Element` after the other, from the fields `start` `[batch, n, n]`, in their precision and on their device.

    `steps` holds the lengths of the elements: each a number, or a tensor `[batch]` with one length per field.
    Mass that the flow conserves is kept to round-off; the energy falls as long as the steps are not too long.
    Raises ValueError for fields that do not fit the grid and for lengths that are not positive.
    """
    if start.ndim != 3 or start.shape[1:] != (grid.points, grid.points):
        raise ValueError(f"start: expected [batch, {grid.points}, {grid.points}], got {list(start.shape)}")
    p, S = scheme.degree, scheme.stabilisation
    k2 = grid.squared_wavenumbers(start.dtype, start.device)
    modes = grid.modes(start)
    # Symbols are complex like the modes: a product of mixed types would convert them every time.
    mobility = flow.mobility(k2).to(modes.dtype)
    stiffness = mobility * (flow.energy.L(k2) + S)
    points, to_moments = (tensor.to(start) for tensor in gauss(p))

    def sweep(nodes: Tensor, start: Tensor, modes: Tensor, tau: Tensor, factors: Factors) -> tuple[Element, Tensor]:
        """The element, and its coefficients' modes, with N taken at the fields `nodes` of the Gauss points."""
        explicit = grid.modes(_combine(to_moments, torch.sub(flow.energy.f(nodes), nodes, alpha=S)))
        right = _right_hand_side(factors, tau[..., None, None] / 2 * mobility, modes, explicit)
        coefficients = solve(factors, right, axis=1)
        return Element(start, grid.field(coefficients), tau), coefficients

    element, factors = None, None
    for step in steps:
        tau = _lengths(step, start)
        if factors is None or element is None or not torch.equal(tau, element.tau):
            factors = factorise(tau[..., None, None] / 2 * stiffness, p)
        if element is None:
            # Without a past the prediction is a constant; sweeps make up for the order that it lacks.
            nodes, sweeps = start[:, None].expand(-1, p, -1, -1), max(2 * p + 1, scheme.sweeps)
        else:
            # The last polynomial, continued to the Gauss points of this element in its own local time.
            nodes, sweeps = element.at(1 + (tau / element.tau)[..., None] * (points + 1)), scheme.sweeps
            start = element.end
        element, coefficients = sweep(nodes, start, modes, tau, factors)
        for _ in range(sweeps):
            element, coefficients = sweep(element.at(points), start, modes, tau, factors)
        modes = modes + 2 * coefficients[:, 0]
        yield element


def _lengths(step: float | Tensor, fields: Tensor) -> Tensor:
    """Element lengths as a tensor `[]` or `[batch]`."""
    tau = torch.as_tensor(step, dtype=fields.dtype, device=fields.device)
    if tau.shape not in ((), fields.shape[:1]) or not bool((tau > 0).all()):
        raise ValueError(f"steps: expected positive lengths, one or {len(fields)} of them, got {step}")
    return tau


def _combine(matrix: Tensor, fields: Tensor) -> Tensor:
    """Linear combinations `[batch, q, n, n]` of fields `[batch, p, n, n]` by a matrix `[q, p]` or `[batch, q, p]`."""
    return (matrix @ fields.flatten(2)).unflatten(2, fields.shape[2:])


def _right_hand_side(factors: Factors, drive: Tensor, modes: Tensor, explicit: Tensor) -> Tensor:
    """-(z u_start e_1 + drive n), `[batch, p, n, n // 2 + 1]`, with drive = tau/2 G."""
    right = -drive.unsqueeze(-3) * explicit
    right[:, 0] -= factors.z * modes
    return right
