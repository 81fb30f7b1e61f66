"""General dynamical systems u_t = f(t, u), dense, sparse or matrix-free; see `system` and `solve`."""
