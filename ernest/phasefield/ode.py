"""Solves small gradient or Hamiltonian systems of ODEs, u_t = -G grad E(u), with energetic elements and Newton's method.

The energetic element (arXiv 2406.16287) needs no linear part: with the Legendre moments m_k of grad E(u) over the element,
its equations are

    c_k + tau/2 G m_k(c) = 0,   k = 1..p,

and because u_t = 2/tau sum of c_k L_{k-1}, the chain rule gives, for every length tau,

    E(u_end) - E(u_start) = sum of (m_k, c_k) 2/(2k - 1) = -tau sum of (m_k, G m_k) / (2k - 1),

if the quadrature is exact, which for a polynomial energy of degree d takes pd/2 Gauss points. So the energy falls where
the symmetric part of G is positive, and stays where G is skew: a Hamiltonian system keeps its energy to round-off.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.element import Element
from ernest.phasefield.mesh import Mesh
from ernest.phasefield.numeric import make_plain, number
from ernest.phasefield.schemes.splitting import check_at_least, check_degree
from ernest.phasefield.stepping import DivergenceError, check_steps
from ernest.phasefield.timeelement import basis, continuation, gauss
from ernest.phasefield.user_functions import ask, check_derivative


@dataclass(frozen=True)
class GradientSystem:
    """u_t = -G grad E(u) for u `[..., n]`.

    `energy` takes `[..., n]` to `[...]` in torch operations, from which gradient and Hessian come by differentiation.
    `mobility` is G `[n, n]`, symmetric and positive for a descent, or skew for a Hamiltonian system; without, the identity.
    """

    energy: Callable[[Tensor], Tensor]
    mobility: Tensor | None = None

    def __post_init__(self) -> None:
        """A mobility in numbers of any type becomes one in double precision."""
        if self.mobility is not None:
            try:
                at = self.mobility.device if isinstance(self.mobility, Tensor) else HOST
                object.__setattr__(self, "mobility", torch.as_tensor(self.mobility, dtype=torch.float64, device=at))
            except (TypeError, ValueError, RuntimeError):
                raise ValueError(f"mobility: expected a matrix [n, n], got {self.mobility!r}") from None

    def gradient(self, u: Tensor) -> Tensor:
        """grad E, `[..., n]`."""
        return self._differentiated(u)[1].detach()

    def hessian(self, u: Tensor) -> Tensor:
        """Second derivatives, `[..., n, n]`."""
        return self.derivatives(u)[1]

    def derivatives(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient `[..., n]` and Hessian `[..., n, n]`."""
        variable, gradient = self._differentiated(u)
        with torch.inference_mode(False), torch.enable_grad():
            rows = [
                torch.autograd.grad(component.sum(), variable, retain_graph=True, materialize_grads=True)[0]
                for component in gradient.unbind(-1)
            ]
        return gradient.detach(), torch.stack(rows, -2)

    def flow_of(self, gradient: Tensor) -> Tensor:
        """G v for v `[..., n]`."""
        return gradient if self.mobility is None else gradient @ self.mobility.T

    def _differentiated(self, u: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            variable = u.detach().clone().requires_grad_()
            gradient = torch.autograd.grad(self.energy(variable).sum(), variable, create_graph=True)[0]
            return variable, gradient if gradient.requires_grad else gradient + 0 * variable  # of a linear energy


@dataclass(frozen=True)
class NewtonElement:
    """The energetic element of degree p with `quadrature` Gauss points, by default 3p, which is exact up to a sextic energy.

    The order at the ends of the elements is 2p. Newton's iterations end when one changes the coefficients by less than
    `tolerance` times the size of u: the error that is left is about the square of that.
    """

    degree: int = 3
    quadrature: int | None = None
    tolerance: float = 1e-10
    limit: int = 30

    def __post_init__(self) -> None:
        make_plain(self)
        check_degree(self.degree)
        check_at_least("quadrature", self.points, self.degree)
        check_at_least("limit", self.limit, 1)
        if not 0 < self.tolerance < 1:
            raise ValueError(f"scheme tolerance: expected a number between 0 and 1, got {self.tolerance}")

    @property
    def points(self) -> int:
        return 3 * self.degree if self.quadrature is None else self.quadrature


def march_system(
    system: GradientSystem, u0: Tensor, steps: Iterable[float], scheme: NewtonElement = NewtonElement()
) -> Iterator[Element]:
    """Takes steps of the given lengths from the state `u0` `[n]` in double precision, and yields the `Element` of each step.

    Raises ValueError for a state or a step length that is invalid, and DivergenceError where Newton's
    method fails: a shorter step helps.
    """
    check_system(system, u0)
    check_steps(steps)
    if not isinstance(scheme, NewtonElement):
        raise ValueError(f"scheme: a GradientSystem is marched by a NewtonElement, got {scheme!r}")
    nodes = Mesh(torch.ones(len(u0), dtype=torch.float64, device=HOST))

    def elements() -> Iterator[Element]:
        time, u, tau_before = 0.0, u0, math.inf
        c = torch.zeros(scheme.degree, len(u0), dtype=torch.float64, device=HOST)
        for each in steps:
            tau = number("steps", each)
            if not 0 < tau < math.inf:
                raise ValueError(f"steps: expected positive lengths, got {tau}")
            predicted = continuation(scheme.degree, torch.tensor(tau / tau_before, dtype=torch.float64, device=HOST)) @ c
            c = solve_element(system, u, predicted, time, tau, scheme)
            end = u + 2 * c[0]
            yield Element(time, tau, u, end, nodes, lambda c=c: c)
            time, u, tau_before = time + tau, end, tau

    return elements()


def check_system(system: GradientSystem, u0: Tensor) -> None:
    """Raise ValueError unless the state and the mobility are finite float64 tensors that fit each other and the energy, and torch
    can differentiate that."""
    if not isinstance(system, GradientSystem):
        raise ValueError(f"system: expected a GradientSystem, got {system!r}")
    if not isinstance(u0, Tensor):
        raise ValueError(f"u0: expected a tensor, got {type(u0).__name__}; torch.as_tensor makes one")
    if u0.ndim != 1 or not len(u0) or u0.dtype != torch.float64 or not bool(torch.isfinite(u0).all()):
        raise ValueError(f"u0: expected a finite float64 state [n], got {u0.dtype} {list(u0.shape)}")
    if system.mobility is not None and system.mobility.shape != (len(u0), len(u0)):
        raise ValueError(f"mobility: expected [{len(u0)}, {len(u0)}] for this state, got {list(system.mobility.shape)}")
    if getattr(ask("energy", system.energy, u0.expand(2, -1)), "shape", None) != (2,):
        raise ValueError("energy: expected a function from states [..., n] to energies [...]")
    with torch.inference_mode(False), torch.enable_grad():
        if not system.energy(u0.detach().clone().requires_grad_()).requires_grad:
            raise ValueError("energy: expected torch operations on u, which is differentiated")
    size = torch.ones((), dtype=torch.float64, device=u0.device)
    check_derivative("energy", lambda sizes: system.energy(sizes[0] * u0), (size,))


def solve_element(system: GradientSystem, u: Tensor, c: Tensor, time: float, tau: float, scheme: NewtonElement) -> Tensor:
    """The coefficients `[p, n]` of the element from u `[n]`, by Newton's method from the guess c."""
    xi, to_moments = gauss(scheme.degree, scheme.points)
    P = basis(scheme.degree, xi)
    identity = torch.eye(c.numel(), dtype=c.dtype, device=c.device)
    change = math.inf
    for iteration in range(1, scheme.limit + 1):
        gradient, hessian = system.derivatives(u + P @ c)
        residual = c + tau / 2 * system.flow_of(to_moments @ gradient)
        # One block of n unknowns for each coefficient: the derivative of G m_i by c_j is G times the moments of H psi_j.
        blocks = torch.einsum("iq,qab,qj->ijba", to_moments, hessian, P)
        jacobian = identity + tau / 2 * system.flow_of(blocks).permute(0, 3, 1, 2).reshape(identity.shape)
        step = torch.linalg.solve(jacobian, residual.reshape(-1)).view_as(c)
        c = c - step
        change = float(step.abs().max()) / max(1.0, float(u.abs().max()))
        if not change < 1e6:
            raise DivergenceError(time, tau, iteration, change)
        if change <= scheme.tolerance:
            return c
    raise DivergenceError(time, tau, scheme.limit, change)


def system_dissipation(element: Element, system: GradientSystem, scheme: NewtonElement) -> Tensor:
    """Energy that an element dissipates: tau sum of (m_k, G m_k) / (2k - 1)."""
    xi, to_moments = gauss(element.degree, scheme.points)
    moments = to_moments @ system.gradient(element.at(xi))
    powers = (moments * system.flow_of(moments)).sum(-1)
    return element.tau * (powers / torch.arange(1, 2 * element.degree, 2, device=powers.device)).sum()
