"""Who sees whom, from nothing but the lengths of blocks: the slow and obvious way."""

from collections.abc import Sequence

import numpy as np


def sees(documents: Sequence[Sequence[int]]) -> np.ndarray:
    """bool `[positions, positions]`; a document is a list of block lengths in reading order.

    Inside a block everyone sees everyone; a later block sees all earlier ones of its document; documents never meet.
    """
    blocks = [(d, b) for d, lengths in enumerate(documents) for b, length in enumerate(lengths) for _ in range(length)]
    visible = np.zeros((len(blocks), len(blocks)), bool)
    for i, (document, block) in enumerate(blocks):
        for j, (other_document, other_block) in enumerate(blocks):
            if document != other_document:
                continue
            visible[i, j] = block == other_block or j < i
    return visible
