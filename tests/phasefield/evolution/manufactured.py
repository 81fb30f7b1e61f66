"""Exact solutions by forcing: the equation is differentiated by autograd on given functions, without a grid or a scheme."""

import math

import torch

from ernest.phasefield import Grid, VariableFlow, march
from tests.phasefield.problems import rms


def derivatives(v, wrt):
    return torch.autograd.grad(v.sum(), wrt, create_graph=True, materialize_grads=True)


def with_leaves(what, x, t):
    """`what` (x, t) of coordinates and times that can be differentiated by."""
    with torch.enable_grad():
        shape = torch.broadcast_shapes(t.shape, *(c.shape for c in x))
        xs = [c.expand(shape).clone().requires_grad_() for c in x]
        return what(xs, t.expand(shape).clone().requires_grad_()).detach()


def potential_of(exact, F, kappa, x, t):
    """mu = dF/du - div(kappa grad u) + 1/2 dkappa/du |grad u|^2."""
    u = exact(x, t)
    alone = u.detach().requires_grad_()
    f = torch.autograd.grad(F(alone, x, t).sum(), alone)[0] if not u.requires_grad else derivatives(F(u_ := u * 1, x, t), u_)[0]
    slopes = derivatives(u, x)
    mu = f
    for axis, slope in enumerate(slopes):
        free = u * 1
        k = torch.as_tensor(kappa[axis](free, x, t)) + 0 * free
        mu = mu - derivatives(kappa[axis](u, x, t) * slope + 0 * u, x[axis])[0] + derivatives(k, free)[0] * slope**2 / 2
    return mu


def forced(exact, F, kappa, M, conserved):
    """The forcing with which `exact` (x, t) solves the flow."""

    def of(x, t):
        u = exact(x, t)
        mu = potential_of(exact, F, kappa, x, t)
        if not conserved:
            return derivatives(u, t)[0] + M(u, x, t) * mu
        through = [derivatives(M(u, x, t) * slope, c)[0] for slope, c in zip(derivatives(mu, x), x, strict=True)]
        return derivatives(u, t)[0] - sum(through)

    return lambda u, x, t: with_leaves(of, x, t)


def error(flow: VariableFlow, grid: Grid, exact, time: float, steps: int, scheme) -> float:
    start = exact(grid.coordinates(), torch.tensor(0.0, dtype=torch.float64))
    *_, last = march(flow, grid, start, [time / steps] * steps, scheme)
    return rms(last.end - exact(grid.coordinates(), torch.tensor(time, dtype=torch.float64)))


def wave(x, t):
    """A smooth periodic function on boxes of side 2 pi."""
    return sum(0.3 * torch.sin(c + t + axis) for axis, c in enumerate(x)) + 0.2 * torch.cos(t * math.sqrt(2)) + 0 * x[0]
