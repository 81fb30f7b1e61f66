"""Compiled twins of the fast schemes: numba kernels and planned transforms, with the answers of the torch ones."""
