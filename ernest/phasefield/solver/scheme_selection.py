"""Which schemes a run takes, when the user names none and when one is named."""

from dataclasses import dataclass, replace

from torch import Tensor

from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.schemes.coarse import CoarseGaussSeidel
from ernest.phasefield.schemes.gaussseidel import GaussSeidel
from ernest.phasefield.schemes.implicit import Implicit
from ernest.phasefield.schemes.semiimplicit import SemiImplicit
from ernest.phasefield.schemes.spectrum import prefers_coarse
from ernest.phasefield.solver.initial_step import is_diffusive, stabilisation_for
from ernest.phasefield.stepping import Scheme

WORTH_COARSENING = 96
"""Points along every axis from which on sweeps on coarse grids are cheaper than those on the grid itself."""


@dataclass(frozen=True)
class Plan:
    """The schemes of a run.

    `coarse` has the same window and may take over, and give back, wherever the spectrum of the field allows it. Only where
    the engine has chosen the scheme is it `free` to add sweeps. `stabilisation` is the one that suits the flow and the start.
    """

    scheme: Scheme
    stabilisation: float
    coarse: CoarseGaussSeidel | None = None
    free: bool = False

    def scheme_for(self, coarse: bool, extra: int) -> Scheme:
        """The scheme of one element, with so many `extra` sweeps."""
        if coarse and self.coarse is not None:
            return replace(self.coarse, quarter_sweeps=self.coarse.quarter_sweeps + extra)
        if extra and isinstance(self.scheme, GaussSeidel):
            return replace(self.scheme, sweeps=self.scheme.sweeps + extra)
        return self.scheme

    @property
    def order(self) -> int:
        """The order at the ends of the elements. Raises ValueError for schemes that cannot tell how accurate they are."""
        match self.scheme:
            case GaussSeidel(p, window, sweeps) if sweeps > 1:
                return min(2 * p, window + sweeps)
            case CoarseGaussSeidel(p, window, half, quarter):
                return min(2 * p, window + 1 + half + quarter)
            case SemiImplicit(p, sweeps) if sweeps > 0:
                return min(2 * p, p + 1 + sweeps)
            case Implicit(p):
                return min(2 * p, p + 1 + IMPLICIT_SWEEPS)
        raise ValueError(f"scheme: {self.scheme} has no estimate to choose steps by; give it a sweep more, or give step=")


IMPLICIT_SWEEPS = 3
"""The iterations of an implicit element by which its length is judged; the others only solve the equation."""


def plan_for(flow: Flow, grid: Space, start: Tensor, tolerance: float, scheme: Scheme | None, strict: bool) -> Plan:
    """The user's scheme, or one for the flow and the tolerance: Gauss-Seidel, or the implicit scheme in strict mode."""
    S = stabilisation_for(flow, grid, start)
    if scheme is not None:
        return Plan(scheme, S)
    if strict:
        return Plan(Implicit(3, stabilisation=S, tolerance=1e-13), S)
    if is_diffusive(flow, grid):
        return Plan(GaussSeidel(3, 4, 3, S) if tolerance > 1e-8 else GaussSeidel(4, 5, 3, S), S, free=True)
    p, m = (3, 4) if tolerance > 1e-4 else (4, 4) if tolerance > 1e-7 else (4, 5)
    coarse = CoarseGaussSeidel(
        p, m, *((1, 3) if tolerance > 1e-7 else (2, 2)), S, outer_window=2 if min(grid.points) >= 256 else 3
    )
    return Plan(GaussSeidel(p, m, 3, S), S, coarse if may_coarsen(flow, grid) else None, free=True)


def may_coarsen(flow: Flow, grid: Space) -> bool:
    """Whether coarse sweeps are to be had: on periodic grids that can be halved twice, without a forcing."""
    fits = all(n >= WORTH_COARSENING and n % 8 == 0 for n in grid.points) and set(grid.boundaries) == {"periodic"}
    return fits and flow.forcing is None and grid.dimensions > 1


def coarsens(plan: Plan, modes: Tensor, grid: Space, tolerance: float) -> bool:
    """Whether the next elements take coarse sweeps."""
    return plan.coarse is not None and prefers_coarse(modes, grid, tolerance)
