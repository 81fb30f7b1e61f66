"""Numba loops that measure the end of an element: see `kernels` for what arrays and tables hold."""

# Numba infers the types of all arguments: arrays of float64 or complex128, and tuples of them.
# ruff: noqa: ANN001, ANN201

import numba
import numpy as np
from numba import prange


def examine(u, points, scale, reaction, slopes, energy, well):
    """u <- N(scale u) for a field in lines `[lines, columns]` of so many points; the sums over the points of F and of N'(u)^2,
    and the least and the greatest scale u.

    `reaction`, `slopes` and `energy` are the coefficients of N, N' and F, constant first; F has well/4 (u^2 - 1)^2 besides.
    """
    # Those of every column first: a single one for all would keep the loop from being made into vector instructions.
    bulk, steep, least, greatest = 0.0, 0.0, u[0, :points].copy(), u[0, :points].copy()
    for r in range(u.shape[0]):
        line = u[r, :points]
        for c in range(line.size):
            least[c] = line[c] if line[c] < least[c] else least[c]
        for c in range(line.size):
            greatest[c] = line[c] if line[c] > greatest[c] else greatest[c]
        for c in range(line.size):
            x = scale * line[c]
            value, slope, density = reaction[len(reaction) - 1], slopes[len(slopes) - 1], energy[len(energy) - 1]
            for j in range(len(reaction) - 2, -1, -1):
                value = value * x + reaction[j]
            for j in range(len(slopes) - 2, -1, -1):
                slope = slope * x + slopes[j]
            for j in range(len(energy) - 2, -1, -1):
                density = density * x + energy[j]
            from_wells = x * x - 1
            bulk += density + well / 4 * from_wells * from_wells
            steep += slope * slope
            line[c] = value
    return bulk, steep, scale * least.min(), scale * greatest.max()


@numba.njit(fastmath=True)
def double(values, both):
    """Values of modes for both parts of each."""
    for c in range(values.size):
        both[2 * c] = both[2 * c + 1] = values[c]


@numba.njit(fastmath=True)
def factor(half, stiffness, mobility, linear, factors):
    """Of one row of symbols, for both parts of every mode, `[4 + p, 2 columns]`: z = half stiffness, drive = half mobility, what
    |u|^2 is worth in the energy, what |c_k|^2 loses of it, and the reciprocal pivots of I + z A."""
    z, line = np.empty(stiffness.size), np.empty(stiffness.size)
    for c in range(z.size):
        z[c] = half * stiffness[c]
    double(z, factors[0])
    for c in range(z.size):
        line[c] = half * mobility[c]
    double(line, factors[1])
    double(linear, factors[2])
    for c in range(z.size):
        line[c] = 1 / mobility[c] if mobility[c] > 0 else 0.0
    double(line, factors[3])
    for c in range(z.size):
        line[c] = 1 / (1 + z[c])
    double(line, factors[4])
    for j in range(1, factors.shape[0] - 4):
        share = 1 / ((2 * j + 1) * (2 * j - 1))
        for c in range(z.size):
            line[c] = 1 / (1 + share * z[c] * z[c] * line[c])
        double(line, factors[4 + j])


def inspect(half, symbols, order, fold, split, u, end, rows, M, outer, outer_M, at_node, shares, weights, out, N_end):
    """Solves for the c_k of an element, as `solve_element` does, and measures it in the same pass.

    Modes are given as twice as many real numbers. Rows of modes are taken in the `order` of their rows of symbols: stiffness,
    mobility and linear operator. In a row of modes the columns before `split` know N by `rows`, those after by `outer`, each with
    its matrix to moments. The c_k go to the arrays `out`, which may have one row only, for all rows of modes in turn. In the end
    N_end is u + sum of at_node_k c_k.

    Returns sums over all modes: |end|^2, |end - u|^2, |end|^2 and sum of |c_k|^2 / (2k - 1) with their shares in the energy, and
    |residual|^2 with `weights`, the residual being (2 / tau) sum of c_k + stiffness end + mobility N_end. `shares` tells
    for how many modes of the full space a column stands; `weights` include it.
    """
    degree, columns = len(out), u.shape[1]
    size, change, quadratic, dissipated, residual = 0.0, 0.0, 0.0, 0.0, 0.0
    factors, factored = np.empty((4 + degree, columns)), -1
    z, drive, of_energy, of_loss, pivots = factors[0], factors[1], factors[2], factors[3], factors[4:]
    # Every loop writes one array at most and reads few: with more the compiler makes no vector instructions.
    for r in order:
        q, o, known = fold[r], r if out[0].shape[0] > 1 else 0, split[r]
        start, last, N = u[r], end[r], N_end[r]
        if q != factored:
            factor(half, symbols[0][q], symbols[1][q], symbols[2][q], factors)
            factored = q
        for j in range(degree):
            moment = out[j][o]
            if known < columns:
                for c in range(columns):
                    value = 0.0
                    for n in range(len(outer)):
                        value += outer_M[j, n] * outer[n][r, c]
                    moment[c] = value
            for c in range(known):
                value = 0.0
                for n in range(len(rows)):
                    value += M[j, n] * rows[n][r, c]
                moment[c] = value
        first = out[0][o]
        for c in range(columns):
            first[c] = -z[c] * start[c] - drive[c] * first[c]
        for j in range(1, degree):
            here, below, pivot, share = out[j][o], out[j - 1][o], pivots[j - 1], 1 / (2 * j - 1)
            for c in range(columns):
                here[c] = -drive[c] * here[c] - share * z[c] * pivot[c] * below[c]
        here, pivot = out[degree - 1][o], pivots[degree - 1]
        for c in range(columns):
            here[c] *= pivot[c]
        for j in range(degree - 2, -1, -1):
            here, above, pivot, share = out[j][o], out[j + 1][o], pivots[j], 1 / (2 * j + 3)
            for c in range(columns):
                here[c] = (here[c] + share * z[c] * above[c]) * pivot[c]
        of_error = weights[q]
        for c in range(columns):
            slope, square = 0.0, 0.0
            for j in range(len(out)):
                value = out[j][o, c]
                slope += value
                square += value * value / (2 * j + 1)
            difference, lacking = last[c] - start[c], slope + z[c] * last[c] + drive[c] * N[c]
            size += shares[c] * last[c] * last[c]
            change += shares[c] * difference * difference
            quadratic += shares[c] * of_energy[c] * last[c] * last[c]
            dissipated += shares[c] * of_loss[c] * square
            residual += of_error[c] * lacking * lacking
        for c in range(columns):
            N[c] = start[c]
        for j in range(degree):
            row, weight = out[j][o], at_node[j]
            for c in range(columns):
                N[c] += weight * row[c]
    return size, change, quadratic, dissipated, residual / (half * half)


def weigh_errors(half, span, rise, peak, pade, lost, table, stiffness, mobility, shares, weights, responses):
    """The squares, times `shares`, of what a residual at the end of an element, and what N misses all through it, are multiplied
    with, for both parts of every mode.

    `lost` and `pade` are the coefficients of (1 - R) / z, numerator and denominator, constant first; `table` `[points]` has the
    integral over s^p (1 - s) on a line of s = z / (1 + z), and is read by the cubic through four points. z = half stiffness is
    taken where the integral is greatest up to half (stiffness + rise mobility).
    """
    last, columns = table.size - 1, stiffness.shape[1]
    for r in prange(stiffness.shape[0]):
        z, drive = half * stiffness[r], half * mobility[r]
        weight, response = np.empty(columns), np.empty(columns)
        for c in range(columns):
            above, below = 0.0, pade[len(pade) - 1]
            for k in range(len(pade) - 2, -1, -1):
                above = above * z[c] + lost[k]
                below = below * z[c] + pade[k]
            share = above / below
            over = 1 / (2 * half + span * z[c] * share)
            response[c] = drive[c] * share * over
            weight[c] = half * over
        for c in range(columns):
            at, most = z[c] if z[c] > peak else peak, z[c] + rise * drive[c]
            at = at if at < most else most
            s = at / (1 + at)
            i = min(max(int(s * last) - 1, 0), last - 3)
            x = s * last - i
            integral = (1 - s) * (
                (x - 1) * (x - 2) * ((3 - x) * table[i] + x * table[i + 3]) / 6
                + x * (x - 3) * ((x - 2) * table[i + 1] - (x - 1) * table[i + 2]) / 2
            )
            for _ in range(len(pade) - 1):
                integral *= s
            weight[c] *= integral
        for c in range(columns):
            weights[r, 2 * c] = weights[r, 2 * c + 1] = shares[2 * c] * weight[c] * weight[c]
        for c in range(columns):
            responses[r, 2 * c] = responses[r, 2 * c + 1] = shares[2 * c] * response[c] * response[c]


def weigh_missed(weights, fold, split, N, row, outer, at_node):
    """Sum of weights |N - N_known|^2 over all modes; N_known is `row` before the column `split`, and from there the sum of
    at_node_j outer_j. Modes are given as twice as many real numbers."""
    total, line = 0.0, np.empty(N.shape[1])
    for r in range(N.shape[0]):
        weight, here, known = weights[fold[r]], N[r], split[r]
        if known < line.size:
            for c in range(line.size):
                value = 0.0
                for j in range(len(outer)):
                    value += at_node[j] * outer[j][r, c]
                line[c] = value
        line[:known] = row[r, :known]
        for c in range(line.size):
            difference = here[c] - line[c]
            total += weight[c] * difference * difference
    return total
