"""Interfaces that are too thin for the grid do not move, and a run that has them says so."""

import math
import warnings

import pytest
import torch

from ernest.phasefield import (
    AllenCahn,
    CahnHilliard,
    DoubleWell,
    GaussSeidel,
    GradientFlow,
    Grid,
    Implicit,
    PhaseFieldCrystal,
    SwiftHohenberg,
    UnresolvedInterface,
    initial_conditions,
    solve,
)
from ernest.phasefield.solver.resolution import thin_interface

GRID = Grid.cube(32, math.pi)  # as fine as 64 points on the square of side 2 pi


def shrunk(kappa: float) -> tuple[float, list[str]]:
    """How much of the area that a disk should lose it loses (pi R^2 falls by 2 pi kappa t), and the warnings."""
    start = initial_conditions.circle(GRID, kappa, radius=1.2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        end = solve(AllenCahn(kappa), GRID, start, 0.2 / kappa, 1e-3, progress=False).end
    lost = float(((start > 0).double() - (end > 0).double()).mean()) * GRID.volume
    return lost / (0.4 * math.pi), [f"{one.category.__name__}: {one.message}" for one in caught]


def test_a_pinned_interface_is_told():
    share, said = shrunk(0.01)
    assert share == pytest.approx(1, abs=0.12)
    assert said == []
    share, said = shrunk(0.0015)
    assert share < 0.2
    assert said == [
        "UnresolvedInterface: interfaces of width 0.0387 fall between grid points 0.0982 apart; "
        "take 82 points or more, or a larger kappa"
    ]


def test_the_width_is_the_flows_own():
    """kappa / s counts, in a flow of one's own too; a batch counts by its thinnest; waves are no interfaces."""
    h = max(GRID.spacings)
    fine, thin = (h / 1.6) ** 2, (h / 1.8) ** 2
    own = [GradientFlow(lambda k2: k2, lambda k2, kappa=kappa: kappa * k2, DoubleWell()) for kappa in (fine, thin)]
    batch = AllenCahn(torch.tensor([1.0, thin]))
    assert [thin_interface(flow, GRID) is None for flow in own] == [True, False]
    assert thin_interface(CahnHilliard(thin), GRID) == thin_interface(own[1], GRID) == thin_interface(batch, GRID)
    assert thin_interface(AllenCahn(fine, s=2.0), GRID) is not None
    assert thin_interface(AllenCahn(thin, s=0.5), GRID) is None
    for flow in (SwiftHohenberg(0.3), PhaseFieldCrystal(0.3)):
        assert thin_interface(flow, Grid.cube(128, 60.0)) is None
    assert thin_interface(AllenCahn(thin), Grid((32, 256), (math.pi, math.pi))) == thin_interface(AllenCahn(thin), GRID)


def test_a_field_without_interfaces_is_not_warned_of():
    """The warning of what a fine structure would need is for fields that have one."""
    smooth = 0.1 * GRID.coordinates()[0].mul(2).cos()
    solve(AllenCahn(0.001), GRID, smooth, 0.1, 1e-4, progress=False)
    solve(AllenCahn(0.001), GRID, torch.ones_like(smooth), 1.0, 1e-4, progress=False)
    with pytest.warns(UnresolvedInterface):
        solve(AllenCahn(0.001), GRID, 5 * smooth, 8.0, 1e-4, progress=False)  # interfaces form


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (
            {"scheme": GaussSeidel(3, 4, 2), "strict": True},
            "strict: means the implicit scheme; leave it out, or leave scheme=",
        ),
        ({"scheme": Implicit(3), "strict": True}, "strict: means the implicit scheme; leave it out, or leave scheme=Implicit"),
        ({"scheme": GaussSeidel}, r"scheme: expected a scheme such as GaussSeidel\(3, 4, 2\), got <class "),
        ({"scheme": "implicit"}, r"scheme: expected a scheme such as GaussSeidel\(3, 4, 2\), got 'implicit'"),
    ],
)
def test_a_scheme_that_cannot_be_is_told_before_the_run(choices, message):
    with pytest.raises(ValueError, match=message):
        solve(AllenCahn(0.1), GRID, 0.1 * GRID.coordinates()[0].mul(2).cos(), 1.0, **choices)
