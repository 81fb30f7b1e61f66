"""Measures the elements of compiled steppers: the field at the end in one pass, all sums over modes in another.

What takes torch a dozen transforms and a hundred passes over memory costs two transforms here, and two more where the part that
sweeps on coarse grids have missed is looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ernest.phasefield.compiled.tables import LRUCache, lengths_kept, numerators
from ernest.phasefield.compiled.transforms import Array
from ernest.phasefield.compiled.workspace import Workspace
from ernest.phasefield.element import Element
from ernest.phasefield.potentials import DoubleWell, Polynomial
from ernest.phasefield.timeelement import gauss, nodal_basis


@dataclass(frozen=True)
class Everywhere:
    """How N is known where some nodes know it on the block of the first level only: from `rows` that are known everywhere, which
    `fill` `[p, w]` takes to all nodes. `split` has the number of real columns of each row of modes that lie in the block.
    """

    rows: tuple[Array, ...]
    fill: Array
    split: Array


@dataclass(frozen=True)
class FusedElement(Element):
    """An element with the rows of N at its nodes. `judged` is the node at which sweeps on coarse grids miss most, None without
    such; `everywhere` is needed where rows end with the block.
    """

    rows: tuple[Array, ...] = field(default=(), repr=False)
    judged: int | None = None
    everywhere: Everywhere | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Look:
    """What was seen of an element: of its end the root of the mean square `size`, the `mean`, the least and the greatest u in
    `span`, and the `energy`; how far the end is from the start, `change`, and the energy that the polynomial loses, `dissipated`.

    `truncation` is the weighted norm of the residual at the end, and `missed` that of what sweeps on coarse grids left of N.
    """

    size: float
    mean: float
    span: tuple[float, float]
    energy: float
    change: float
    dissipated: float
    truncation: float
    missed: float


class Inspector:
    """Looks at elements of the steppers of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        flow = workspace.splitting.flow
        self._all_columns = np.full(workspace.shape[0], 2 * workspace.shape[1], dtype=np.int64)
        self._slopes = tuple(k * value for k, value in enumerate(workspace.reaction) if k)
        # Between wells F is a small difference of large terms unless it is summed as a square.
        well = isinstance(flow.potential, DoubleWell)
        self._well = flow.potential.s if isinstance(flow.potential, DoubleWell) else 0.0
        self._energy = flow.potential.coefficients if isinstance(flow.potential, Polynomial) and not well else (0.0, 0.0)
        # Modes are measured as twice as many real numbers; a column stands for two modes, but for the first and the last.
        self._shares = np.full(2 * workspace.shape[1], 2.0)
        self._shares[[0, 1, -2, -1]] = 1.0
        self._order = np.argsort(workspace.fold, kind="stable")
        self._room: dict[int, Array] = {}
        self._weights: LRUCache[tuple[float, ...], tuple[Array, Array]] = LRUCache(lengths_kept(workspace))

    def look(
        self,
        element: FusedElement,
        weigh: Callable[[float], tuple[Array, Array]],
        judged: bool,
        keep: bool,
    ) -> tuple[Look, Tensor | None]:
        """What is seen of the element, and the modes of its coefficients if they are to be kept.

        `weigh` gives, for the root of the mean square of N'(u) at the end, the squared weights of the residual there and of what
        is missed at a node, which is looked at where it is `judged`.
        """
        work, p, tau = self.workspace, len(element.rows), float(element.tau)
        kernels, grid = work.kernels, work.grid
        u, end = work.array(element.start_modes), work.array(element.end_modes)
        work.buffer[...] = end
        work.plan.inverse()
        potential = work.reaction, self._slopes, self._energy, self._well
        bulk, steep, *span = kernels.examine(work.lines, grid.points[-1], work.scale, *potential)
        work.plan.forward()  # N at the end, in the buffer: of all other arrays the run still needs what they hold
        weights, responses = weigh((steep * work.scale) ** 0.5)
        symbols = work.stiffness, work.mobility, work.linear
        moments = np.ascontiguousarray(gauss(p)[1].numpy())
        # Where all rows are known everywhere, the others do not count.
        everywhere = element.everywhere or Everywhere(element.rows[:1], np.zeros((p, 1)), self._all_columns)
        node = element.judged or 0
        kept = work.block(p, "coefficients") if keep else self._scratch(p)
        real_u, real_end, real_kept, real_buffer = (a.view(np.float64) for a in (u, end, kept, work.buffer))
        rows, outer = (tuple(row.view(np.float64) for row in some) for some in (element.rows, everywhere.rows))
        size, change, quadratic, dissipated, residual = kernels.inspect(
            *(tau / 2, symbols, self._order, work.fold, everywhere.split, real_u, real_end, rows, moments, outer),
            *(moments @ everywhere.fill, nodal_basis(p)[node].numpy(), self._shares, weights, tuple(real_kept), real_buffer),
        )
        missed = self._missed(element.rows[node], everywhere, node, responses) if judged else 0.0
        volume = grid.volume * work.scale**2
        look = Look(
            size=work.rms(size),
            mean=float(end.flat[0].real) * work.scale,
            span=(span[0], span[1]),
            energy=bulk * grid.volume * work.scale + quadratic / 2 * volume,
            change=work.rms(change),
            dissipated=4 / tau * dissipated * volume,
            truncation=work.rms(residual),
            missed=missed,
        )
        return look, torch.from_numpy(kept.reshape(p, *work.mode_shape)) if keep else None

    def weights(self, tau: float, degree: int, span: float, rise: float, peak: float, table: Array) -> tuple[Array, Array]:
        """The squared weights of a residual at the end of an element and of what N misses in it, see `weigh_errors`."""

        def weigh() -> tuple[Array, Array]:
            work, pade = self.workspace, numerators(degree)[0]
            # 1 - R is 1 - D(-z) / D(z).
            lost = tuple(0.0 if k % 2 else 2 * e for k, e in enumerate(pade[1:]))
            found = np.empty((2, len(work.stiffness), len(self._shares)))
            symbols = work.stiffness, work.mobility, self._shares
            work.kernels.weigh_errors(tau / 2, span, rise, peak, pade, lost, table, *symbols, *found)
            return found[0], found[1]

        return self._weights.get((tau, degree, span, rise), weigh)

    def _missed(self, row: Array, everywhere: Everywhere, node: int, responses: Array) -> float:
        """The weighted norm of N(u) - N at the node whose modes of u are in the buffer."""
        work = self.workspace
        work.explicit(work.buffer)
        N, known, *outer = (one.view(np.float64) for one in (work.buffer, row, *everywhere.rows))
        fill = everywhere.fill[node]
        return work.rms(work.kernels.weigh_missed(responses, work.fold, everywhere.split, N, known, tuple(outer), fill))

    def _scratch(self, degree: int) -> Array:
        """Room for the coefficients of one row of modes."""
        if degree not in self._room:
            self._room[degree] = np.empty((degree, 1, self.workspace.shape[1]), dtype=complex)
        return self._room[degree]
