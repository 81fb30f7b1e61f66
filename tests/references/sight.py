"""Who loses whom from view in films, position by position: the slow and obvious way."""

from collections.abc import Sequence

import numpy as np


def loses(films: Sequence[tuple[int, int]], length: int, cells: int, window: int, hidden: Sequence[Sequence[bool]]) -> np.ndarray:
    """bool `[positions, positions]` of a document: which query does not see which key though it stands behind it.

    `films` are (first position, frames) each, of so many `cells` a frame, the last of which carries the frame and asks for the
    next one. `window` 0 is all frames.
    """
    film, of, asks = (np.full(length, -1) for _ in range(3))
    for number, (start, frames) in enumerate(films):
        for place in range(frames * cells):
            frame, cell = divmod(place, cells)
            film[start + place], of[start + place], asks[start + place] = number, frame, frame + (cell == cells - 1)
    lost = np.zeros((length, length), bool)
    for i in range(length):
        for j in range(length):
            if film[i] >= 0 and film[j] == film[i] and i != j and of[j] < asks[i]:
                too_old = window > 0 and of[j] < asks[i] - window
                lost[i, j] = too_old or hidden[film[j]][of[j]]
    return lost
