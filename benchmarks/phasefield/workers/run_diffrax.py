"""diffrax: explicit Tsit5 with its step controller, the right-hand side by real Fourier transforms, compiled as a whole."""

# pyright: reportMissingImports=false
import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from serve import Run, Setting, serve, squared_wave_numbers

KAPPA = 0.01


def allen_cahn(tolerance: float) -> Setting:
    def prepare(start: np.ndarray, end: float) -> Run:
        shape = start.shape
        diffusion = jnp.asarray(-KAPPA * squared_wave_numbers(len(start)))

        def right(t: float, u: jax.Array, _: None) -> jax.Array:
            return jnp.fft.irfft2(diffusion * jnp.fft.rfft2(u), s=shape) + u - u**3

        controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)

        @jax.jit
        def march(u: jax.Array) -> jax.Array:
            term, only_the_end = diffrax.ODETerm(right), diffrax.SaveAt(t1=True)
            solution = diffrax.diffeqsolve(
                *(term, diffrax.Tsit5(), 0.0, end, 0.01, u),
                stepsize_controller=controller,
                max_steps=100_000,
                saveat=only_the_end,
            )
            return solution.ys

        field = jnp.asarray(start)
        return lambda: np.asarray(march(field))[0]

    return prepare


if __name__ == "__main__":
    tolerances = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
    serve("diffrax", {"few waves": {f"Tsit5, tolerance {t:.0e}": allen_cahn(t) for t in tolerances}})
