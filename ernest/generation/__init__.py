"""Decoding: one engine that walks groups, for every modality."""
