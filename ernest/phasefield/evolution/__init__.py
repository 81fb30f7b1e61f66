"""Flows with coefficients that vary, several fields, walls that hold something, and noise; see `flows` and `elements`."""
