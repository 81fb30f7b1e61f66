"""Numba loops for sweeps on coarse grids: see `kernels` for what arrays and tables hold.

A level is a coarser grid, whose modes are a block of the modes of the fine grid: `inside[row]` is the row of the fine
grid for a row of the level, or -1 for the edge of the block, |k| = n/2, which stays empty, as does the last column.
"""

# Numba infers the types of all arguments: arrays of float64 or complex128, and tuples of them.
# ruff: noqa: ANN001, ANN201

from numba import prange


def combine_block(a, W, fold, inside, u, rows, kept, out):
    """kept = out = a u + sum of W_j rows_j on the block of a level; `out` is for the inverse transform."""
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
    """out = a u + sum of W_j rows_j in one pass; inside the block with its own weights and rows, and into `kept` too."""
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


def exchange(edge, inside, weights, defects, row):
    """row <- row + sum of weights_j defects_j on the block, which has `edge` columns."""
    for r in prange(inside.shape[0]):
        f = inside[r]
        if f >= 0:
            for c in range(edge):
                value = row[f, c]
                for j in range(len(defects)):
                    value += weights[j] * defects[j][f, c]
                row[f, c] = value


def fill_up(split, known, weights, row, out):
    """out = row before the column `split` of each row of modes, and from there the sum of weights_j known_j. Modes are given as
    twice as many real numbers."""
    for r in prange(row.shape[0]):
        for c in range(row.shape[1]):
            value = 0.0
            for j in range(len(known)):
                value += weights[j] * known[j][r, c]
            out[r, c] = value
        out[r, : split[r]] = row[r, : split[r]]


def find_defect(modes, scale, inside, row, defect):
    """defect = row - scale modes on the block."""
    for r in prange(modes.shape[0]):
        f = inside[r]
        if f >= 0:
            for c in range(modes.shape[1] - 1):
                defect[f, c] = row[f, c] - scale * modes[r, c]


def react_and_sample(u, level_line, scale, coefficients, samples):
    """u <- N(scale u) for a field in lines `[lines, columns]`, and samples = every second value of scale u on every second line.

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
