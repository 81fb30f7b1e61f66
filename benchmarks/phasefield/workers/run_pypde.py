"""py-pde: second-order finite differences on the same grid, with its own solvers; its points are the centres of the cells."""

# pyright: reportMissingImports=false
import numpy as np
import pde
from serve import Run, Setting, serve

KAPPA = 0.01
CAHN_HILLIARD_STEP = 1.5e-5
"""Euler's limit is 2 / (κ (8/h²)²) = 1.8e-5 on 128² points; py-pde's adaptive solvers take five times as long."""


def shifted(field: np.ndarray, cells: float) -> np.ndarray:
    """The same trigonometric polynomial, read `cells` grid widths further along both axes."""
    k = np.fft.fftfreq(len(field), 1 / len(field))
    phase = np.exp(2j * np.pi * cells / len(field) * (k[:, None] + k))
    return np.real(np.fft.ifft2(np.fft.fft2(field) * phase))


def setting(equation: pde.PDEBase, solver: str, **options: float | bool) -> Setting:
    def prepare(start: np.ndarray, end: float) -> Run:
        grid = pde.CartesianGrid([[0, 2 * np.pi]] * 2, len(start), periodic=True)
        field = pde.ScalarField(grid, shifted(start, 0.5))
        return lambda: shifted(equation.solve(field, t_range=end, tracker=None, solver=solver, **options).data, -0.5)

    return prepare


if __name__ == "__main__":
    allen_cahn = pde.PDE({"c": f"{KAPPA} * laplace(c) + c - c**3"}, bc="auto_periodic_neumann")
    cahn_hilliard = pde.CahnHilliardPDE(interface_width=KAPPA)
    problems = {
        "few waves": {
            "scipy": setting(allen_cahn, "scipy"),
            "Adams–Bashforth, step 0.02": setting(allen_cahn, "adams-bashforth", dt=0.02),
        },
        "Cahn-Hilliard": {
            f"Euler, step {CAHN_HILLIARD_STEP}": setting(cahn_hilliard, "euler", dt=CAHN_HILLIARD_STEP),
        },
    }
    serve("py-pde", problems)
