"""An integrator in numpy and scipy that shares no code with the engine: what the audit holds the engine's answers against.

The flow is the system of ordinary differential equations of its grid, u_t = -G (L u + f(u)) with G and L diagonal in the waves
of the box. An explicit method of order 8 takes it from each wanted time to the next, so that nothing is interpolated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from scipy.integrate import solve_ivp

Array = np.ndarray
Symbol = Callable[[Array], Array]

STABLE = 3.0
"""Most of step x stiffness. Stable up to 6.4, the method damps waves and tells its error well at half of that."""

LINES: dict[str, Any] = {"neumann": (scipy.fft.dct, scipy.fft.idct, 2), "dirichlet": (scipy.fft.dst, scipy.fft.idst, 1)}
"""The transforms of an axis between walls, and their type in scipy."""


@dataclass(frozen=True)
class Box:
    """Points, lengths and boundaries of each axis."""

    points: tuple[int, ...]
    lengths: tuple[float, ...]
    boundaries: tuple[str, ...]

    @property
    def periodic(self) -> list[int]:
        return [axis for axis, boundary in enumerate(self.boundaries) if boundary == "periodic"]

    def squares(self) -> Array:
        """|k|^2 of every wave."""
        total = np.zeros(())
        for axis, (n, length, boundary) in enumerate(zip(self.points, self.lengths, self.boundaries, strict=True)):
            if boundary == "periodic":
                whole = scipy.fft.rfftfreq if axis == self.periodic[-1] else scipy.fft.fftfreq
                line = whole(n, 1 / n) * 2 * np.pi / length
            else:
                line = (np.arange(n) + (boundary == "dirichlet")) * np.pi / length
            total = total[..., None] + line**2
        return total

    def coordinates(self) -> list[Array]:
        """The points' places, ready to broadcast: 0, h, .. where periodic, h/2, .. and h, .. between walls."""
        places = []
        for n, length, boundary in zip(self.points, self.lengths, self.boundaries, strict=True):
            shift = {"periodic": 0.0, "neumann": 0.5, "dirichlet": 1.0}[boundary]
            places.append((np.arange(n) + shift) * length / (n + (boundary == "dirichlet")))
        return list(np.meshgrid(*places, indexing="ij", sparse=True))

    def waves(self, u: Array) -> Array:
        """The waves of fields `[..., *points]`."""
        for axis, boundary in self._from_the_last():
            if boundary in LINES:
                u = LINES[boundary][0](u, type=LINES[boundary][2], axis=axis)
        axes = [axis - len(self.points) for axis in self.periodic]
        return np.asarray(scipy.fft.rfftn(u, axes=axes)) if axes else u

    def field(self, waves: Array) -> Array:
        """The fields of waves."""
        axes = [axis - len(self.points) for axis in self.periodic]
        if axes:
            waves = np.asarray(scipy.fft.irfftn(waves, s=[self.points[axis] for axis in axes], axes=axes))
        for axis, boundary in self._from_the_last():
            if boundary in LINES:
                waves = LINES[boundary][1](waves, type=LINES[boundary][2], axis=axis)
        return waves

    def _from_the_last(self) -> list[tuple[int, str]]:
        """The axes, counted from the last, and their boundaries."""
        return [(axis - len(self.points), boundary) for axis, boundary in enumerate(self.boundaries)]


@dataclass(frozen=True)
class System:
    """u_t = -G (L u + f(u)) on a box."""

    box: Box
    mobility: Symbol
    linear: Symbol
    f: Callable[[Array], Array]

    def stiffness(self) -> float:
        """The greatest G L."""
        k2 = self.box.squares()
        return float((self.mobility(k2) * self.linear(k2)).max())

    def at(self, u0: Array, times: Sequence[float], accuracy: float = 1e-13) -> Array:
        """The fields at rising times, `[times, *points]`."""
        k2 = self.box.squares()
        G, L = self.mobility(k2), self.linear(k2)

        def speed(t: float, u: Array) -> Array:
            u = u.reshape(self.box.points)
            waves, driven = self.box.waves(np.stack([u, self.f(u)]))  # in one call, which costs as much as small transforms
            return self.box.field(-G * (L * waves + driven)).ravel()

        # Beyond this step the fastest waves are not damped, which the first step after a time that was asked for need not notice.
        stable = STABLE / self.stiffness()
        fields, now, u = [], 0.0, u0.ravel()
        for time in times:
            with np.errstate(over="ignore", invalid="ignore"):  # steps that are tried and rejected
                run = solve_ivp(
                    *(speed, (now, time), u), method="DOP853", t_eval=[time], rtol=accuracy, atol=accuracy / 10, max_step=stable
                )
            if not run.success:
                raise ArithmeticError(f"reference: {run.message}")
            now, u = time, run.y[:, -1]
            fields.append(u.reshape(self.box.points))
        return np.array(fields)
