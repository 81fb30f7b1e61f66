"""Makers of the embedded world: records of pictures, videos, speech and texts with exact answers, from a seed and an index."""
