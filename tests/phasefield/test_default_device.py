"""The start's device decides where a run computes, whatever torch.set_default_device says: shown with the device "meta", which
every machine has and on which nothing can be computed."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch

from ernest.phasefield import (
    ETDRK4,
    IMEXBDF4,
    AllenCahn,
    CahnHilliard,
    Checkpoint,
    ConservativeAllenCahn,
    Event,
    FloryHugginsAllenCahn,
    GaussSeidel,
    GradientFlow,
    GradientSystem,
    Grid,
    Implicit,
    LegendreGrid,
    NewtonElement,
    Potential,
    SemiImplicit,
    Solution,
    SwiftHohenberg,
    dissipation,
    energy_of,
    initial_conditions,
    march,
    march_system,
    solve,
    timeelement,
)
from ernest.phasefield.io import take_snapshots

LINE, SQUARE = Grid((16,), (6.0,), "neumann"), Grid.cube(16, 2 * math.pi)
WALLS = Grid((16, 12), (6.0, 6.0), ("dirichlet", "periodic"))


@contextmanager
def elsewhere() -> Iterator[None]:
    """Tensors without a device of their own are on "meta", and no table of an earlier test is at hand."""
    timeelement.gauss.cache_clear()
    timeelement.nodal_basis.cache_clear()
    timeelement.radau.cache_clear()
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device("cpu")


class Wells(Potential):
    """The double well as a user writes it, with the range that it works in left to be found."""

    def F(self, u: torch.Tensor) -> torch.Tensor:
        return (u**2 - 1) ** 2 / 4

    def f(self, u: torch.Tensor) -> torch.Tensor:
        return u**3 - u

    def df(self, u: torch.Tensor) -> torch.Tensor:
        return 3 * u**2 - 1


def wavy(grid: Grid) -> torch.Tensor:
    return 0.4 * initial_conditions.spinodal_noise(grid, 0.5, waves=2)


RUNS: dict[str, Callable[[], Solution]] = {
    "line": partial(solve, AllenCahn(0.2), LINE, wavy(LINE), 0.5, 1e-4),
    "square": partial(solve, AllenCahn(0.2), SQUARE, wavy(SQUARE), 0.5, 1e-4, events=Event("zero", (3, 3))),
    "walls": partial(solve, AllenCahn(0.2), WALLS, wavy(WALLS), 0.5, 1e-4, memory=1.0),
    "batch": partial(solve, AllenCahn(torch.tensor([0.2, 0.3])), SQUARE, torch.stack([wavy(SQUARE)] * 2), 0.5, 1e-4),
    "conserved": partial(solve, ConservativeAllenCahn(0.2), SQUARE, wavy(SQUARE), 0.5, 1e-4, strict=True),
    "diffusive": partial(solve, CahnHilliard(0.2), SQUARE, wavy(SQUARE), 0.1, 1e-4),
    "logarithms": partial(solve, FloryHugginsAllenCahn(0.2, 0.5, 1.0), SQUARE, wavy(SQUARE), 0.1, 1e-4),
    "forced": partial(solve, AllenCahn(0.2, forcing=lambda t, x: torch.cos(t) + 0 * x[0]), SQUARE, wavy(SQUARE), 0.1, 1e-4),
    "rough": partial(solve, SwiftHohenberg(0.3), Grid.cube(16, 12.0), initial_conditions.spinodal_noise(SQUARE), 0.1, step=0.05),
    "at rest": partial(solve, AllenCahn(0.2), SQUARE, torch.ones(16, 16, dtype=torch.float64), 1e3, 1e-4),
    "a potential of one's own": partial(solve, GradientFlow(1.0, lambda k2: 0.2 * k2, Wells()), SQUARE, wavy(SQUARE), 0.5, 1e-4),
    "legendre": partial(solve, AllenCahn(0.2), LegendreGrid((8,), (6.0,)), wavy(Grid((18,), (6.0,), "neumann")), 0.1, 1e-4),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.filterwarnings("ignore::ernest.phasefield.UnresolvedInterface")
def test_a_run_is_the_same_whatever_the_default_device(name, tmp_path):
    keep = Checkpoint(tmp_path / "run.safetensors", steps=2)
    wanted = RUNS[name](progress=False)
    with elsewhere():
        run = RUNS[name](progress=False, checkpoint=keep)
        again = RUNS[name](progress=False, checkpoint=keep, resume=True)
        between, energy = run(0.04), energy_of(run.end, run.flow, run.grid)
        shown = take_snapshots(run, times=[0.0, 0.04]).fields[1] if isinstance(run.grid, Grid) else None
    assert run.end.device.type == "cpu"
    assert torch.equal(run.end, wanted.end)
    assert torch.equal(again.end, wanted.end)
    assert torch.equal(between, wanted(0.04))
    assert run.energy.tolist() == wanted.energy.tolist()
    assert run.occurrences == wanted.occurrences
    assert torch.equal(energy, energy_of(wanted.end, run.flow, run.grid))
    assert shown is None or (shown == wanted(0.04).reshape(-1, *run.grid.points)[0].numpy()).all()


SCHEMES = (GaussSeidel(3, 4, 2), SemiImplicit(3, 2), Implicit(2), Implicit(2, iteration="newton"), ETDRK4(), IMEXBDF4())


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_every_scheme_marches_where_the_start_is(scheme):
    flow, start = AllenCahn(0.2), wavy(SQUARE)
    *_, wanted = march(flow, SQUARE, start, [0.1, 0.1, 0.05], scheme)
    with elsewhere():
        *_, last = march(flow, SQUARE, start, [0.1, 0.1, 0.05], scheme)
        lost = dissipation(last, flow)
    assert torch.equal(last.end, wanted.end)
    assert torch.equal(lost, dissipation(wanted, flow))


def test_a_small_system_too():
    def energy(x: torch.Tensor) -> torch.Tensor:
        return (x**4).sum() / 4 + x[0] * x[1]

    system, start = GradientSystem(energy), torch.tensor([0.3, 0.5], dtype=torch.float64)
    *_, wanted = march_system(system, start, [0.1, 0.1], NewtonElement(2))
    with elsewhere():
        *_, last = march_system(system, start, [0.1, 0.1], NewtonElement(2))
    assert torch.equal(last.end, wanted.end)


def test_initial_fields_lie_on_the_default_device():
    with elsewhere():
        for field in (initial_conditions.circle(SQUARE, 0.2), wavy(SQUARE), initial_conditions.spinodal_noise(SQUARE)):
            assert field.device.type == "meta"
