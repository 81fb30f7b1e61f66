"""pySDC: spectral deferred corrections on Radau nodes with its own implicit-explicit Allen–Cahn problem by Fourier transforms.

Its field is (1 + u) / 2 and its equation v_t = Δv − (2/ε²) v(1 − v)(1 − 2v), so that its time is κ times ours where ε² = κ.
"""

# pyright: reportMissingImports=false
import logging

import numpy as np
from pySDC.implementations.controller_classes.controller_nonMPI import controller_nonMPI
from pySDC.implementations.problem_classes.AllenCahn_2D_FFT import allencahn2d_imex
from pySDC.implementations.sweeper_classes.imex_1st_order import imex_1st_order
from serve import Run, Setting, serve

KAPPA = 0.01


def allen_cahn(nodes: int, sweeps: int, steps: int) -> Setting:
    def prepare(start: np.ndarray, end: float) -> Run:
        description = {
            "problem_class": allencahn2d_imex,
            "problem_params": {"nvars": start.shape, "nu": 2, "eps": KAPPA**0.5, "radius": 0.25, "L": 2 * np.pi},
            "sweeper_class": imex_1st_order,
            "sweeper_params": {"quad_type": "RADAU-RIGHT", "num_nodes": nodes, "QI": "LU", "initial_guess": "spread"},
            "level_params": {"dt": KAPPA * end / steps, "restol": -1},
            "step_params": {"maxiter": sweeps},
        }
        controller = controller_nonMPI(1, {"logger_level": 90}, description)
        problem = controller.MS[0].levels[0].prob

        def run() -> np.ndarray:
            field = problem.dtype_u(problem.init)
            field[:] = (1 + start) / 2
            return 2 * np.asarray(controller.run(u0=field, t0=0.0, Tend=KAPPA * end)[0]) - 1

        return run

    return prepare


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    choices = [(3, 3, 16), (3, 3, 32), (3, 5, 16), (3, 5, 32), (3, 5, 64), (4, 7, 16), (4, 7, 32)]
    serve("pySDC", {"few waves": {f"{m} nodes, {k} sweeps, {n} steps": allen_cahn(m, k, n) for m, k, n in choices}})
