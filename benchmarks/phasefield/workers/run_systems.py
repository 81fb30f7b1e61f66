"""diffrax on the systems of the engine's benchmark: `python run_systems.py PROBLEM SIZE END TOLERANCE...`.

It answers one JSON line `{seconds, end}` for every tolerance, timed after a run that compiles. Tsit5 solves the reaction, for
whose Jacobian diffrax's implicit methods have no sparse matrix, and Dopri8 the chain.
"""

# pyright: reportMissingImports=false
import json
import sys
import time
from collections.abc import Callable

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

Problem = tuple[Callable, np.ndarray, diffrax.AbstractSolver]


def brusselator(points: int) -> Problem:
    factor = 0.1 * points**2
    x = (np.arange(points) / points)[:, None] + np.zeros(points)
    start = np.stack([22 * x.T * (1 - x.T) ** 1.5, 27 * x * (1 - x) ** 1.5])

    def rate(t: float, w: jax.Array, _: None) -> jax.Array:
        around = jnp.roll(w, 1, -1) + jnp.roll(w, -1, -1) + jnp.roll(w, 1, -2) + jnp.roll(w, -1, -2) - 4 * w
        made = w[0] * w[0] * w[1]
        return jnp.stack([1 + made - 4.4 * w[0], 3.4 * w[0] - made]) + factor * around

    return rate, start, diffrax.Tsit5()


def chain(masses: int) -> Problem:
    start = np.concatenate([4 * np.sin(np.pi * np.arange(1, masses + 1) / (masses + 1)), np.zeros(masses)])

    def rate(t: float, w: jax.Array, _: None) -> jax.Array:
        r = jnp.diff(jnp.pad(w[:masses], 1))
        return jnp.concatenate([w[masses:], jnp.diff(r + 0.25 * r**3)])

    return rate, start, diffrax.Dopri8()


def main() -> None:
    problem, size, end, *tolerances = sys.argv[1:]
    rate, start, solver = {"brusselator": brusselator, "chain": chain}[problem](int(size))
    for tolerance in map(float, tolerances):
        controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)

        @jax.jit
        def march(u: jax.Array, controller: diffrax.PIDController = controller) -> jax.Array:
            return diffrax.diffeqsolve(
                diffrax.ODETerm(rate),
                solver,
                *(0.0, float(end), 1e-4, u),
                stepsize_controller=controller,
                max_steps=1_000_000,
                saveat=diffrax.SaveAt(t1=True),
                throw=False,
            ).ys[0]

        field = jnp.asarray(start)
        march(field).block_until_ready()
        cpu, wall = time.process_time(), time.perf_counter()
        found = march(field).block_until_ready()
        seconds = min(time.process_time() - cpu, time.perf_counter() - wall)
        print(json.dumps({"seconds": seconds, "end": np.asarray(found).ravel().tolist()}), flush=True)


if __name__ == "__main__":
    main()
