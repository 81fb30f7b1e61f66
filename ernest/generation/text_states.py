"""Which tokens may follow so that a text stays whole: no half of a UTF-16 unit, no half of a surrogate pair, at no step.

A token is a byte string of any length, so a text may stand between two bytes for a while. Five states tell what is open.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

WHOLE, HALF, HALF_HIGH, HIGH, HALF_LOW = range(5)
"""Nothing is open; the first byte of a unit; that of a high surrogate; a high surrogate; and the first byte of its low one."""
BROKEN = 5
MISSING_BYTES = (0, 1, 3, 2, 1)
"""Of each state, until a text is whole: so many tokens always suffice."""


class TextStates:
    """The states of the texts of a vocabulary, whose tokens spell `pieces`; those that spell nothing belong to no text."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        steps, lengths = _steps(), np.array([len(piece) for piece in pieces])
        spelled = np.zeros((len(pieces), lengths.max()), np.int64)
        for row, piece in zip(spelled, pieces, strict=True):
            row[: len(piece)] = list(piece)
        state = np.repeat(np.arange(5)[:, None], len(pieces), axis=1)
        for column, length in zip(spelled.T, range(lengths.max()), strict=True):
            state = np.where(length < lengths, steps[state, column], state)
        self.after = np.where(lengths > 0, state, BROKEN)
        missing = np.array([*MISSING_BYTES, 1 << 30])[self.after]
        most = max(MISSING_BYTES)
        self._allowed = [[torch.from_numpy(row <= left) for left in range(most + 1)] for row in missing]

    def allowed(self, state: int, left: int) -> Tensor:
        """The tokens that may come, where `left` more can follow them: bool `[vocabulary]`."""
        return self._allowed[state][min(left, max(MISSING_BYTES))]


def _steps() -> np.ndarray:
    """The next state by state and byte, `[6, 256]`."""
    byte = np.arange(256)
    high, low = (byte >= 0xD8) & (byte < 0xDC), (byte >= 0xDC) & (byte < 0xE0)
    steps = np.full((6, 256), BROKEN)
    steps[WHOLE] = np.where(high, HALF_HIGH, np.where(low, BROKEN, HALF))
    steps[HALF], steps[HALF_HIGH], steps[HALF_LOW] = WHOLE, HIGH, WHOLE
    steps[HIGH, low] = HALF_LOW
    return steps
