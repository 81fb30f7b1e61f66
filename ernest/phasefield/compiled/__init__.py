"""Compiled steppers of the fast schemes: fused numba kernels and planned FFTs, equal to the torch steppers up to round-off."""
