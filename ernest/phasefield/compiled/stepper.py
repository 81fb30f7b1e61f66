"""Chooses the compiled stepper of a scheme, if there is one: equal to the torch stepper up to round-off, several times as fast.

`fused_stepper` returns it where numba is installed and the problem fits, else None. Beside `init` and `step` these steppers
have `prepare(tau)`, which computes the coefficients, and `run(u0, tau, steps)`, the bare loop.
"""

from typing import Protocol, TypeGuard

from torch import Tensor

from ernest.phasefield.compiled.coarse import FusedCoarse
from ernest.phasefield.compiled.exponential import FusedETDRK4, FusedIMEXBDF4
from ernest.phasefield.compiled.gaussseidel import FusedGaussSeidel
from ernest.phasefield.compiled.workspace import Workspace, make_workspace
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.schemes.coarse import CoarseGaussSeidel
from ernest.phasefield.schemes.exponential import ETDRK4, IMEXBDF4
from ernest.phasefield.schemes.gaussseidel import GaussSeidel
from ernest.phasefield.stepping import Scheme, Stepper

FusibleScheme = GaussSeidel | CoarseGaussSeidel | ETDRK4 | IMEXBDF4


class FusedStepper(Stepper, Protocol):
    """A stepper for one field `[*points]` in float64."""

    def prepare(self, tau: float) -> None:
        """Build the coefficients for steps of one length, so that `run` finds them ready."""
        ...

    def run(self, u0: Tensor, tau: float, steps: int) -> Tensor:
        """The field after so many steps from the field `u0`."""
        ...


def fused_stepper(scheme: Scheme, flow: Flow, grid: Space, threads: int = 1) -> FusedStepper | None:
    """The compiled counterpart of `scheme.stepper(flow, grid, u0)` for an unbatched float64 u0, or None where there is none.

    `workspace.why_not_fused` tells why a problem does not fit. More than one thread pays from about 512 x 512 points on.
    """
    if not is_fusible(scheme):
        return None
    workspace = make_workspace(flow, grid, scheme.stabilisation, threads)
    return None if workspace is None else make_fused(scheme, workspace)


def is_fusible(scheme: Scheme) -> TypeGuard[FusibleScheme]:
    """Whether there is a compiled stepper of the scheme."""
    return isinstance(scheme, FusibleScheme) and not (isinstance(scheme, GaussSeidel) and scheme.shells)


def make_fused(scheme: FusibleScheme, workspace: Workspace) -> FusedStepper:
    """The compiled stepper on a workspace of the scheme's stabilisation; steppers that share a workspace use it in turn."""
    match scheme:
        case GaussSeidel():
            return FusedGaussSeidel(scheme, workspace)
        case CoarseGaussSeidel():
            return FusedCoarse(scheme, workspace)
        case ETDRK4():
            return FusedETDRK4(scheme, workspace)
        case IMEXBDF4():
            return FusedIMEXBDF4(scheme, workspace)
