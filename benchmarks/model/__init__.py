"""Training speed and methods of the unified model: the parts of `python -m benchmarks`."""
