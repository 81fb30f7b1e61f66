"""Tell training records from held-out ones by their index, and give each record its own random generator."""

import zlib

import numpy as np

HELD_OUT = 2**40
"""Records of this index and above are held out: made of other writers' digits and other draws, and never used in training."""
_SHARE = 8


def is_held_out(index: int) -> bool:
    """Whether a record is held out. Raises ValueError for a negative index."""
    if index < 0:
        raise ValueError(f"record index: expected 0 or more, got {index}")
    return index >= HELD_OUT


def is_on_its_side(about: str, index: int) -> bool:
    """Whether a text may be that of record `index`: an eighth of what texts are about, by its checksum, is held out, whatever the
    seeds."""
    return (zlib.crc32(about.encode()) % _SHARE == 0) == is_held_out(index)


def generator(seed: int, index: int, purpose: str) -> np.random.Generator:
    """The random generator of one record for one purpose; generators of other purposes are independent of it. Raises ValueError
    for a negative seed or index."""
    is_held_out(index)
    if seed < 0:
        raise ValueError(f"seed of the world: expected 0 or more, got {seed}")
    return np.random.default_rng((seed, index, *purpose.encode()))
