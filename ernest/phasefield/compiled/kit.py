"""Keeps the compiled steppers of a run for the next run of the same flow on the same grid, in the same process.

Plans of transforms, index tables, memory that has been touched and tables of step lengths take as long to make as some elements
to solve. A kit serves one run at a time: it is taken off the shelf, and put back when the run is over.
"""

from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from ernest.phasefield.compiled.inspection import Inspector
from ernest.phasefield.compiled.stepper import FusedStepper, FusibleScheme, make_fused
from ernest.phasefield.compiled.workspace import Workspace, make_workspace, symbols_of, why_not_fused
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space

KITS_KEPT = 2
"""So many kits are kept, but of large grids none: those take more memory than they save time."""


@dataclass(frozen=True)
class Kit:
    """The workspace of a flow, grid and stabilisation, with what has been made on it."""

    workspace: Workspace
    inspector: Inspector
    steppers: dict[FusibleScheme, FusedStepper] = field(default_factory=dict)

    def stepper(self, scheme: FusibleScheme) -> FusedStepper:
        """The stepper of a scheme, made when it is first asked for; on large grids only the last one is kept."""
        if scheme not in self.steppers:
            if self.workspace.is_large:
                self.steppers.clear()
            self.steppers[scheme] = make_fused(scheme, self.workspace)
        return self.steppers[scheme]

    def serves(self, flow: Flow, grid: Space, stabilisation: float) -> bool:
        """Whether it is for a flow with these symbols and this potential on this grid."""
        work = self.workspace
        same = (work.grid, work.splitting.stabilisation, work.splitting.flow.potential) == (grid, stabilisation, flow.potential)
        if not same or type(work.splitting.flow.potential) is not type(flow.potential):
            return False
        wanted = symbols_of(flow, grid)
        return all(np.array_equal(one, other) for one, other in zip((work.mobility, work.linear), wanted, strict=True))


_shelf: list[Kit] = []
_lock = Lock()


def take(flow: Flow, grid: Space, stabilisation: float) -> Kit | None:
    """A kit from the shelf, or a new one; None where compiled steppers cannot serve."""
    if why_not_fused(flow, grid) is not None:
        return None
    with _lock:
        for kit in _shelf:
            if kit.serves(flow, grid, stabilisation):
                _shelf.remove(kit)
                return kit
    workspace = make_workspace(flow, grid, stabilisation, 1)
    return None if workspace is None else Kit(workspace, Inspector(workspace))


def put_back(kit: Kit) -> None:
    """For the next run; the kits that were put back last are kept."""
    if kit.workspace.is_large:
        kit.workspace.let_go()
        return
    with _lock:
        _shelf.append(kit)
        del _shelf[:-KITS_KEPT]


def forget() -> None:
    """Lets go of all kits on the shelf, and of their memory."""
    with _lock:
        _shelf.clear()
