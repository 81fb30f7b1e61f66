"""An alloy solidifies around two nuclei (model C) and pushes solute away.  `python examples/solidification.py [folder]`

The phase is 1 in the solid and -1 in the melt. The solid likes a concentration that is lower by 0.6, and solute moves by
diffusion only, a hundred times faster in the melt. With phase and concentration in one energy, that energy falls by exactly what
is dissipated, and the solute is all there at the end.
"""

import sys
from pathlib import Path

import torch

from ernest.phasefield import CoupledFlow, Grid, Solution, solve


def energy(u: tuple[torch.Tensor, torch.Tensor], x: tuple[torch.Tensor, ...], t: torch.Tensor) -> torch.Tensor:
    """A double well, tilted towards the solid, and a parabola about the concentration that the phase likes."""
    phase, c = u
    tilt = 0.25 * (phase**3 / 3 - phase)
    return (phase**2 - 1) ** 2 / 4 + tilt + 2 * (c + 0.3 * phase) ** 2


def diffusion(u: tuple[torch.Tensor, torch.Tensor], x: tuple[torch.Tensor, ...], t: torch.Tensor) -> torch.Tensor:
    """The mobility of the solute, between 0.01 in the solid and 1 in the melt."""
    return 0.505 - 0.495 * torch.tanh(3 * u[0])


def main(folder: Path, points: int = 48, t1: float = 6.0) -> Solution:
    """Solves it, and draws phase and concentration at the end."""
    from matplotlib.figure import Figure

    grid = Grid.cube(points, 24.0, boundary="neumann")
    x, y = grid.coordinates()
    distance = torch.minimum(torch.hypot(x - 8, y - 8), torch.hypot(x - 17, y - 15))
    phase = torch.tanh((3 - distance) / 2**0.5)
    u0 = torch.stack([phase, -0.1 - 0.3 * phase])
    flow = CoupledFlow(energy, kappa=(1.0, 0.1), mobility=(1.0, diffusion), conserved=(False, True))
    solution = solve(flow, grid, u0, t1, tolerance=1e-4)

    lost, fall = solution.mass[-1, 1] - solution.mass[0, 1], solution.energy[0] - solution.energy[-1]
    worst = float(torch.tensor([record.defect for record in solution.records[1:]]).abs().max())
    print(
        f"{len(solution.steps)} steps; energy falls by {fall:.4f}, its law holds to {worst / fall:.0e}, solute to {abs(lost):.0e}"
    )
    figure = Figure(figsize=(8, 4))
    for axes, field, name in zip(figure.subplots(1, 2), solution.end, ("phase", "concentration"), strict=True):
        axes.imshow(field.T.numpy(), origin="lower")
        axes.set_title(name)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "solidification.png")
    return solution


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/examples"))
