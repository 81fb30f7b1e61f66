"""Chooses the schemes of a run from the flow, the grid, the tolerance and what the user asked for."""

from dataclasses import dataclass, replace

from torch import Tensor

from ernest.phasefield import stepping
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space, is_large
from ernest.phasefield.schemes.coarse import CoarseGaussSeidel
from ernest.phasefield.schemes.gaussseidel import GaussSeidel
from ernest.phasefield.schemes.implicit import Implicit
from ernest.phasefield.schemes.semiimplicit import SemiImplicit
from ernest.phasefield.schemes.spectrum import COARSE_TAIL, tail_amplitude
from ernest.phasefield.solver.initial_step import is_diffusive, stabilisation_for
from ernest.phasefield.stepping import Scheme

SPARSE_TAIL = 0.5
"""Of modes that are known at one node only in time about a third is missed: up to so many tolerances of them are tried."""

WORTH_COARSENING = 96
"""Points along every axis from which on sweeps on coarse grids are cheaper than those on the grid itself."""
LEAN = 1e-7
"""The tolerance above which H^-1 flows have elements of degree 3 on large grids: N at the nodes of two elements is most of what a
run holds there. Of a lower degree elements are shorter, but cheaper by as much down to about 1e-6."""


@dataclass(frozen=True)
class SchemeChoice:
    """The schemes of a run.

    `coarse` is the same scheme with sweeps on coarse grids, and `sparse` one whose first sweep, too, runs there at most nodes;
    the solver switches between the three as the spectrum of the field allows. `may_add_sweeps` only if the user named no
    scheme. `stabilisation` is the S that suits the flow and the initial field, and `diffusive` tells whether the flow's mobility
    grows with |k|^2.
    """

    scheme: Scheme
    stabilisation: float
    coarse: CoarseGaussSeidel | None = None
    sparse: CoarseGaussSeidel | None = None
    may_add_sweeps: bool = False
    diffusive: bool = False

    def scheme_for(self, level: int) -> Scheme:
        """The scheme of one element: `FULL`, `COARSE` or `SPARSE`."""
        return (self.scheme, self.coarse or self.scheme, self.sparse or self.coarse or self.scheme)[level]

    @property
    def highest(self) -> int:
        """The most that can be done on coarse grids."""
        return SPARSE if self.sparse is not None else COARSE if self.coarse is not None else FULL

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


FULL, COARSE, SPARSE = range(3)
"""How much of the work of an element is done on coarse grids: nothing, further sweeps, or the first one at most nodes as well."""

IMPLICIT_SWEEPS = 3
"""The iterations of an implicit element by which its length is judged; the others only solve the equation."""


def check_scheme(scheme: Scheme | None, strict: bool) -> None:
    """Raise ValueError for what is no scheme, and for a scheme beside the one that `strict` asks for."""
    if scheme is None:
        return
    stepping.check_scheme(scheme)
    if strict:
        raise ValueError(f"strict: means the implicit scheme; leave it out, or leave scheme={scheme} out")


def choose_schemes(flow: Flow, grid: Space, u0: Tensor, tolerance: float, scheme: Scheme | None, strict: bool) -> SchemeChoice:
    """The user's scheme, or one for the flow and the tolerance: Gauss-Seidel, or the implicit scheme in strict mode."""
    diffusive = is_diffusive(flow, grid)
    S = stabilisation_for(flow, u0, diffusive)
    if scheme is not None:
        return SchemeChoice(scheme, S, diffusive=diffusive)
    if strict:
        return SchemeChoice(Implicit(3, stabilisation=S, tolerance=1e-13), S, diffusive=diffusive)
    if diffusive:
        p, m = (4, 4) if tolerance > 1e-5 else (5, 5)
        if is_large(grid) and tolerance > LEAN:
            p, m = 3, 3
        # A quarter of the grid cannot carry the sweeps of these flows, and the first element needs more of them.
        coarse = CoarseGaussSeidel(p, min(p, 4), 2, 0, S, start_sweeps=6) if supports_coarse(flow, grid) else None
        return SchemeChoice(GaussSeidel(p, m, 3, S), S, coarse, may_add_sweeps=True, diffusive=True)
    if not supports_coarse(flow, grid):
        p, m = (3, 4) if tolerance > 3e-5 else (4, 5)
        return SchemeChoice(GaussSeidel(p, m, 3, S), S, may_add_sweeps=True)
    # Longer elements of a higher degree are fewer to judge; on large grids their rows of N are what a run holds.
    p, m = (3, 4) if tolerance > 1e-4 else (4, 4) if tolerance > 1e-7 else (4, 5)
    p = 5 if tolerance < 1e-5 and not is_large(grid) else p
    coarse = CoarseGaussSeidel(
        p, m, *((1, 3) if tolerance > 1e-7 else (2, 2)), S, outer_window=2 if min(grid.points) >= 256 else 3
    )
    return SchemeChoice(GaussSeidel(p, m, 3, S), S, coarse, replace(coarse, fine_nodes=(p - 1,)), may_add_sweeps=True)


def supports_coarse(flow: Flow, grid: Space) -> bool:
    """Whether coarse sweeps apply: on periodic grids that can be halved twice, without a forcing."""
    fits = all(n >= WORTH_COARSENING and n % 8 == 0 for n in grid.points) and set(grid.boundaries) == {"periodic"}
    return fits and flow.forcing is None and grid.dimensions > 1


def level_for(choice: SchemeChoice, modes: Tensor, grid: Space, tolerance: float) -> int:
    """How much of the next elements may run on coarse grids, by what fields with these modes have beyond the first of them."""
    if choice.coarse is None:
        return FULL
    tail = tail_amplitude(modes, grid)
    if choice.sparse is not None and tail <= SPARSE_TAIL * tolerance:
        return SPARSE
    return COARSE if tail <= COARSE_TAIL * tolerance else FULL
