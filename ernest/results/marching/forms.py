"""What results call the forms of the time-marching paper's schemes, and the error by which all are measured."""

from torch import Tensor

IMPLICIT, FIELD, TERM = "implicit", "extrapolated u", "extrapolated N"
"""The implicit scheme, and two readings of the linear one: either the field is extrapolated or its nonlinear term."""


def rms(field: Tensor) -> float:
    """The root of the mean square over all points."""
    return float(field.square().mean().sqrt())
