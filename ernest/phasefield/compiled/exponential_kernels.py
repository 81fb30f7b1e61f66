"""Numba loops of ETDRK4 and IMEX-BDF4: see `kernels` for what arrays and tables hold."""

# Numba infers the types of all arguments: arrays of float64 or complex128, and tuples of them.
# ruff: noqa: ANN001, ANN201

from numba import prange


def etd_stage(E, Q, fold, v, N, out, kept):
    """out = kept = E v + Q N: the first stage of ETDRK4, which a later one needs again."""
    for r in prange(v.shape[0]):
        q = fold[r]
        for c in range(v.shape[1]):
            value = E[q, c] * v[r, c] + Q[q, c] * N[r, c]
            out[r, c] = value
            kept[r, c] = value


def etd_second(E, Q, fold, v, N, out):
    """out = E v + Q N."""
    for r in prange(v.shape[0]):
        q = fold[r]
        for c in range(v.shape[1]):
            out[r, c] = E[q, c] * v[r, c] + Q[q, c] * N[r, c]


def etd_third(E, Q, fold, a, Nb, Nv, out):
    """out = E a + Q (2 Nb - Nv)."""
    for r in prange(a.shape[0]):
        q = fold[r]
        for c in range(a.shape[1]):
            out[r, c] = E[q, c] * a[r, c] + Q[q, c] * (2 * Nb[r, c] - Nv[r, c])


def etd_end(E, f1, f2, f3, fold, v, Nv, Na, Nb, Nc, end, out):
    """end = out = E v + f1 Nv + f2 (Na + Nb) + f3 Nc."""
    for r in prange(v.shape[0]):
        q = fold[r]
        for c in range(v.shape[1]):
            value = E[q, c] * v[r, c] + f1[q, c] * Nv[r, c] + f2[q, c] * (Na[r, c] + Nb[r, c]) + f3[q, c] * Nc[r, c]
            end[r, c] = value
            out[r, c] = value


def bdf4(inverse, drive, fold, us, Ns, end, out):
    """end = out = the new value of IMEX-BDF4, from the last four values of u and N, newest first."""
    u0, u1, u2, u3 = us
    N0, N1, N2, N3 = Ns
    for r in prange(end.shape[0]):
        q = fold[r]
        for c in range(end.shape[1]):
            past = 1.92 * u0[r, c] - 1.44 * u1[r, c] + 0.64 * u2[r, c] - 0.12 * u3[r, c]
            explicit = 4 * N0[r, c] - 6 * N1[r, c] + 4 * N2[r, c] - N3[r, c]
            value = inverse[q, c] * past + drive[q, c] * explicit
            end[r, c] = value
            out[r, c] = value
