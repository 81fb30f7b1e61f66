"""Phase-field gradient flows on periodic grids, marched by energetic spectral elements in time (arXiv 2406.16287)."""

from ernest.phasefield.energies import (
    DoubleWell,
    Flow,
    allen_cahn,
    cahn_hilliard,
    conservative_allen_cahn,
    energy_of,
    mass_of,
)
from ernest.phasefield.grid import PeriodicGrid
from ernest.phasefield.march import Scheme, march

__all__ = [
    "DoubleWell",
    "Flow",
    "PeriodicGrid",
    "Scheme",
    "allen_cahn",
    "cahn_hilliard",
    "conservative_allen_cahn",
    "energy_of",
    "march",
    "mass_of",
]
