"""Time-stepping schemes: each is a frozen dataclass of parameters with a stepper class that takes the steps."""

from ernest.phasefield.schemes.coarse import CoarseGaussSeidel
from ernest.phasefield.schemes.exponential import ETDRK4, IMEXBDF4, ExponentialElements
from ernest.phasefield.schemes.gaussseidel import GaussSeidel
from ernest.phasefield.schemes.implicit import Implicit
from ernest.phasefield.schemes.radau import RadauElements
from ernest.phasefield.schemes.semiimplicit import SemiImplicit

__all__ = [
    "ETDRK4",
    "IMEXBDF4",
    "CoarseGaussSeidel",
    "ExponentialElements",
    "GaussSeidel",
    "Implicit",
    "RadauElements",
    "SemiImplicit",
]
