"""Memory, symbols, FFT plans and kernels that the compiled steppers of one flow on one grid share.

Compiled (fused) steppers are for one field in float64 on a CPU, on a periodic grid, with a
polynomial potential. Every step writes its rows to memory that no state or element refers to, so these stay valid for
ever, and a rejected step is repeated from the old state.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.compiled.transforms import Array, Plan, fastest_plan
from ernest.phasefield.element import Time
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space, is_large
from ernest.phasefield.potentials import DoubleWell, Polynomial, Potential
from ernest.phasefield.schemes.splitting import Splitting, split
from ernest.phasefield.stepping import State
from ernest.phasefield.timeelement import gauss


@dataclass(frozen=True)
class Memory:
    """Rows of modes that the next steps need, oldest first: rows of N, and of defects where the scheme has some."""

    rows: tuple[Array, ...] = ()
    defects: tuple[Array, ...] = ()


class FusedState(State):
    """A state that refers to the rows of its stepper, and stacks them into `history` only when asked."""

    memory: Memory
    _workspace: "Workspace"

    def __init__(
        self, time: Time, modes: Tensor, taus: tuple[Time, ...], count: int, memory: Memory, workspace: "Workspace"
    ) -> None:
        values = {"time": time, "modes": modes, "taus": taus, "count": count, "memory": memory, "_workspace": workspace}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def history(self) -> Tensor | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Rows `[rows, *mode_shape]`, in the order of the torch steppers."""
        rows = (*self.memory.rows, *self.memory.defects)
        # `has_history` tells whether there is one without stacking the rows.
        return self._workspace.stack(rows) if rows else None

    @property
    def has_history(self) -> bool:
        return bool(self.memory.rows)


class Loan:
    """Memory on loan from a pool: the base of every array and tensor on it, so that it goes back when none is left."""

    __slots__ = ("__array_interface__", "_lent", "_pool")

    def __init__(self, lent: tuple[Array, dict[str, Any]], pool: list[tuple[Array, dict[str, Any]]]) -> None:
        self._lent, self._pool = lent, pool
        self.__array_interface__ = lent[1]

    def __del__(self) -> None:
        self._pool.append(self._lent)


@dataclass(frozen=True)
class Workspace:
    """Arrays, FFT plan and kernels for one flow, grid and stabilisation.

    Modes are arrays `[rows, columns]`; the symbols keep rows of different |k| only, and `fold` `[rows]` gives the symbols' row
    for each row.
    `reaction` are the coefficients of N(u) = f(u) - S u, constant first; `pools` hold what memory is not on loan, with its
    description for numpy.
    """

    splitting: Splitting
    stiffness: Array
    mobility: Array
    linear: Array
    fold: Array
    reaction: tuple[float, ...]
    plan: Plan
    kernels: Any
    threads: int
    pools: dict[tuple[int, str], list[tuple[Array, dict[str, Any]]]] = field(default_factory=dict)

    @cached_property
    def grid(self) -> Space:
        return self.splitting.grid

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of one array of modes."""
        return math.prod(self.mode_shape[:-1]), self.mode_shape[-1]

    @cached_property
    def mode_shape(self) -> tuple[int, ...]:
        return self.grid.mode_shape

    @cached_property
    def buffer(self) -> Array:
        """The plan's modes, `[rows, columns]`."""
        return self.plan.modes.reshape(self.shape)

    @cached_property
    def real(self) -> Array:
        """The plan's field, as one line; where that has more numbers than points, those between mean nothing."""
        return self.lines.reshape(-1)

    @cached_property
    def lines(self) -> Array:
        """The plan's field in lines of its last axis, `[lines, columns]`, as many or more than that has points."""
        return self.plan.lines

    @cached_property
    def scale(self) -> float:
        """Factor 1 / (number of points) of the inverse transform."""
        return 1 / math.prod(self.grid.points)

    @property
    def is_large(self) -> bool:
        """Whether its grid is."""
        return is_large(self.grid)

    def rows(self, count: int, kind: str = "") -> list[Array]:
        """Unused arrays of modes, each aligned as the transforms need it; zero when newly allocated, and those of a `kind`
        wherever the users of that kind write nothing. On large grids all kinds have the same memory, one array at a time."""
        if not self.is_large:
            return list(self.block(count, kind))
        rows = [self.block(1)[0] for _ in range(count)]
        for row in rows if kind else ():
            row.fill(0)
        return rows

    def block(self, count: int, kind: str = "") -> Array:
        """Unused memory for `count` arrays of modes, `[count, rows, columns]`.

        Memory of this `kind` that has been let go is handed out again as it is: it is still in the processor's cache.
        """
        pool = self.pools.setdefault((count, kind), [])
        return np.asarray(Loan(pool.pop() if pool else self._memory(count), pool))

    def _memory(self, count: int) -> tuple[Array, dict[str, Any]]:
        """New memory, and how the arrays `[count, rows, columns]` lie in it."""
        size = math.prod(self.shape)
        memory = torch.zeros(count, -(-size // 4) * 4, dtype=torch.complex128, device=HOST).numpy()
        return memory, memory[:, :size].reshape(count, *self.shape).__array_interface__

    def let_go(self) -> None:
        """Frees the memory that is not on loan, which arrays on loan would keep."""
        for pool in self.pools.values():
            pool.clear()

    def tensor(self, row: Array) -> Tensor:
        """An array of modes as the tensor `[*mode_shape]` on the same memory."""
        return torch.from_numpy(row.reshape(self.mode_shape))

    def array(self, modes: Tensor) -> Array:
        """Modes `[*mode_shape]` as an array on the same memory."""
        return modes.detach().contiguous().numpy().reshape(self.shape)

    def stack(self, rows: Sequence[Array]) -> Tensor:
        """Rows as one tensor `[rows, *mode_shape]`."""
        return torch.stack([self.tensor(row) for row in rows])

    def memory_of(self, state: State, rows: int | None = None) -> Memory:
        """The memory of a state of a compiled or of a torch stepper; rows after the first `rows` (None: none) are defects."""
        if isinstance(state, FusedState):
            return state.memory
        if state.history is None:
            return Memory()
        known = tuple(self.array(row) for row in state.history)
        return Memory(known[:rows], () if rows is None else known[rows:])

    def modes(self, field: Tensor) -> Array:
        """Modes of a field, in fresh memory."""
        self.plan.real[...] = field.detach().numpy()
        (row,) = self.rows(1)
        self.forward(row)
        return row

    def init(self, u0: Tensor, time: Time = 0.0) -> State:
        """The state of a field, without a past."""
        return State(time, self.tensor(self.modes(u0)))

    def field_of(self, modes: Array) -> Tensor:
        """The field of modes, in fresh memory."""
        self.buffer[...] = modes
        self.plan.inverse()
        return torch.from_numpy(self.plan.real * self.scale)

    def forward(self, into: Array) -> None:
        self.plan.forward(into.reshape(self.mode_shape))

    def explicit(self, into: Array) -> None:
        """From modes of u in the plan's buffer, which is destroyed, to those of N."""
        self.plan.inverse()
        self.kernels.react(self.real, self.scale, self.reaction)
        self.forward(into)

    def explicit_of(self, modes: Array) -> Array:
        """Modes of N of u, in fresh memory."""
        self.buffer[...] = modes
        (row,) = self.rows(1)
        self.explicit(row)
        return row

    def coefficients(self, u: Array, nodes: Sequence[Array], tau: float) -> Tensor:
        """Modes c `[p, *mode_shape]` of the element that starts at u with these rows of N at its nodes."""
        p = len(nodes)
        out = self.block(p, "coefficients")
        moments = np.ascontiguousarray(gauss(p)[1].numpy())
        real_u, *rows, real_out = (array.view(np.float64) for array in (u, *nodes, out))
        self.kernels.solve_element(tau / 2, self.stiffness, self.mobility, self.fold, real_u, tuple(rows), moments, real_out)
        return torch.from_numpy(out.reshape(p, *self.mode_shape))

    def symbol_tables(self, make: Callable[[Tensor, Tensor, float], Sequence[Tensor]], tau: float) -> list[Array]:
        """The tables that `make` computes from stiffness, mobility and a step length, as arrays."""
        symbols = torch.from_numpy(self.stiffness), torch.from_numpy(self.mobility)
        return [table.contiguous().numpy() for table in make(*symbols, tau)]

    def rms(self, squares: float) -> float:
        """Root of the mean square of a field from the sum of the squares of all its modes."""
        return math.sqrt(max(squares, 0.0)) * self.scale


def make_workspace(flow: Flow, grid: Space, stabilisation: float | None, threads: int) -> Workspace | None:
    """The workspace, or None where compiled steppers cannot serve: see `why_not_fused`."""
    if why_not_fused(flow, grid) is not None:
        return None
    import numba

    from ernest.phasefield.compiled.kernels import compiled

    if threads > 1:
        numba.set_num_threads(threads)
    splitting = split(flow, grid, stabilisation, torch.empty(0, dtype=torch.float64, device=HOST))
    mobility, linear = symbols_of(flow, grid)
    stiffness = mobility * (linear + splitting.stabilisation)
    reaction = reaction_of(flow, splitting.stabilisation)
    assert reaction is not None
    plan = fastest_plan(grid.points, threads, in_place=is_large(grid))
    symbols = (stiffness, mobility, linear, distinct_rows(grid)[1])
    return Workspace(splitting, *symbols, reaction, plan, compiled(threads > 1), threads)


def symbols_of(flow: Flow, grid: Space) -> tuple[Array, Array]:
    """Mobility and linear operator, `[rows, columns]`, one row for each value that |k|^2 has on the leading axes."""
    k2 = grid.squared_wavenumbers(torch.float64, HOST)[tuple(slice(0, n // 2 + 1) for n in grid.points)]
    symbols, rows = (flow.mobility(k2), flow.linear(k2)), distinct_rows(grid)[0]
    mobility, linear = (one.expand_as(k2).numpy().reshape(-1, grid.mode_shape[-1])[rows] for one in symbols)
    return mobility, linear


def distinct_rows(grid: Space) -> tuple[Array, Array]:
    """Of the rows of modes with k >= 0, the leading axes made one, one for each |k|^2 that these axes have; and for each row of
    modes its number among those. A cube of n^3 points has some n^2/10 of them."""
    sizes = tuple(n // 2 + 1 for n in grid.points)
    kept = grid.squared_wavenumbers(torch.float64, HOST)[tuple(slice(0, size) for size in sizes)][..., 0].numpy().reshape(-1)
    _, rows, number = np.unique(kept, return_index=True, return_inverse=True)
    return rows, number.reshape(-1)[fold_rows(grid.points, sizes)]


def reaction_of(flow: Flow, stabilisation: float) -> tuple[float, ...] | None:
    """The coefficients of N(u) = f(u) - S u, constant first; None where f is no polynomial."""
    coefficients = reaction_coefficients(flow.potential)
    if coefficients is None:
        return None
    return (coefficients[0], coefficients[1] - stabilisation, *coefficients[2:])


def why_not_fused(flow: Flow, grid: Space) -> str | None:
    """The reason why compiled steppers cannot serve this problem, in words; None if they can."""
    if find_spec("numba") is None:
        return "numba is not installed"
    if set(grid.boundaries) != {"periodic"}:
        return "the grid is not periodic"
    if flow.forcing is not None:
        return "the flow has a forcing"
    if reaction_coefficients(flow.potential) is None:
        return "the potential is not a polynomial"
    k2 = grid.squared_wavenumbers(device=HOST)
    if flow.mobility(k2).ndim != k2.ndim or flow.linear(k2).ndim != k2.ndim:
        return "the flow has parameters for each member of a batch"
    return None


def reaction_coefficients(potential: Potential) -> tuple[float, ...] | None:
    """Coefficients of f = F', constant first, two or more of them; None unless it is a `DoubleWell` or a `Polynomial`."""
    # A subclass may compute something else.
    if type(potential) is DoubleWell:
        return (0.0, -potential.s, 0.0, potential.s)
    if type(potential) is Polynomial:
        slope = np.polynomial.Polynomial(potential.coefficients).deriv().coef
        return (*map(float, slope), *([0.0] * (2 - len(slope))))
    return None


def fold_rows(points: tuple[int, ...], sizes: tuple[int, ...]) -> Array:
    """For each row of modes, the leading axes made one, the row of a table of `sizes` k >= 0 per axis; edges beyond it get 0."""
    fold = np.zeros(points[:-1], dtype=np.int64)
    for n, size, index in zip(points[:-1], sizes[:-1], np.indices(points[:-1]), strict=True):
        k = np.minimum(index, n - index)
        fold = fold * size + np.where(k < size, k, 0)
    return fold.reshape(-1)
