"""Weights in files: Ernest's own and those of other libraries."""
