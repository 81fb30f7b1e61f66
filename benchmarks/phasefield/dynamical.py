"""Three systems that are no gradient flows: a reaction with diffusion, the Kuramoto-Sivashinsky equation, a Hamiltonian chain.

Each is given twice, in torch for the engine and in numpy for the peers, with the derivative that each can use.

- Brusselator on the unit square, periodic: u_t = 1 + u^2 v - 4.4 u + alpha Laplace(u), v_t = 3.4 u - u^2 v + alpha Laplace(v), by
  differences of second order; start and constants of Hairer and Wanner (Solving Ordinary Differential Equations II, IV.10).
- Kuramoto-Sivashinsky: u_t = -u u_x - u_xx - u_xxxx on a ring, by Fourier series whose products are free of aliases; the start
  is that of Kassam and Trefethen (SIAM J. Sci. Comput. 26, 2005, 1214), who have a ring of 32 pi, with one longer wave.
- The beta chain of Fermi, Pasta, Ulam and Tsingou: masses with springs r + r^3/4 between walls, the energy in the lowest wave.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.sparse import bmat, csc_array, diags_array, eye_array, kron
from torch import Tensor

from ernest.phasefield import DynamicalSystem

Array = np.ndarray


@dataclass(frozen=True)
class Dynamics:
    """A system for the engine and for peers, from `start` `[n]` to `end`; `jacobian` is sparse or dense."""

    name: str
    system: DynamicalSystem
    rate: Callable[[float, Array], Array]
    jacobian: Callable[[float, Array], Any] | None
    start: Array
    end: float


def brusselator(points: int, end: float = 3.0, alpha: float = 0.1, known: str = "jacobian") -> Dynamics:
    """`points` squared places, two unknowns at each. The engine is told the "jacobian", its "pattern", or a "preconditioner",
    which solves for the diffusion, and no more.
    """
    h, reach = 1 / points, points * points
    ring = diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(points, points)).tolil()  # pyright: ignore[reportArgumentType]
    ring[0, -1] = ring[-1, 0] = 1.0
    eye = eye_array(points)
    spread = csc_array((kron(ring, eye) + kron(eye, ring)) * (alpha / h**2))
    x = (np.arange(points) * h)[:, None] + np.zeros(points)
    start = np.concatenate([(22 * x.T * (1 - x.T) ** 1.5).ravel(), (27 * x * (1 - x) ** 1.5).ravel()])
    factor = alpha / h**2

    def rate(t: Tensor, w: Tensor) -> Tensor:
        fields = w.unflatten(-1, (2, points, points))
        around = fields.roll(1, -1) + fields.roll(-1, -1) + fields.roll(1, -2) + fields.roll(-1, -2) - 4 * fields
        u, v = fields.unbind(-3)
        made = u * u * v
        return (torch.stack([1 + made - 4.4 * u, 3.4 * u - made], -3) + factor * around).flatten(-3)

    def plain(t: float, w: Array) -> Array:
        u, v = w[:reach], w[reach:]
        made = u * u * v
        return np.concatenate([1 + made - 4.4 * u + spread @ u, 3.4 * u - made + spread @ v])

    def jacobian(t: float, w: Array) -> csc_array:
        u, v = w[:reach], w[reach:]
        uv, uu = diags_array(2 * u * v), diags_array(u * u)
        own = eye_array(reach)
        return csc_array(bmat([[spread + uv - 4.4 * own, uu], [3.4 * own - uv, spread - uu]], format="csc"))

    waves = 2 * torch.cos(2 * math.pi * torch.arange(points, dtype=torch.float64) / points) - 2
    diffusion = factor * (waves[:, None] + waves)

    def preconditioner(t: float, w: Tensor, shift: complex) -> Callable[[Tensor], Tensor]:
        near = 1 / (1 - shift * diffusion)

        def solve(r: Tensor) -> Tensor:
            x = torch.fft.ifft2(near * torch.fft.fft2(r.unflatten(-1, (2, points, points)))).flatten(-3)
            return x if r.is_complex() else x.real

        return solve

    of: dict[str, Any] = {"jacobian": lambda t, w: jacobian(t, w.numpy()), "preconditioner": preconditioner}
    told: Any = jacobian(0.0, np.ones_like(start)) if known == "pattern" else of[known]
    system = DynamicalSystem(rate, **{known: told})
    return Dynamics(f"Brusselator, {2 * reach:,} unknowns", system, plain, jacobian, start, end)


def kuramoto_sivashinsky(points: int = 1024, end: float = 10.0) -> Dynamics:
    """A chaotic field, eight points to a length of pi; its linear part, exact in Fourier modes, is the preconditioner."""
    length = points * math.pi / 8
    k = 2 * math.pi * np.fft.rfftfreq(points, length / points)
    linear, slope = k**2 - k**4, -0.5j * k * (np.arange(len(k)) < points / 3)
    modes, slopes = torch.from_numpy(linear), torch.from_numpy(slope)
    full = torch.from_numpy(np.concatenate([linear, linear[-2:0:-1]]))
    x = np.arange(points) * length / points
    start = np.cos(x / 16) * (1 + np.sin(x / 16)) + 0.1 * np.sin(2 * math.pi * x / length)

    def rate(t: Tensor, u: Tensor) -> Tensor:
        return torch.fft.irfft(modes * torch.fft.rfft(u) + slopes * torch.fft.rfft(u * u), points)

    def plain(t: float, u: Array) -> Array:
        return np.fft.irfft(linear * np.fft.rfft(u) + slope * np.fft.rfft(u * u), points)

    def preconditioner(t: float, u: Tensor, shift: complex) -> Callable[[Tensor], Tensor]:
        near = 1 / (1 - shift * full)
        if isinstance(shift, complex):
            return lambda r: torch.fft.ifft(near * torch.fft.fft(r))
        return lambda r: torch.fft.irfft(near[: len(modes)] * torch.fft.rfft(r), points)

    @cache
    def matrices() -> tuple[Array, Array]:
        eye = np.eye(points)
        of = lambda symbol: np.fft.irfft(symbol[:, None] * np.fft.rfft(eye, axis=0), points, axis=0)
        return of(linear), of(2 * slope)

    def jacobian(t: float, u: Array) -> Array:
        return matrices()[0] + matrices()[1] * u

    system = DynamicalSystem(rate, preconditioner=preconditioner)
    return Dynamics(f"Kuramoto-Sivashinsky, {points:,} unknowns", system, plain, jacobian, start, end)


def chain(masses: int = 32, end: float = 400.0) -> Dynamics:
    """Positions, then momenta. The lowest wave has the amplitude 4; a period of it is about 66."""
    start = np.concatenate([4 * np.sin(math.pi * np.arange(1, masses + 1) / (masses + 1)), np.zeros(masses)])

    def stretched(q: Tensor) -> Tensor:
        return torch.diff(torch.nn.functional.pad(q, (1, 1)), dim=-1)

    def rate(t: Tensor, w: Tensor) -> Tensor:
        q, p = w.chunk(2, -1)
        r = stretched(q)
        return torch.cat([p, torch.diff(r + 0.25 * r**3, dim=-1)], -1)

    def energy(w: Tensor) -> Tensor:
        q, p = w.chunk(2, -1)
        r = stretched(q)
        return (p.square().sum(-1) + r.square().sum(-1) + r.pow(4).sum(-1) / 8) / 2

    def plain(t: float, w: Array) -> Array:
        r = np.diff(w[:masses], prepend=0.0, append=0.0)
        return np.concatenate([w[masses:], np.diff(r + 0.25 * r**3)])

    def jacobian(t: float, w: Array) -> csc_array:
        r = np.diff(w[:masses], prepend=0.0, append=0.0)
        stiff = 1 + 0.75 * r * r
        part = diags_array([stiff[1:-1], -(stiff[1:] + stiff[:-1]), stiff[1:-1]], offsets=[-1, 0, 1])  # pyright: ignore[reportArgumentType]
        return csc_array(bmat([[None, eye_array(masses)], [part, None]], format="csc"))

    system = DynamicalSystem(rate, invariant=energy)
    return Dynamics(f"chain of {masses} masses", system, plain, jacobian, start, end)
