"""Tables of step lengths: what they hold, and that few are kept, fewer where they are large, and none is made beside one that has
to go."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ernest.phasefield.compiled.tables import LRUCache, lengths_kept, row_tables, window_tables
from ernest.phasefield.grid import MANY_POINTS
from ernest.phasefield.timeelement import nodal_tableau

LINE = 512
"""Of the kernel."""


def test_a_full_cache_lets_the_oldest_go_before_the_next_is_made():
    cache, held = LRUCache(2), []

    def make(key):
        held.append(sorted(cache._kept))
        return key

    assert [cache.get(key, lambda key=key: make(key)) for key in (1, 2, 1, 3, 2)] == [1, 2, 1, 3, 2]
    assert held == [[], [1], [1], [3]]


def test_large_grids_keep_the_tables_of_one_length():
    assert [n * n <= MANY_POINTS for n in (512, 514)] == [True, False]
    assert [lengths_kept(SimpleNamespace(is_large=large), 1) for large in (False, True)] == [5, 1]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5, 8])
def test_tables_from_rational_functions_are_those_of_the_tridiagonal_solve(degree, large):
    """From waves that hardly move in an element to those that it cannot follow, in more than one line of the kernel."""
    compiled = pytest.importorskip("ernest.phasefield.compiled.kernels").compiled
    z = torch.cat([torch.zeros(1), torch.logspace(-6, 12, 2 * LINE)]).double()[:, None]
    drive, tau = 0.3 + torch.rand(z.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 0.4
    symbols = (2 / tau * one.numpy() for one in (z, drive))
    work = SimpleNamespace(**dict(zip(("stiffness", "mobility"), symbols, strict=True)), kernels=compiled(False), is_large=large)
    right = nodal_tableau(z, degree, drive)
    tables = row_tables(work, tau, degree, None, range(degree + 1), None)
    assert len(tables) == (0 if large else degree + 1)  # those of large grids are made when they are asked for
    for i in range(degree + 1):
        a, W = tables[i]
        assert np.abs(a - right.a[i].numpy()).max() < 4e-15
        assert np.abs(W - right.W[i].numpy()).max() < 4e-15
    matrices = [np.linspace(-2, 1, 2 * degree).reshape(degree, 2)] * degree
    windows = window_tables(work, tau, degree, None, matrices, 3)
    assert len(windows) == (0 if large else degree)
    for i in range(degree):
        W = windows[i]
        assert not W[0].any()
        assert np.abs(W[1:] - np.einsum("j...,jw->w...", right.W[i].numpy(), matrices[i])).max() < 1e-14
