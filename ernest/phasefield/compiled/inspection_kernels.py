"""Numba loops that measure the end of an element: see `kernels` for what arrays and tables hold."""

# Numba infers the types of all arguments: arrays of float64 or complex128, and tuples of them.
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import prange


def examine(u, scale, reaction, slopes, energy, well):
    """u <- N(scale u); the sums over the points of F and of N'(u)^2, and the greatest |scale u|.

    `reaction`, `slopes` and `energy` are the coefficients of N, N' and F, constant first; F has well/4 (u^2 - 1)^2 besides.
    """
    bulk, steep, largest = 0.0, 0.0, 0.0
    for i in prange(u.size):
        x = scale * u[i]
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
        largest = max(largest, abs(x))
        u[i] = value
    return bulk, steep, largest


def factor(half, stiffness, inverse):
    """The reciprocal pivots `[p, rows, 2 columns]` of I + z A, z = half stiffness, for both parts of every mode."""
    for r in prange(stiffness.shape[0]):
        for c in range(stiffness.shape[1]):
            z = half * stiffness[r, c]
            pivot = 1 / (1 + z)
            inverse[0, r, 2 * c] = inverse[0, r, 2 * c + 1] = pivot
            for j in range(1, inverse.shape[0]):
                pivot = 1 / (1 + z * z * pivot / ((2 * j + 1) * (2 * j - 1)))
                inverse[j, r, 2 * c] = inverse[j, r, 2 * c + 1] = pivot


def inspect(half, tables, inverse, fold, split, u, end, N_end, rows, M, outer, outer_M, at_node, out, node):
    """Solves for the c_k of an element, as `solve_element` does, and measures it in the same pass.

    `tables` are stiffness, mobility, the linear part of the energy, 1 / mobility or 0, and the squared weights of the residual;
    `inverse` are the pivots of `factor`.
    In a row of modes the columns before `split` know N by `rows`, those after by `outer`, each with its matrix to moments.
    The c_k go to `out`, which may have one row only, for all rows of modes in turn. `node` becomes u + sum of at_node_k c_k.

    Returns sums over all modes: |end|^2, |end - u|^2, linear |end|^2, sum of |c_k|^2 / ((2k - 1) mobility), and weight^2
    |residual|^2 with the residual (2 / tau) sum of c_k + stiffness end + mobility N_end. Modes are given as twice as many real
    numbers; a column stands for two modes, but for the first and the last.
    """
    stiffness, mobility, linear, inverse_mobility, weights = tables
    degree, columns = M.shape[0], u.shape[1]
    size, change, quadratic, dissipated, residual = 0.0, 0.0, 0.0, 0.0, 0.0
    shares = np.full(columns // 2, 2.0)
    shares[0] = shares[-1] = 1.0
    z, drive, slope, square = np.empty(columns), np.empty(columns), np.empty(columns), np.empty(columns)
    inside, sizes, changes = np.empty(columns), np.empty(columns), np.empty(columns)
    for r in range(u.shape[0]):
        q, o, known, start = fold[r], r if out.shape[1] > 1 else 0, split[r], u[r]
        for c in range(columns // 2):
            z[2 * c] = z[2 * c + 1] = half * stiffness[q, c]
            drive[2 * c] = drive[2 * c + 1] = half * mobility[q, c]
        # Lines of one axis in every innermost loop: with those of more the compiler makes no vector instructions.
        for j in range(degree):
            out[j, o] = 0
        for n in range(len(rows)):
            row = rows[n][r][:known]
            for j in range(degree):
                moment, weight = out[j, o][:known], M[j, n]
                for c in range(row.size):
                    moment[c] += weight * row[c]
        if known < columns:
            for n in range(len(outer)):
                row = outer[n][r][known:]
                for j in range(degree):
                    moment, weight = out[j, o][known:], outer_M[j, n]
                    for c in range(row.size):
                        moment[c] += weight * row[c]
        first = out[0, o]
        for c in range(columns):
            first[c] = -z[c] * start[c] - drive[c] * first[c]
        for j in range(1, degree):
            below, here, inverse_below, share = out[j - 1, o], out[j, o], inverse[j - 1, q], 1 / (2 * j - 1)
            for c in range(columns):
                here[c] = -drive[c] * here[c] - share * z[c] * inverse_below[c] * below[c]
        slope[:] = 0
        square[:] = 0
        inside[:] = start
        for j in range(degree - 1, -1, -1):
            here, above, inverse_here, at_j = out[j, o], out[min(j + 1, degree - 1), o], inverse[j, q], at_node[j]
            share = 1 / (2 * j + 3) if j < degree - 1 else 0.0
            for c in range(columns):
                value = (here[c] + share * z[c] * above[c]) * inverse_here[c]
                here[c] = value
                slope[c] += value
                square[c] += value * value / (2 * j + 1)
                inside[c] += at_j * value
        at, last, N = node[r], end[r], N_end[r]
        for c in range(columns):
            at[c] = inside[c]
            difference, lacking = last[c] - start[c], slope[c] + z[c] * last[c] + drive[c] * N[c]
            sizes[c] = last[c] * last[c]
            changes[c] = difference * difference
            slope[c] = lacking * lacking / (half * half)
        of_energy, of_loss, of_error = linear[q], inverse_mobility[q], weights[q]
        for c in range(columns // 2):
            share = shares[c]
            whole = share * (sizes[2 * c] + sizes[2 * c + 1])
            size += whole
            change += share * (changes[2 * c] + changes[2 * c + 1])
            quadratic += of_energy[c] * whole
            dissipated += share * of_loss[c] * (square[2 * c] + square[2 * c + 1])
            residual += share * of_error[c] * (slope[2 * c] + slope[2 * c + 1])
    return size, change, quadratic, dissipated, residual


def weigh_errors(half, span, rise, peak, degree, table, stiffness, mobility, weights, responses):
    """The squares of what a residual at the end of an element, and what N misses all through it, are multiplied with.

    `table` `[2, points]` has the integral over s^p (1 - s), and 1 - R over s, on a line of s = z / (1 + z); both are read by the
    cubic through four points. z = half stiffness is taken where the integral is greatest up to half (stiffness + rise mobility).
    """
    last = table.shape[1] - 1
    for r in prange(stiffness.shape[0]):
        for c in range(stiffness.shape[1]):
            z, drive = half * stiffness[r, c], half * mobility[r, c]
            at = min(max(z, peak), z + rise * drive)
            s, t = z / (1 + z), at / (1 + at)
            place = s * last
            i = min(max(int(place) - 1, 0), last - 3)
            x = place - i
            lost = s * (
                (x - 1) * (x - 2) * ((3 - x) * table[1, i] + x * table[1, i + 3]) / 6
                + x * (x - 3) * ((x - 2) * table[1, i + 1] - (x - 1) * table[1, i + 2]) / 2
            )
            place = t * last
            i = min(max(int(place) - 1, 0), last - 3)
            x = place - i
            integral = (1 - t) * (
                (x - 1) * (x - 2) * ((3 - x) * table[0, i] + x * table[0, i + 3]) / 6
                + x * (x - 3) * ((x - 2) * table[0, i + 1] - (x - 1) * table[0, i + 2]) / 2
            )
            for _ in range(degree):
                integral *= t
            over = 1 / (2 * half + span * lost)
            weight = half * integral * over
            weights[r, c] = weight * weight
            response = over * drive * (lost / z if z > 0 else 2.0)
            responses[r, c] = response * response


def weigh_missed(weights, fold, split, N, row, outer, at_node):
    """Sum of weights |N - N_known|^2 over all modes; N_known is `row` before the column `split`, and from there the sum of
    at_node_j outer_j."""
    columns, total = N.shape[1], 0.0
    for r in prange(N.shape[0]):
        q, known = fold[r], min(split[r] // 2, columns)
        for c in range(columns):
            value = N[r, c]
            if c < known:
                value -= row[r, c]
            else:
                for j in range(len(outer)):
                    value -= at_node[j] * outer[j][r, c]
            share = 1.0 if c == 0 or c == columns - 1 else 2.0
            total += share * weights[q, c] * (value.real * value.real + value.imag * value.imag)
    return total
