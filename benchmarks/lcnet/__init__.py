"""Measurements of the LCNet engine: latency beside other runtimes and other networks, its floor, its training."""
