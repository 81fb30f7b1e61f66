"""Judges damped elements: the error of one, and whether a field is so stable that a step of some length can overlook nothing.

The polynomial of a damped element has the residual rho (L_p - L_{p-1}), rho = +- r(-1) / 2 with r(-1) its residual at the start
of the element, where it is easily taken. The linear part, with f' between its least and its greatest value, carries it to
the end of the element as tau rho K(z),

    K(z) = 1/2 integral of exp(-z (1 - xi)) (L_p - L_{p-1})(xi) dxi,   z = tau/2 G (L + f').

K rises like z^{p-1}, and falls like p / (2 z^2) beyond its peak. For the error its greatest value up to the largest z is taken,
or, for waves that are stiff whatever f' is, the tail at the smallest z.

Near rest all these are small, however long the step. But rest may be a saddle, where a mode that grows like exp(sigma t) is
still too small to be seen: a step beyond 1 / sigma would pass it by. So steps become long only where

    L + f'(u) + G^{-1} / tau >= 0,

on which Lanczos' method decides from the least eigenvalue.
"""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.element import Element
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.potentials import slope_inside
from ernest.phasefield.solver.error_estimate import end_integral
from ernest.phasefield.solver.initial_step import time_derivative
from ernest.phasefield.timeelement import combine, gauss, lagrange

MOST_LANCZOS = 60


@cache
def damped_weights(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """|K| on a line of z: log z, and the greatest |K| up to there."""
    z = np.logspace(-6, 8, 561)
    difference = np.polynomial.Legendre([*[0.0] * (degree - 1), -1.0, 1.0])
    xi, weights = np.polynomial.legendre.leggauss(64)
    x, decays = np.polynomial.laguerre.laggauss(2 * degree + 4)
    near = 0.5 * (np.exp(-np.minimum(z, 40)[:, None] * (1 - xi)) * difference(xi)) @ weights
    far = 0.5 / z * (difference(1 - x / z[:, None]) @ decays)  # but for exp(-2z)
    return np.log(z), np.maximum.accumulate(np.abs(np.where(z < 40, near, far)))


def damped_error_rate(element: Element, flow: Flow) -> float:
    """The error per unit time of a damped element: root of the mean square, the greatest of a batch."""
    grid, p, tau, d = element.grid, element.degree, float(element.tau), element.grid.dimensions
    k2 = grid.squared_wavenumbers(element.start_modes.real.dtype, element.start_modes.device)
    signs = (-1.0) ** torch.arange(p, dtype=k2.dtype, device=k2.device).reshape(p, *[1] * d)
    inside = float(element.time) + 8 * math.ulp(float(element.time) + tau)  # after a jump of the forcing at the start
    residual = 2 / tau * (signs * element.coefficients).sum(-1 - d) - time_derivative(flow, grid, element.start_modes, inside)
    slopes = flow.potential.df(element.start)
    mobility, linear = flow.mobility(k2), flow.linear(k2)
    largest = tau / 2 * mobility * (linear + float(slopes.abs().max()))
    least = tau / 2 * mobility * (linear + float(slopes.min())).clamp(min=0)
    logs, weights = damped_weights(p)
    envelope = torch.from_numpy(np.interp(np.log(largest.double().clamp(min=1e-300).cpu().numpy()), logs, weights)).to(k2)
    tail = p / (2 * least.clamp(min=1e-3) ** 2)
    return float(grid.norm(residual / 2 * torch.minimum(envelope, tail)).max())


def exponential_error_rate(element: Element, flow: Flow, stabilisation: float, span: float) -> float:
    """The error per unit time of an exponential element, whose polynomial is of degree p + 1 through its p nodes and the end.

    The linear part is exact, and N is known as a polynomial through the Gauss points. What it lacks is about L_p times by how
    much it misses N at the end, and that the linear part carries to the end. Errors add up over a time `span`.
    """
    grid, p, tau, d = element.grid, element.degree - 1, float(element.tau), element.grid.dimensions
    points = gauss(p)[0].to(element.start_modes.real)
    k2 = grid.squared_wavenumbers(points.dtype, points.device)
    mobility = flow.mobility(k2)
    z = tau / 2 * mobility * (flow.linear(k2) + stabilisation)
    fields = element.at(torch.cat([points, torch.ones_like(points[:1])]))
    values = slope_inside(flow.potential, fields) - stabilisation * fields
    known, end = values.split([p, 1], -1 - d)
    ahead = combine(lagrange(points, torch.ones_like(points[:1])), known.flatten(-d), 1).reshape(end.shape)
    missed = grid.modes((end - ahead).squeeze(-1 - d))
    # As in the estimate of the sweeps' elements: what a stiff wave has of one error is gone before the next ones.
    kernel = end_integral(z, p) / (tau + span * (1 - torch.exp(-2 * z.double())))
    return float(grid.norm(missed * (tau / 2 * mobility * kernel.to(z)).to(missed.dtype)).max())


def nothing_grows_within(tau: float, u: Tensor, flow: Flow, grid: Space) -> bool:
    """Whether no mode of the linearised flow at the fields `u` grows faster than exp(t / tau).

    With M = L + S + G^{-1} / tau and S >= f' the spectrum of M^{-1/2} (L + f' + G^{-1} / tau) M^{-1/2} ends at 1, and all but a
    few of its values lie there, so that few iterations tell the least.
    """
    members = u.reshape(-1, *grid.points)
    return all(_is_positive(tau, member, flow, grid, number) for number, member in enumerate(members))


def _is_positive(tau: float, u: Tensor, flow: Flow, grid: Space, number: int) -> bool:
    k2 = grid.squared_wavenumbers(u.dtype, u.device)
    mobility, linear = (_of_member(symbol(k2), k2, number) for symbol in (flow.mobility, flow.linear))
    slopes = flow.potential.df(u)
    S = float(slopes.max().clamp(min=0))
    moves = mobility > 0
    if not bool(moves.any()):
        return True  # nothing moves at all
    scale = torch.where(moves, (linear + S + 1 / (tau * torch.where(moves, mobility, 1))).clamp(min=1e-300) ** -0.5, 0)

    def product(v: Tensor) -> Tensor:
        driven = (slopes - S) * grid.field(scale * grid.modes(v))
        return v + grid.field(scale * grid.modes(driven))

    with torch.inference_mode(False), torch.enable_grad():  # the integral is a sum with weights, which are its gradient
        v = torch.zeros(grid.points, dtype=u.dtype, device=u.device, requires_grad=True)
        weights = torch.autograd.grad(grid.integral(v), v)[0].flatten()
    generator = torch.Generator(HOST).manual_seed(0)
    v = torch.randn(grid.points, generator=generator, dtype=torch.float64, device=HOST).to(u)
    v = grid.field(torch.where(moves, grid.modes(v), 0)).flatten()
    basis = torch.zeros(MOST_LANCZOS + 1, v.numel(), dtype=v.dtype, device=v.device)
    basis[0] = v / (weights @ v.square()).sqrt()
    diagonal, beside = [], []
    for count in range(1, MOST_LANCZOS + 1):
        new = product(basis[count - 1].reshape(grid.points)).flatten()
        shares = basis[:count] @ (weights * new)
        diagonal.append(float(shares[-1]))
        new = new - shares @ basis[:count]
        new = new - (basis[:count] @ (weights * new)) @ basis[:count]
        beside.append(float((weights @ new.square()).sqrt()))
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1))
        if values[0] < 0:
            return False
        if beside[-1] < 1e-12 or (count > 3 and abs(beside[-1] * vectors[-1, 0]) < 0.1 * values[0]):
            return True
        basis[count] = new / beside[-1]
    return True


def _of_member(symbol: Tensor, k2: Tensor, number: int) -> Tensor:
    return symbol.reshape(-1, *k2.shape)[number if symbol.ndim > k2.ndim else 0]
