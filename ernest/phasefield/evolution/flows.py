"""Flows whose coefficients vary, of one field or several, with walls that hold something, and with noise in time.

    E(u, t) = integral of  sum over fields and axes of kappa/2 (du/dx)^2  +  F(u, x, t),       mu_i = dE/du_i,
    u_t = -sum of M_ij mu_j,   or  u_t = sum of div(M_ij grad mu_j)  for a conserved field,    + forcing + noise.

A coefficient is a number, an array `[*points]`, or a function (u, x, t) of torch operations: `u` is the field, or the tuple of
fields where there are several, `x` the tuple of coordinates and `t` the time, all tensors that broadcast against each other.
Functions are taken on the faces between the points, where arrays are the means of their neighbours (of order 2 in space).
They are solved by `EnergeticElements` (evolution/elements.py), which keeps the energy law of every such flow whose energy
does not itself depend on time: mobilities may depend on anything.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import numpy as np
from torch import Tensor

from ernest.phasefield.evolution.given import Function, check_functions, check_matrix, check_wall_functions
from ernest.phasefield.evolution.walls import Inflow, Slope, Walls, as_function, check_walls
from ernest.phasefield.grid import Grid, Space
from ernest.phasefield.numeric import number_or_none, whole
from ernest.phasefield.potentials import Potential

Coefficient = float | Tensor | Function


@dataclass(frozen=True)
class Noise:
    """White noise in time and space: sqrt(2 T M) in every point (or face, for a conserved field) with `temperature` T.

    This is the noise in balance with the dissipation, so that E is distributed like exp(-E/T). With `strength`, a coefficient,
    that times white noise instead (or the divergence of it), by Ito where it depends on u. The variance of a number is divided
    by the volume of its cell, so that the noise of a wave is the same on every grid. The numbers of step n follow from `seed`
    and n alone: a run that is resumed has those of one that never stopped.
    """

    temperature: float | None = None
    strength: Coefficient | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.temperature is None) == (self.strength is None):
            raise ValueError("noise: expected either a temperature or a strength")
        object.__setattr__(self, "temperature", number_or_none("noise temperature", self.temperature))
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise ValueError(f"noise temperature: expected a number of 0 or more, got {self.temperature}")
        if not isinstance(self.seed, Integral) or isinstance(self.seed, bool) or not 0 <= self.seed < 2**63:
            raise ValueError(f"noise seed: expected a whole number of 0 or more, got {self.seed!r}")
        object.__setattr__(self, "seed", int(self.seed))


@dataclass(frozen=True)
class CoupledFlow:
    """Several fields `[..., fields, *points]` with a joint potential F(u, x, t), a function of torch operations.

    `kappa` and `conserved` have an entry for each field; a kappa may be a tuple with one for each axis, or a tensor, a tuple of
    rows: the energy is half the sum of kappa_ab du/da du/db then, a and b periodic where it is not zero. `mobility` has one for
    each field, or a row of them for each: a symmetric matrix that is nowhere negative, between fields that are all conserved
    or all not. `degree` is that of the energy in u where it is a polynomial: then the quadrature in time is exact.
    `walls` and `potential_walls` have an entry, or None, for each field: what u and what mu hold.
    """

    potential: Function | Potential
    kappa: tuple[Any, ...]
    mobility: tuple[Any, ...]
    conserved: tuple[bool, ...]
    degree: int | None = None
    forcing: Function | None = field(default=None, kw_only=True)
    walls: tuple[Walls | None, ...] = field(default=(), kw_only=True)
    potential_walls: tuple[Walls | None, ...] = field(default=(), kw_only=True)
    noise: Noise | None = field(default=None, kw_only=True)
    single: bool = field(default=False, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        _check_entries(self)
        rows = _mobility_rows(self.mobility)
        _check_joined(self, [(i, j) for i, row in enumerate(rows) for j, one in enumerate(row) if i != j and not _is_zero(one)])
        object.__setattr__(self, "mobility", rows)

    @property
    def fields(self) -> int:
        """How many fields there are."""
        return len(self.conserved)

    def check_on(self, grid: Space, u0: Tensor) -> None:
        """Raise ValueError unless the flow fits the grid and the fields `u0`."""
        if not isinstance(grid, Grid):
            raise ValueError(
                f"grid: flows with varying coefficients, walls or several fields need a Grid, got {type(grid).__name__}"
            )
        grid.check_field(u0, "u0")
        axis = u0.ndim - grid.dimensions - 1
        if not self.single and (axis < 0 or u0.shape[axis] != self.fields):
            raise ValueError(f"u0: expected [.., {self.fields} fields, *points], got {list(u0.shape)}")
        if isinstance(self.potential, Potential):
            low, high = self.potential.domain
            if not bool(((u0 > low) & (u0 < high)).all()):
                span = f"{float(u0.min())} to {float(u0.max())}"
                raise ValueError(f"u0: expected values inside the potential's domain {low} < u < {high}, got {span}")
        for name, of_neumann, fields in (("walls", Slope, self.walls), ("potential_walls", Inflow, self.potential_walls)):
            for walls in fields:
                check_walls(name, walls or {}, of_neumann, grid)
        check_functions(self._functions(), self.single, grid, u0)
        if any(callable(one) for i, row in enumerate(self.mobility) for j, one in enumerate(row) if i != j):
            check_matrix(self.mobility, grid, u0)
        check_wall_functions(self._wall_functions(), self.single, grid, u0)

    def _functions(self) -> Iterator[tuple[str, Function]]:
        """The functions (u, x, t) by the names of what they give; those of walls are taken elsewhere."""
        if not isinstance(self.potential, Potential):
            yield "potential", self.potential
        strength = self.noise.strength if self.noise is not None else None
        coefficients = (("kappa", self.kappa), ("mobility", self.mobility), ("forcing", self.forcing), ("noise", strength))
        for name, coefficient in coefficients:
            yield from ((name, one) for one in _flat(coefficient) if callable(one))

    def _wall_functions(self) -> Iterator[tuple[str, int, int, Function]]:
        """The functions of walls, each with its name, its axis and the end of that."""
        of_walls = [("walls", walls) for walls in self.walls] + [("potential_walls", walls) for walls in self.potential_walls]
        for name, walls in of_walls:
            for axis, pair in (walls or {}).items():
                called = [(end, wall) for end, wall in enumerate(pair) if callable(wall.of)]
                yield from (
                    (f"{name}: axis {axis}, {'first' if end == 0 else 'last'} end", axis, end, as_function(wall))
                    for end, wall in called
                )


def _check_entries(flow: CoupledFlow) -> None:
    """Raises ValueError unless potential, forcing and noise are such and each field has what it needs."""
    if flow.forcing is not None and not callable(flow.forcing):
        raise ValueError(f"forcing: expected a function (u, x, t), got {flow.forcing!r}")
    if flow.noise is not None and not isinstance(flow.noise, Noise):
        raise ValueError(f"noise: expected Noise(temperature=...) or Noise(strength=...), got {flow.noise!r}")
    if flow.degree is not None and whole("degree", flow.degree) < 1:
        raise ValueError(f"degree: expected that of the energy in u, 1 or more, or None, got {flow.degree!r}")
    if not hasattr(flow.conserved, "__len__") or any(isinstance(one, str) or one not in (0, 1) for one in flow.conserved):
        raise ValueError(f"coupled flow: conserved: expected True or False for each field, got {flow.conserved!r}")
    if not callable(flow.potential) and not (flow.single and isinstance(flow.potential, Potential)):
        what = "a Potential or a function" if flow.single else "a function"
        raise ValueError(f"potential: expected {what} F(u, x, t), got {flow.potential!r}")
    for name, given in (("kappa", flow.kappa), ("mobility", flow.mobility)):
        if not isinstance(given, tuple) or len(given) != flow.fields:
            raise ValueError(f"coupled flow: {name}: expected a tuple of {flow.fields}, one for each field, got {given!r}")
    for name, given in (("walls", flow.walls), ("potential_walls", flow.potential_walls)):
        if len(given) not in (0, flow.fields):
            raise ValueError(f"coupled flow: {name}: expected {flow.fields} entries, one for each field, got {given!r}")
        for walls in given:
            if walls is not None and not isinstance(walls, dict):
                raise ValueError(f"{name}: expected the walls of each axis, {{0: (one at 0, one at the end)}}, got {walls!r}")


def _mobility_rows(mobility: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
    """The matrix, whose rows may be given by their diagonal alone. Raises ValueError for numbers that are no mobility."""
    n = len(mobility)
    rows = tuple(
        row if isinstance(row, tuple) else tuple(row if i == j else 0.0 for j in range(n)) for i, row in enumerate(mobility)
    )
    if any(len(row) != n for row in rows):
        raise ValueError(f"coupled flow: mobility: expected rows of {n}, got {mobility!r}")
    if all(isinstance(one, Real) for row in rows for one in row):
        matrix = np.array(rows, dtype=float)
        if not np.allclose(matrix, matrix.T) or not np.linalg.eigvalsh(matrix).min() >= -1e-12 * abs(matrix).max():
            raise ValueError(f"coupled flow: mobility: expected a symmetric matrix that is nowhere negative, got {mobility!r}")
    return rows


def _check_joined(flow: CoupledFlow, joined: list[tuple[int, int]]) -> None:
    """Raises ValueError unless walls of mu, noise and the pairs of fields that a mobility joins suit what is conserved."""
    of_mu = zip(flow.potential_walls, flow.conserved, strict=bool(flow.potential_walls))
    if any(walls and not conserved for walls, conserved in of_mu):
        raise ValueError("potential_walls: expected them for conserved fields only; others have walls of their own")
    for i, j in joined:
        if flow.conserved[i] != flow.conserved[j]:
            raise ValueError(f"coupled flow: mobility: fields {i} and {j} are not of one kind, so their entry must be 0")
    if flow.noise is not None and flow.noise.temperature is not None and joined:
        raise ValueError("noise: a temperature needs mobilities without entries between fields; give a strength instead")


def _is_zero(coefficient: Any) -> bool:
    return isinstance(coefficient, Real) and coefficient == 0


@dataclass(frozen=True)
class VariableFlow:
    """One field with coefficients that vary: u_t = -M mu, or div(M grad mu) if `conserved`; see the fields of `CoupledFlow`.

    `kappa` and, if conserved, `mobility` may be a tuple with one coefficient for each axis, `kappa` a tensor, a tuple of rows.
    `potential` is a `Potential` or a function F(u, x, t): a quench depth that changes is a function of t in it.
    """

    potential: Function | Potential
    kappa: Any
    mobility: Any = 1.0
    conserved: bool = False
    degree: int | None = None
    forcing: Function | None = field(default=None, kw_only=True)
    walls: Walls | None = field(default=None, kw_only=True)
    potential_walls: Walls | None = field(default=None, kw_only=True)
    noise: Noise | None = field(default=None, kw_only=True)

    def coupled(self) -> CoupledFlow:
        """The same flow as one of a single field."""
        return CoupledFlow(
            self.potential,
            (self.kappa,),
            ((PerAxis(self.mobility) if isinstance(self.mobility, tuple) else self.mobility,),),
            (self.conserved,),
            self.degree,
            forcing=self.forcing,
            walls=(self.walls,),
            potential_walls=(self.potential_walls,),
            noise=self.noise,
            single=True,
        )

    def check_on(self, grid: Space, u0: Tensor) -> None:
        """Raise ValueError unless the flow fits the grid and the fields `u0`."""
        self.coupled().check_on(grid, u0)


@dataclass(frozen=True)
class PerAxis:
    """A mobility that differs between the axes."""

    of: tuple[Any, ...]


def _flat(coefficient: Any) -> list[Any]:
    coefficient = coefficient.of if isinstance(coefficient, PerAxis) else coefficient
    return [one for part in coefficient for one in _flat(part)] if isinstance(coefficient, tuple) else [coefficient]
