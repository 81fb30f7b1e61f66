"""What is for training and what is held out, and where every record's draws come from."""

import numpy as np

HELD_OUT = 2**40
"""Records of this index and above are held out: other handwriting, other draws of everything, never seen in training."""


def is_held_out(index: int) -> bool:
    """Whether a record is held out. Raises ValueError for a negative index."""
    if index < 0:
        raise ValueError(f"record index: expected 0 or more, got {index}")
    return index >= HELD_OUT


def generator(seed: int, index: int, purpose: str) -> np.random.Generator:
    """The source of all draws of one record for one purpose; other purposes of the same record draw independently."""
    is_held_out(index)
    return np.random.default_rng((seed, index, *purpose.encode()))
