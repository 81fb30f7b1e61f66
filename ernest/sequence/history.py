"""What a frame of a made film sees of the frames before it: those of a window that are not hidden (VideoAR, 2601.05966, eq. 9).

Frame f sees {f' in [f - w, f - 1] : frame f' is not hidden}, itself, and all of its document before it that is no frame of the
same film: texts, given pictures and films, other made ones. Frames are those that the network makes one after the other: latents,
with a temporal stride. SΣ carries its frame and asks for the next one: it is seen as a part of the first, and sees what the
second sees. What stands behind the film sees all of it.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ernest.sequence.batch import Cells
from ernest.sequence.mask import Sight


def frame_sight(cells: Cells, group: Tensor, scales: int, window: int) -> Sight | None:
    """The sight of all positions of packed rows, whose groups are `group` `[rows, length]`, under a `window` of frames of so many
    `scales` each (0: all frames). None where nothing is lost from view."""
    frames = len(cells.frame_index)
    if not frames or not (window or len(cells.hidden)):
        return None
    position = cells.index.view(frames, -1)  # SΣ is the last of each frame
    end = group.flatten()[cells.frame_index]
    film = torch.zeros_like(end)
    film[1:] = (position[1:, 0] != position[:-1, -1] + 1).cumsum(0)
    back = torch.zeros_like(end).scatter_reduce_(0, film, end, "amax")[film] + 1
    gone = end + window * scales if window else back
    if len(cells.hidden):
        gone = torch.where(cells.hidden, end, gone)
    of_cells = gone[:, None].repeat(1, position.shape[1])
    of_cells[:, -1] = gone.maximum(end + 1)  # SΣ sees itself
    return Sight(_spread(of_cells, position, group), _spread(back[:, None].expand_as(position), position, group))


def _spread(values: Tensor, position: Tensor, group: Tensor) -> Tensor:
    """Values at flat positions, 0 elsewhere, `[rows, length]`."""
    return torch.zeros_like(group).flatten().index_copy(0, position.flatten(), values.flatten()).view_as(group)


def hide_frames(cells: Cells, hidden: Tensor) -> Cells:
    """Cells of which later frames do not see those of `hidden` bool `[M]`, by attention or otherwise: such a frame does not stand
    beside the cells of the next one either, and its SΣ carries nothing. The last frame of a film must not be hidden."""
    bits = cells.value.shape[1] // 2
    value = cells.value.unflatten(0, (len(hidden), -1)).clone()
    value[hidden, -1] = 0.0
    value[1:, :-1, bits:] *= ~hidden[:-1, None, None]
    return replace(cells, value=value.flatten(0, 1), frame=cells.frame * ~hidden[:, None], hidden=hidden)
