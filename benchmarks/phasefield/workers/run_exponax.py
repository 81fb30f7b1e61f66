"""exponax: exponential time differencing with fixed steps, its own Allen–Cahn and Cahn–Hilliard steppers, compiled as a whole."""

# pyright: reportMissingImports=false
import exponax
import jax
import jax.numpy as jnp
import numpy as np
from serve import Run, Setting, serve

KAPPA, LENGTH = 0.01, 2 * np.pi


def compiled(stepper: exponax.BaseStepper, start: np.ndarray, steps: int) -> Run:
    march = jax.jit(exponax.repeat(stepper, steps))
    field = jnp.asarray(start)[None]
    return lambda: np.asarray(march(field))[0]


def allen_cahn(steps: int) -> Setting:
    def prepare(start: np.ndarray, end: float) -> Run:
        stepper = exponax.stepper.reaction.AllenCahn(
            *(2, LENGTH, len(start), end / steps),
            diffusivity=KAPPA,
            first_order_coefficient=1.0,
            third_order_coefficient=-1.0,
            order=4,
            dealiasing_fraction=1.0,
        )
        return compiled(stepper, start, steps)

    return prepare


def cahn_hilliard(steps: int) -> Setting:
    def prepare(start: np.ndarray, end: float) -> Run:
        stepper = exponax.stepper.reaction.CahnHilliard(
            *(2, LENGTH, len(start), end / steps), diffusivity=1.0, gamma=KAPPA, order=4, dealiasing_fraction=1.0
        )
        return compiled(stepper, start, steps)

    return prepare


if __name__ == "__main__":
    problems = {
        "few waves": {f"ETDRK4, {n} steps": allen_cahn(n) for n in (32, 64, 96, 128, 192, 256)},
        "Cahn-Hilliard": {f"ETDRK4, {n} steps": cahn_hilliard(n) for n in (320, 640, 1280, 2560)},
    }
    serve("exponax", problems)
