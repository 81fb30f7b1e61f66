"""Scripts that run in the peers' own environment; `serve` is all that they share, and none of them imports Ernest."""
