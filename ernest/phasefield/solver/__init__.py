"""The solver behind `solve`: choice of schemes, step control, error estimate, events, checkpoints and the solution."""
