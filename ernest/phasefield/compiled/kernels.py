"""Numba loops that all compiled steppers use; each passes once over the modes or the points and does all its work there.

Arrays of modes are `[rows, columns]`, the leading axes of a grid made one. Coefficients depend on |k| alone, so their
tables keep k >= 0 only, and `fold[row]` says which of their rows belongs to a row of modes. A tuple of arrays is
unrolled by the compiler: a sum over the p rows of an element costs one pass, without a loop inside.
"""

from functools import cache
from types import SimpleNamespace

import numba
import numpy as np
from numba import prange

from ernest.phasefield.compiled import coarse_kernels as coarse
from ernest.phasefield.compiled import exponential_kernels as exponential
from ernest.phasefield.compiled import inspection_kernels as inspection

LINE = 512
"""So many modes are taken at once where a loop needs nothing but their symbols."""

# Numba infers the types of all arguments: arrays of float64 or complex128, and tuples of them.
# ruff: noqa: ANN001, ANN201


def combine(a, W, fold, u, rows, out):
    """out = a u + sum of W_j rows_j: the value at a node, or at the end of the element."""
    for r in prange(u.shape[0]):
        q = fold[r]
        for c in range(u.shape[1]):
            value = a[q, c] * u[r, c]
            for j in range(len(rows)):
                value += W[j, q, c] * rows[j][r, c]
            out[r, c] = value


def renew(a, W, fold, u, rows, edge, out):
    """The same again, and the sum of |change of out|^2 over all modes of the full space. Columns stand for two modes, but for the
    first and `edge`."""
    total = 0.0
    for r in prange(u.shape[0]):
        q = fold[r]
        for c in range(u.shape[1]):
            value = a[q, c] * u[r, c]
            for j in range(len(rows)):
                value += W[j, q, c] * rows[j][r, c]
            d = value - out[r, c]
            square = d.real * d.real + d.imag * d.imag
            total += square if c in (0, edge) else 2 * square
            out[r, c] = value
    return total


def react(u, scale, coefficients):
    """u <- N(scale u), with N the polynomial of these coefficients, constant first."""
    for i in prange(u.size):
        x = scale * u[i]
        value = coefficients[len(coefficients) - 1]
        for j in range(len(coefficients) - 2, -1, -1):
            value = value * x + coefficients[j]
        u[i] = value


def square_distance(one, other, edge):
    """Sum of |one - other|^2 over all modes of the full space. Columns stand for two modes, but for the first and `edge`."""
    total = 0.0
    for r in prange(one.shape[0]):
        for c in range(one.shape[1]):
            d = one[r, c] - other[r, c]
            square = d.real * d.real + d.imag * d.imag
            total += square if c in (0, edge) else 2 * square
    return total


def tabulate(half, stiffness, mobility, pade, of_a, of_W, a, W):
    """Rows of an element's table for each mode, as rational functions of z = half stiffness: a_i = A_i(z) / D(z) and W_iw =
    drive B_iw(z) / D(z), with `half` = tau / 2 and drive = half mobility.

    `pade` are the coefficients of D, constant first, `of_a` `[nodes, p + 1]` those of A_i and `of_W` `[nodes, w, p]` those of
    B_iw. All modes stand in one line, and as many as the processor's first cache holds are taken at once.
    """
    degree = len(pade) - 1
    for part in prange((stiffness.size + LINE - 1) // LINE):
        first = part * LINE
        z, share = half * stiffness[first : first + LINE], half * mobility[first : first + LINE]
        over = np.empty(z.size)
        for c in range(z.size):
            value = pade[degree]
            for k in range(degree - 1, -1, -1):
                value = value * z[c] + pade[k]
            over[c] = 1 / value
            share[c] *= over[c]
        for i in range(a.shape[0]):
            row = a[i][first : first + LINE]
            for c in range(z.size):
                value = of_a[i, degree]
                for k in range(degree - 1, -1, -1):
                    value = value * z[c] + of_a[i, k]
                row[c] = value * over[c]
        for i in range(W.shape[0]):
            for w in range(W.shape[1]):
                row = W[i, w][first : first + LINE]
                for c in range(z.size):
                    value = of_W[i, w, degree - 1]
                    for k in range(degree - 2, -1, -1):
                        value = value * z[c] + of_W[i, w, k]
                    row[c] = value * share[c]


def solve_element(half, stiffness, mobility, fold, u, rows, M, out):
    """out_k = c_k of the element, (I + z A) c = -(z u e_1 + drive moments), with the moments M `[p, p]` of the rows of N.

    Modes are given as twice as many real numbers, which the compiler makes into vector instructions.
    """
    degree, columns = M.shape[0], u.shape[1]
    for r in prange(u.shape[0]):
        q = fold[r]
        z, drive, inverse = np.empty(columns), np.empty(columns), np.empty((degree, columns))
        for c in range(columns // 2):
            z[2 * c] = z[2 * c + 1] = half * stiffness[q, c]
            drive[2 * c] = drive[2 * c + 1] = half * mobility[q, c]
        for c in range(columns):
            inverse[0, c] = 1 / (1 + z[c])
            out[0, r, c] = -z[c] * u[r, c]
        for j in range(1, degree):
            out[j, r] = 0
            for c in range(columns):
                inverse[j, c] = 1 / (1 + z[c] * z[c] * inverse[j - 1, c] / ((2 * j + 1) * (2 * j - 1)))
        for n in range(len(rows)):
            row = rows[n][r]
            for j in range(degree):
                weight = M[j, n]
                for c in range(columns):
                    out[j, r, c] -= weight * drive[c] * row[c]
        for j in range(1, degree):
            for c in range(columns):
                out[j, r, c] -= z[c] / (2 * j - 1) * inverse[j - 1, c] * out[j - 1, r, c]
        for c in range(columns):
            out[degree - 1, r, c] *= inverse[degree - 1, c]
        for j in range(degree - 2, -1, -1):
            for c in range(columns):
                out[j, r, c] = (out[j, r, c] + z[c] / (2 * j + 3) * out[j + 1, r, c]) * inverse[j, c]


@cache
def compiled(parallel: bool) -> SimpleNamespace:
    """All kernels by name, compiled: for one thread, and kept on disk, or for as many as numba is set to.

    Numba's cache files do not distinguish the two, so only the first kind may be kept.
    """
    compile_one = numba.njit(fastmath=True, parallel=parallel, cache=not parallel)
    loops = (combine, renew, react, square_distance, tabulate, solve_element)
    loops += (coarse.combine_block, coarse.combine_outside, coarse.combine_both, coarse.residual, coarse.respond, coarse.absorb)
    loops += (coarse.place, coarse.exchange, coarse.fill_up, coarse.find_defect, coarse.react_and_sample, coarse.increment)
    loops += (exponential.etd_stage, exponential.etd_second, exponential.etd_third, exponential.etd_end, exponential.bdf4)
    loops += (inspection.examine, inspection.inspect, inspection.weigh_missed, inspection.weigh_errors)
    return SimpleNamespace(**{loop.__name__: compile_one(loop) for loop in loops})


def compiles() -> bool:
    """Whether the kernels for one thread are still to be compiled: numba has no code of this source on disk."""
    # The index of a kernel's cache file is empty where there is none, or one of older source.
    index = getattr(getattr(compiled(False).combine, "_cache", None), "_cache_file", None)
    return index is not None and not index._load_index()
