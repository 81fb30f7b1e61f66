"""The tables of an element whose sweeps run on coarse grids: on the full grid, on the first level's block, and in time."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.phasefield.element import Time
from ernest.phasefield.schemes.coarsening import defect_weights, first_matrices, known_matrices, outer_matrices
from ernest.phasefield.schemes.gaussseidel import window_matrices
from ernest.phasefield.schemes.splitting import Splitting
from ernest.phasefield.timeelement import Tableau, gauss, nodal_tableau


@dataclass(frozen=True)
class Tables:
    """The element's table on the full grid and on the first level's block, with the weights of all windows.

    `windows[i]` `[w, *block]` belongs to node i, `outer[i]` `[w, *mode_shape]` to node i or, the last, to the end;
    `defects[i]` is a pair of rows `[w]`: defects known at node i, and at the end of the sweep, to their value at node i.
    """

    nodal: Tableau
    block: Tableau
    windows: list[Tensor]
    outer: list[Tensor]
    defects: list[tuple[Tensor, Tensor]]


def make_tables(
    splitting: Splitting,
    inside: tuple[Tensor, ...],
    nodes: Sequence[int],
    widths: tuple[int, int, int],
    tau: float,
    taus: tuple[Time, ...],
) -> Tables:
    """The tables of an element of length tau after those of lengths `taus`, whose `nodes` visit the full grid.

    `inside` are the indices of the block; `widths` are the degree, the window and the outer window.
    """
    degree, window, outer_window = widths
    points, dtype = gauss(degree)[0].to(splitting.stiffness.real), splitting.stiffness.dtype
    nodal = nodal_tableau(tau / 2 * splitting.stiffness.real, degree, tau / 2 * splitting.mobility.real)
    block = Tableau(nodal.a[(..., *inside)], nodal.W[(..., *inside)])
    inner = window_matrices(points, tau, taus, window)
    here = points.cpu().numpy()
    known = known_matrices(here, nodes, outer_window, tau, taus) if taus else None
    outer = first_matrices(here, window) if known is None else outer_matrices(known, nodes)
    pairs = defect_weights(known) if known is not None and len(nodes) < degree else []
    return Tables(
        Tableau(nodal.a.to(dtype), nodal.W.to(dtype)),
        Tableau(block.a.to(dtype), block.W.to(dtype)),
        [torch.einsum("j...,jw->w...", block.W[i], matrix).to(dtype) for i, matrix in enumerate(inner)],
        [torch.einsum("j...,jw->w...", nodal.W[i], torch.from_numpy(m).to(points)).to(dtype) for i, m in enumerate(outer)],
        [(torch.from_numpy(before).to(points), torch.from_numpy(after).to(points)) for before, after in pairs],
    )
