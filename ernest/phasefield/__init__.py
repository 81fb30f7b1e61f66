"""Solves phase-field gradient flows with energy-stable spectral elements in time (arXiv 2406.16287).

`solve(flow, grid, u0, t1)` chooses scheme and steps for a tolerance and returns a solution for all times from 0 to t1; `march`
takes given steps with a given scheme. Flows are values such as `AllenCahn(kappa)` or a `GradientFlow` of the user's own. The
initial field u0 comes from `initial_conditions` or is any tensor. `solve_system` solves u_t = f(t, u) of any kind. Files and
pictures are in `io` and `plots`.
"""

from ernest.phasefield import initial_conditions
from ernest.phasefield.element import Element, dissipation
from ernest.phasefield.evolution.elements import EnergeticElements
from ernest.phasefield.evolution.flows import CoupledFlow, Noise, VariableFlow
from ernest.phasefield.evolution.walls import Inflow, Slope, Value, contact_angle
from ernest.phasefield.flow_terms import energy_of, mass_of
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
)
from ernest.phasefield.grid import Grid, Space
from ernest.phasefield.legendre import LegendreGrid
from ernest.phasefield.mesh import Mesh
from ernest.phasefield.ode import GradientSystem, NewtonElement, march_system
from ernest.phasefield.potentials import DoubleWell, FloryHuggins, Polynomial, Potential
from ernest.phasefield.schemes import (
    ETDRK4,
    IMEXBDF4,
    CoarseGaussSeidel,
    ExponentialElements,
    GaussSeidel,
    Implicit,
    RadauElements,
    SemiImplicit,
)
from ernest.phasefield.solver.checkpoint import Checkpoint
from ernest.phasefield.solver.diagnostics import StepRecord
from ernest.phasefield.solver.events import Event, EventOccurrence
from ernest.phasefield.solver.failures import RunFailed, RunInterrupted
from ernest.phasefield.solver.own_units import own_units
from ernest.phasefield.solver.resolution import UnresolvedInterface
from ernest.phasefield.solver.solution import DenseOutput, Solution
from ernest.phasefield.solver.solve import EnergyRise, solve
from ernest.phasefield.solver.units import Units
from ernest.phasefield.sparse import Diagonalised, OperatorFlow, march_operators, sparse_flow
from ernest.phasefield.stepping import DivergenceError, Scheme, State, Stepper, StepStats, march
from ernest.phasefield.systems.elements import SystemElements
from ernest.phasefield.systems.solve import solve_system
from ernest.phasefield.systems.system import DynamicalSystem

__all__ = [
    "ETDRK4",
    "IMEXBDF4",
    "AllenCahn",
    "CahnHilliard",
    "Checkpoint",
    "CoarseGaussSeidel",
    "ConservativeAllenCahn",
    "CoupledFlow",
    "DenseOutput",
    "Diagonalised",
    "DivergenceError",
    "DoubleWell",
    "DynamicalSystem",
    "Element",
    "EnergeticElements",
    "EnergyRise",
    "Event",
    "EventOccurrence",
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
    "Inflow",
    "LegendreGrid",
    "Mesh",
    "NewtonElement",
    "Noise",
    "OhtaKawasaki",
    "OperatorFlow",
    "PhaseFieldCrystal",
    "Polynomial",
    "Potential",
    "RadauElements",
    "RunFailed",
    "RunInterrupted",
    "Scheme",
    "SemiImplicit",
    "Slope",
    "Solution",
    "Space",
    "State",
    "StepRecord",
    "StepStats",
    "Stepper",
    "SwiftHohenberg",
    "SystemElements",
    "Units",
    "UnresolvedInterface",
    "Value",
    "VariableFlow",
    "contact_angle",
    "dissipation",
    "energy_of",
    "initial_conditions",
    "march",
    "march_operators",
    "march_system",
    "mass_of",
    "own_units",
    "solve",
    "solve_system",
    "sparse_flow",
]
