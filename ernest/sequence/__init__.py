"""The shared language: records, groups, positions, the mask and packing. Imports nothing of Ernest."""
