import math

import numpy as np
import pytest
import torch

from ernest.phasefield import (
    AllenCahn,
    CahnHilliard,
    ConservativeAllenCahn,
    DoubleWell,
    FloryHugginsAllenCahn,
    FloryHugginsCahnHilliard,
    GradientFlow,
    Grid,
    OhtaKawasaki,
    PhaseFieldCrystal,
    SwiftHohenberg,
    energy_of,
    mass_of,
)
from ernest.phasefield.flow_terms import check_flow, forcing_modes, velocity
from tests.phasefield.problems import noise

GRID = Grid((12, 16), (2 * math.pi, 4 * math.pi))
FLOWS = [
    AllenCahn(0.1, 1.5, 2.0),
    ConservativeAllenCahn(0.1, 1.5, 2.0),
    CahnHilliard(0.1, 1.5, 2.0),
    SwiftHohenberg(0.25, 2.0),
    PhaseFieldCrystal(0.25, 2.0),
    OhtaKawasaki(0.1, 0.3, 1.5, 2.0),
    FloryHugginsAllenCahn(0.1, 0.8, 1.6),
    FloryHugginsCahnHilliard(0.1, 0.8, 1.6),
    GradientFlow(lambda k2: 1 / (1 + k2), lambda k2: 0.1 * k2, DoubleWell()),
]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: type(flow).__name__)
@pytest.mark.parametrize("boundary", ["periodic", "neumann"])
def test_velocity_descends_the_energy(flow, boundary):
    # The gradient of the discrete energy is cell times dE/du, and u_t is minus G times that.
    grid = Grid(GRID.points, GRID.lengths, boundary)
    u = noise(grid, 4, 0.8).requires_grad_()
    (gradient,) = torch.autograd.grad(energy_of(u, flow, grid), u)
    expected = -grid.field(flow.mobility(grid.squared_wavenumbers()) * grid.modes(gradient / grid.cell))
    assert torch.allclose(grid.field(velocity(grid.modes(u), flow, grid)), expected, atol=1e-11)


def test_flows_are_the_equations_of_their_docstrings():
    grid = Grid.cube(16, 2 * math.pi, 1)
    (x,) = grid.coordinates()
    u = 0.3 * x.cos()

    def laplace(v: torch.Tensor) -> torch.Tensor:
        return grid.field(-grid.squared_wavenumbers() * grid.modes(v))

    well = 1.5 * (u**3 - u)
    crystal = u**3 - 0.25 * u + u + 2 * laplace(u) + laplace(laplace(u))
    expected = {
        AllenCahn(0.1, 1.5, 2.0): 2 * (0.1 * laplace(u) - well),
        ConservativeAllenCahn(0.1, 1.5, 2.0): 2 * (0.1 * laplace(u) - well + well.mean()),
        CahnHilliard(0.1, 1.5, 2.0): 2 * laplace(well - 0.1 * laplace(u)),
        SwiftHohenberg(0.25): -crystal,
        PhaseFieldCrystal(0.25): laplace(crystal),
        # Without its mean u is (-Laplace) of A / k^2 u, and so A u leaves.
        OhtaKawasaki(0.1, 0.3, 1.5): laplace(well - 0.1 * laplace(u)) - 0.3 * u,
    }
    for flow, value in expected.items():
        assert torch.allclose(grid.field(velocity(grid.modes(u), flow, grid)), value, atol=1e-12), flow


def test_energy_of_a_wave_is_exact():
    x, _ = Grid.cube(32, 2 * math.pi).coordinates()
    grid = Grid.cube(32, 2 * math.pi)
    # For u = sin(3x): kappa/2 * 9 * mean(cos^2) + mean(cos^4) / 4.
    value = energy_of((3 * x).sin(), AllenCahn(0.1), grid) / grid.volume
    assert value.item() == pytest.approx(0.05 * 9 / 2 + 3 / 32, abs=1e-13)


def test_energy_on_a_dirichlet_grid_counts_the_ends():
    # For u = sin x on [0, pi]: kappa/2 * pi/2 + 1/4 * integral of cos^4 = 3 pi / 32, by the trapezoidal rule exactly.
    grid = Grid((15,), (math.pi,), "dirichlet")
    (x,) = grid.coordinates()
    value = energy_of(x.sin(), AllenCahn(0.1), grid)
    assert value.item() == pytest.approx(0.05 * math.pi / 2 + 3 * math.pi / 32, abs=1e-13)


def test_a_batch_of_parameters_gives_each_member_its_own():
    kappas = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    u = noise(GRID, 4, members=3)
    for one in (AllenCahn, ConservativeAllenCahn, CahnHilliard):
        together = energy_of(u, one(kappas), GRID)
        alone = [energy_of(u[i], one(kappas[i].item()), GRID) for i in range(3)]
        assert torch.allclose(together, torch.stack(alone), rtol=1e-13)
        assert one(kappas, gamma=kappas).mobility(GRID.squared_wavenumbers()).shape == (3, *GRID.mode_shape)


def test_mass_is_the_integral():
    assert mass_of(torch.full((3, *GRID.points), 0.5, dtype=torch.float64), GRID).tolist() == pytest.approx([GRID.volume / 2] * 3)


def test_flows_that_do_not_fit_are_refused():
    u = noise(GRID, 4)
    with pytest.raises(ValueError, match="Allen-Cahn: kappa must be positive, got kappa=-1"):
        AllenCahn(-1.0)
    with pytest.raises(ValueError, match="Cahn-Hilliard: kappa must be positive"):
        CahnHilliard(torch.tensor([0.1, 0.0]))
    dirichlet = Grid.cube(4, 1.0, 1, "dirichlet")
    with pytest.raises(ValueError, match="its mean is no mode of a Dirichlet grid"):
        check_flow(ConservativeAllenCahn(0.1), dirichlet, torch.zeros(4))
    with pytest.raises(ValueError, match="mobility: expected a real symbol"):
        check_flow(GradientFlow(lambda k2: k2[:3], lambda k2: k2, DoubleWell()), GRID, u)
    with pytest.raises(ValueError, match="linear: expected a symbol that is finite and nowhere negative"):
        check_flow(GradientFlow(lambda k2: k2, lambda k2: 1 - k2, DoubleWell()), GRID, u)
    with pytest.raises(ValueError, match="linear: expected a symbol that is finite"):
        check_flow(GradientFlow(lambda k2: k2, lambda k2: 1 / k2, DoubleWell()), GRID, u)
    with pytest.raises(ValueError, match="linear: expected one value for each of the members"):
        check_flow(AllenCahn(torch.ones(2)), GRID, noise(GRID, 4, members=3))
    with pytest.raises(ValueError, match="inside the potential's domain"):
        check_flow(FloryHugginsAllenCahn(0.1, 0.8, 1.6), GRID, 1.2 * u)


def test_constants_are_numbers_of_any_library():
    u = noise(GRID, 4, members=2)
    expected = energy_of(u, AllenCahn(torch.tensor([0.1, 0.2], dtype=torch.float64), s=1.5), GRID)
    for kappa in ([0.1, 0.2], (0.1, 0.2), np.array([0.1, 0.2])):
        assert torch.equal(energy_of(u, AllenCahn(kappa, s=np.float64(1.5)), GRID), expected)
    for number in (2, np.int64(2), np.float32(2), np.array(2.0), torch.tensor(2), torch.tensor(2.0)):
        flow = OhtaKawasaki(number, A=number, s=number, gamma=number)
        assert (flow.kappa, flow.A, flow.s, flow.gamma) == (2.0, 2.0, 2.0, 2.0)
        assert type(flow.s) is float
    kappa = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    energy_of(u[0], AllenCahn(kappa), GRID).backward()
    assert kappa.grad is not None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AllenCahn("0.1"), "Allen-Cahn: kappa: expected a number, or one for each member of a batch, got '0.1'"),
        (lambda: AllenCahn(None), "kappa: expected a number, or one for each member of a batch, got None"),
        (lambda: AllenCahn(1j), "kappa: expected a number"),
        (lambda: AllenCahn([]), "kappa: expected a number, or one for each member of a batch, got"),
        (lambda: AllenCahn(np.ones((2, 2))), r"kappa: expected .*, got one of shape \[2, 2\]"),
        (lambda: AllenCahn(0.1, s=[1.0, 2.0]), r"Allen-Cahn: s: expected one number, got one of shape \[2\]"),
        (lambda: SwiftHohenberg(math.nan), "Swift-Hohenberg: r must be finite, got r=nan"),
        (lambda: AllenCahn([0.1, -0.2]), r"kappa must be positive, got kappa=\[0.1, -0.2\]"),
        (lambda: AllenCahn(0.1, forcing=1.0), "forcing: expected a function of .*, got 1.0"),
        (lambda: GradientFlow("k2", 0.1, DoubleWell()), "mobility: expected a function of .* or a number, got 'k2'"),
    ],
)
def test_what_is_no_constant_is_named_in_one_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_flow_keeps_the_constants_that_it_was_given():
    for make in (torch.tensor, np.array):
        kappa = make([0.1, 0.2])
        flow = AllenCahn(kappa)
        kappa[1] = 9.0
        assert flow.kappa.tolist() == pytest.approx([0.1, 0.2])


def test_symbols_may_be_numbers():
    u, k2 = noise(GRID, 4), GRID.squared_wavenumbers()
    flow = GradientFlow(lambda k2: 2.0, 0.5, DoubleWell())
    assert flow.mobility(k2).tolist() == torch.full_like(k2, 2.0).tolist()
    same = GradientFlow(lambda k2: 2.0 * torch.ones_like(k2), lambda k2: 0.5 * torch.ones_like(k2), DoubleWell())
    assert torch.equal(velocity(GRID.modes(u), flow, GRID), velocity(GRID.modes(u), same, GRID))
    check_flow(flow, GRID, u)
    with pytest.raises(ValueError, match=r"potential: expected a potential such as DoubleWell\(\), got <class"):
        check_flow(GradientFlow(1.0, 0.5, DoubleWell), GRID, u)
    with pytest.raises(ValueError, match=r"flow: expected a flow such as AllenCahn\(kappa=0.01\), got <class"):
        check_flow(AllenCahn, GRID, u)


def test_a_forcing_may_be_written_for_one_time_or_for_many():
    times = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    many = forcing_modes(AllenCahn(0.1, forcing=lambda t, c: torch.sin(t) * c[0]), GRID, times)
    one = forcing_modes(AllenCahn(0.1, forcing=lambda t, c: math.sin(t) * c[0]), GRID, times)
    assert torch.allclose(one, many, atol=1e-13)
    switched = forcing_modes(AllenCahn(0.1, forcing=lambda t, c: 1.0 if t > 0.5 else 0.0), GRID, times)
    assert torch.allclose(GRID.field(switched)[:, 0, 0], torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    number = forcing_modes(AllenCahn(0.1, forcing=lambda t, c: 3), GRID, times)
    assert torch.allclose(GRID.field(number), torch.full((3, *GRID.points), 3.0, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"forcing: expected values that broadcast to \[3, 12, 16\], got \[5\]"):
        forcing_modes(AllenCahn(0.1, forcing=lambda t, c: torch.ones(5)), GRID, times)
    with pytest.raises(ValueError, match=r"forcing: expected a function of \(time, coordinates\).* unsupported operand"):
        forcing_modes(AllenCahn(0.1, forcing=lambda t, c: t + "s"), GRID, times)
