"""Measurements of the phase-field engine: `python -m benchmarks.phasefield`."""
