"""Phase-field gradient flows, marched by energetic spectral elements in time (arXiv 2406.16287).

`solve(flow, grid, start, end)` chooses scheme and steps for a tolerance and returns a solution for all times; `march` takes
given steps with a given scheme. Flows are values such as `AllenCahn(kappa)` or a `GradientFlow` of the user's own, first
fields come from `scenes`, or are any tensor. Files and pictures are in the modules `snapshots`, `output` and `pictures`.
"""

from ernest.phasefield import scenes
from ernest.phasefield.element import Element, dissipation
from ernest.phasefield.flows import (
    AllenCahn,
    CahnHilliard,
    ConservativeAllenCahn,
    FloryHugginsAllenCahn,
    FloryHugginsCahnHilliard,
    Flow,
    GradientFlow,
    OhtaKawasaki,
    PhaseFieldCrystal,
    SwiftHohenberg,
    energy_of,
    mass_of,
)
from ernest.phasefield.grid import Grid, Space
from ernest.phasefield.legendre import LegendreGrid
from ernest.phasefield.march import DivergenceError, Scheme, State, StepFacts, Stepper, march
from ernest.phasefield.mesh import Mesh
from ernest.phasefield.potentials import DoubleWell, FloryHuggins, Polynomial, Potential
from ernest.phasefield.schemes import (
    ETDRK4,
    IMEXBDF4,
    CoarseGaussSeidel,
    ExponentialElements,
    GaussSeidel,
    Implicit,
    SemiImplicit,
)
from ernest.phasefield.solving.checkpoint import Checkpoint
from ernest.phasefield.solving.events import Event
from ernest.phasefield.solving.solution import Solution
from ernest.phasefield.solving.solve import EnergyRise, RunFailed, solve
from ernest.phasefield.sparse import Diagonalised, OperatorFlow, march_operators, sparse_flow
from ernest.phasefield.systems import GradientSystem, NewtonElement, march_system

__all__ = [
    "ETDRK4",
    "IMEXBDF4",
    "AllenCahn",
    "CahnHilliard",
    "Checkpoint",
    "CoarseGaussSeidel",
    "ConservativeAllenCahn",
    "Diagonalised",
    "DivergenceError",
    "DoubleWell",
    "Element",
    "EnergyRise",
    "Event",
    "ExponentialElements",
    "FloryHuggins",
    "FloryHugginsAllenCahn",
    "FloryHugginsCahnHilliard",
    "Flow",
    "GaussSeidel",
    "GradientFlow",
    "GradientSystem",
    "Grid",
    "Implicit",
    "LegendreGrid",
    "Mesh",
    "NewtonElement",
    "OhtaKawasaki",
    "OperatorFlow",
    "PhaseFieldCrystal",
    "Polynomial",
    "Potential",
    "RunFailed",
    "Scheme",
    "SemiImplicit",
    "Solution",
    "Space",
    "State",
    "StepFacts",
    "Stepper",
    "SwiftHohenberg",
    "dissipation",
    "energy_of",
    "march",
    "march_operators",
    "march_system",
    "mass_of",
    "scenes",
    "solve",
    "sparse_flow",
]
