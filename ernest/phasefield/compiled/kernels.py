"""Compiled loops of the fused steppers: each touches every mode, or every point, once and does all that there is to do.

Arrays of modes are `[rows, columns]`, the leading axes of a grid made one. Coefficients depend on |k| alone, so their
tables keep k >= 0 only, and `fold[row]` says which of their rows belongs to a row of modes. A tuple of arrays is
unrolled by the compiler: a sum over the p rows of an element costs one pass, without a loop inside.

A level is a coarser grid, whose modes are a block of the modes of the fine grid: `inside[row]` is the row of the fine
grid for a row of the level, or -1 for the edge of the block, |k| = n/2, which stays empty, as does the last column.
"""

from functools import cache
from types import SimpleNamespace

import numba
import numpy as np
from numba import prange

from ernest.phasefield.compiled import exponential_kernels

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


def combine_block(a, W, fold, inside, u, rows, kept, out):
    """The same on the block of a level, into `kept`, and into `out` for the inverse transform."""
    edge = out.shape[1] - 1
    for r in prange(out.shape[0]):
        f, q = inside[r], fold[r]
        if f < 0:
            out[r, :] = 0
        else:
            for c in range(edge):
                value = a[q, c] * u[f, c]
                for j in range(len(rows)):
                    value += W[j, q, c] * rows[j][f, c]
                kept[r, c] = value
                out[r, c] = value
            out[r, edge] = 0


def combine_outside(a, W, fold, block, u, rows, kept, out):
    """out = a u + sum of W_j rows_j outside of the block, and what was kept inside; `block` is the inverse of `inside`."""
    edge = kept.shape[1] - 1
    for r in prange(u.shape[0]):
        q, b = fold[r], block[r]
        first = edge if b >= 0 else 0
        for c in range(first):
            out[r, c] = kept[b, c]
        for c in range(first, u.shape[1]):
            value = a[q, c] * u[r, c]
            for j in range(len(rows)):
                value += W[j, q, c] * rows[j][r, c]
            out[r, c] = value


def combine_both(a, W, fold, block_W, block_fold, block, u, rows, block_rows, kept, out):
    """Both in one pass: the block with its own weights and rows, also into `kept`, and the modes outside of it."""
    edge = kept.shape[1] - 1
    for r in prange(u.shape[0]):
        q, b, first = fold[r], block[r], 0
        if b >= 0:
            first, s = edge, block_fold[b]
            for c in range(edge):
                value = a[q, c] * u[r, c]
                for j in range(len(block_rows)):
                    value += block_W[j, s, c] * block_rows[j][r, c]
                kept[b, c] = value
                out[r, c] = value
        for c in range(first, u.shape[1]):
            value = a[q, c] * u[r, c]
            for j in range(len(rows)):
                value += W[j, q, c] * rows[j][r, c]
            out[r, c] = value


def residual(a, W, fold, inside, u, rows, kept, out):
    """out = (a u + sum of W_j rows_j) - kept on the block of the first level; the sum of all |out|^2.

    A column stands for two modes, but for the first.
    """
    edge, total = out.shape[1] - 1, 0.0
    for r in prange(out.shape[0]):
        f, q = inside[r], fold[r]
        if f < 0:
            out[r, :] = 0
        else:
            for c in range(edge):
                value = a[q, c] * u[f, c] - kept[r, c]
                for j in range(len(rows)):
                    value += W[j, q, c] * rows[j][f, c]
                out[r, c] = value
                total += 2 * (value.real * value.real + value.imag * value.imag)
            total += -(out[r, 0].real * out[r, 0].real + out[r, 0].imag * out[r, 0].imag)
            out[r, edge] = 0
    return total


def respond(W, fold, within, deltas, out):
    """out = sum of W_j deltas_j on the block of a level: what the last changes of N change in u; the sum of all |out|^2.

    `within[row]` is the row of the deltas, which belong to the first level, for a row of this one.
    """
    edge, total = out.shape[1] - 1, 0.0
    for r in prange(out.shape[0]):
        k, q = within[r], fold[r]
        if k < 0:
            out[r, :] = 0
        else:
            for c in range(edge):
                value = W[0, q, c] * deltas[0][k, c]
                for j in range(1, len(deltas)):
                    value += W[j, q, c] * deltas[j][k, c]
                out[r, c] = value
                total += 2 * (value.real * value.real + value.imag * value.imag)
            total += -(out[r, 0].real * out[r, 0].real + out[r, 0].imag * out[r, 0].imag)
            out[r, edge] = 0
    return total


def absorb(modes, scale, inside, within, row, delta):
    """delta = scale modes and row <- row + delta, on the block."""
    for r in prange(modes.shape[0]):
        f, k = inside[r], within[r]
        if f >= 0:
            for c in range(modes.shape[1] - 1):
                value = scale * modes[r, c]
                delta[k, c] = value
                row[f, c] += value


def place(modes, scale, inside, weights, defects, row):
    """row = scale modes + sum of weights_j defects_j on the block."""
    for r in prange(modes.shape[0]):
        f = inside[r]
        if f >= 0:
            for c in range(modes.shape[1] - 1):
                value = scale * modes[r, c]
                for j in range(len(defects)):
                    value += weights[j] * defects[j][f, c]
                row[f, c] = value


def renew(edge, inside, weights, defects, row):
    """row <- row + sum of weights_j defects_j on the block, which has `edge` columns."""
    for r in prange(inside.shape[0]):
        f = inside[r]
        if f >= 0:
            for c in range(edge):
                value = row[f, c]
                for j in range(len(defects)):
                    value += weights[j] * defects[j][f, c]
                row[f, c] = value


def find_defect(modes, scale, inside, row, defect):
    """defect = row - scale modes on the block."""
    for r in prange(modes.shape[0]):
        f = inside[r]
        if f >= 0:
            for c in range(modes.shape[1] - 1):
                defect[f, c] = row[f, c] - scale * modes[r, c]


def react(u, scale, coefficients):
    """u <- N(scale u), with N the polynomial of these coefficients, constant first."""
    for i in prange(u.size):
        x = scale * u[i]
        value = coefficients[len(coefficients) - 1]
        for j in range(len(coefficients) - 2, -1, -1):
            value = value * x + coefficients[j]
        u[i] = value


def react_and_sample(u, level_line, scale, coefficients, samples):
    """The same of a field in lines `[lines, columns]`, and samples = every second value of scale u on every second line.

    `level_line` is the line of the samples for a line of u, -1 for those between.
    """
    for r in prange(u.shape[0]):
        line = level_line[r]
        if line >= 0:
            for c in range(samples.shape[1]):
                samples[line, c] = scale * u[r, 2 * c]
        for c in range(u.shape[1]):
            x = scale * u[r, c]
            value = coefficients[len(coefficients) - 1]
            for j in range(len(coefficients) - 2, -1, -1):
                value = value * x + coefficients[j]
            u[r, c] = value


def increment(d, scale, u, coefficients):
    """d <- N(u + scale d) - N(u), and u <- u + scale d."""
    for i in prange(u.size):
        old = u[i]
        new = old + scale * d[i]
        before = coefficients[len(coefficients) - 1]
        after = before
        for j in range(len(coefficients) - 2, -1, -1):
            before = before * old + coefficients[j]
            after = after * new + coefficients[j]
        u[i] = new
        d[i] = after - before


def square_distance(one, other, edge):
    """Sum of |one - other|^2 over all modes of the full space. Columns stand for two modes, but for the first and `edge`."""
    total = 0.0
    for r in prange(one.shape[0]):
        for c in range(one.shape[1]):
            d = one[r, c] - other[r, c]
            square = d.real * d.real + d.imag * d.imag
            total += square if c in (0, edge) else 2 * square
    return total


def tabulate(half, stiffness, mobility, P, M, a, W):
    """Rows of an element's table for each mode: a_i = 1 - z y_1, W_i = -drive y M_i, y (I + z A) = P_i, P_ik = psi_k(xi_i).

    `half` is tau / 2, z = half stiffness and drive = half mobility. M_i `[p, w]` takes values of N in a window to Legendre
    moments. The transposed system is tridiagonal like the other one. A row of modes is taken at once, which the compiler
    makes into vector instructions.
    """
    count, degree, width = M.shape
    columns = stiffness.shape[1]
    for r in prange(stiffness.shape[0]):
        x, drive, inverse, y = half * stiffness[r], half * mobility[r], np.empty((degree, columns)), np.empty((degree, columns))
        inverse[0] = 1 / (1 + x)
        for j in range(1, degree):
            for c in range(columns):
                inverse[j, c] = 1 / (1 + x[c] * x[c] * inverse[j - 1, c] / ((2 * j + 1) * (2 * j - 1)))
        for i in range(count):
            y[0] = P[i, 0]
            for j in range(1, degree):
                for c in range(columns):
                    y[j, c] = P[i, j] + x[c] * inverse[j - 1, c] * y[j - 1, c] / (2 * j + 1)
            for c in range(columns):
                y[degree - 1, c] *= inverse[degree - 1, c]
            for j in range(degree - 2, -1, -1):
                for c in range(columns):
                    y[j, c] = (y[j, c] - x[c] * y[j + 1, c] / (2 * j + 1)) * inverse[j, c]
            for c in range(columns):
                a[i, r, c] = 1 - x[c] * y[0, c]
            for w in range(width):
                row = W[i, w, r]
                row[:] = 0
                for j in range(degree):
                    weight = -M[i, j, w]
                    for c in range(columns):
                        row[c] += weight * drive[c] * y[j, c]


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
    """All of them, and those of the peers, compiled: for one thread, and kept on disk, or for as many as numba is set to.

    Numba's files do not tell the two apart, so only the first kind may be kept.
    """
    compile_one = numba.njit(fastmath=True, parallel=parallel, cache=not parallel)
    loops = (combine, combine_block, combine_outside, combine_both, residual, respond, absorb, place, renew, find_defect)
    loops += (react, react_and_sample, increment, square_distance, tabulate, solve_element)
    loops += (
        exponential_kernels.etd_stage,
        exponential_kernels.etd_second,
        exponential_kernels.etd_third,
        exponential_kernels.etd_end,
        exponential_kernels.bdf4,
    )
    return SimpleNamespace(**{loop.__name__: compile_one(loop) for loop in loops})
