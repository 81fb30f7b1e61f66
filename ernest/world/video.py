"""Make videos of phase-field physics and of moving digits, and check the laws that they must obey.

Every video is a pure function of `(seed, index)` and its sizes. Two colours show the two phases, and are read back
into the field, so the energy of any video, true or generated, can be computed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ernest.phasefield import AllenCahn, CahnHilliard, ConservativeAllenCahn, Flow, Grid, SemiImplicit, march
from ernest.world import scenes
from ernest.world.handwriting import Pose, draw, writings
from ernest.world.images import DIGITS, INKS, PAPERS, centroid, check_levels, paint
from ernest.world.scenes import KAPPA
from ernest.world.sizes import BOX, FRAMES, SIZE
from ernest.world.split import generator, is_held_out

_DARK = np.array([15, 26, 92]) / 255
_BRIGHT = np.array([255, 194, 56]) / 255
"""Colours of the two phases, in whole levels of 8 bits: where the field is at rest, no last digit can turn the rounding."""
_CHUNK = 48
"""The most videos solved together: few enough for their fields to stay in the processor's cache."""


@dataclass(frozen=True)
class _Family:
    """Frame j of 0..n shows the time T (j / n) ** clock.

    In an eighth of j / n the solver takes `steps` elements, each corrected by `sweeps`.
    """

    caption: str
    scene: Callable[[np.random.Generator, int], scenes.Scene]
    flow: Flow
    conserves: bool
    clock: float
    steps: int
    sweeps: int


_FAMILIES = (
    _Family("a disk shrinking", scenes.disk, AllenCahn(KAPPA), False, 1.0, 6, 1),
    _Family("a star rounding off", scenes.star, ConservativeAllenCahn(KAPPA), True, 1.3, 1, 2),
    _Family("two discs merging", scenes.two_discs, ConservativeAllenCahn(KAPPA), True, 1.2, 3, 1),
    _Family("two drops exchanging mass", scenes.two_drops, ConservativeAllenCahn(KAPPA), True, 1.0, 6, 1),
    _Family("a mixture separating", scenes.mixture, CahnHilliard(KAPPA), True, 2.0, 3, 2),
)
FAMILIES: tuple[str, ...] = tuple(family.caption for family in _FAMILIES)


def simulate(family: int, seed: int, indices: Sequence[int], size: int = SIZE, frames: int = FRAMES) -> np.ndarray:
    """Videos uint8 `[N, frames, size, size, 3]` of the family `FAMILIES[family]`: one for each index, whatever the others are."""
    _check_family(family)
    if frames < 2:
        raise ValueError(f"frames: expected 2 or more, got {frames}")
    videos = np.empty((len(indices), frames, size, size, 3), np.uint8)
    # Even parts: a single video takes as long as ten together.
    for part in np.array_split(np.arange(len(indices)), max(1, -(-len(indices) // _CHUNK))):
        scenes = [_FAMILIES[family].scene(generator(seed, indices[position], FAMILIES[family]), size) for position in part]
        if scenes:
            starts, times = zip(*scenes, strict=True)
            videos[part] = colours(_solve(_FAMILIES[family], np.stack(starts), np.array(times), frames))
    return videos


def _check_family(family: int) -> None:
    if not 0 <= family < len(FAMILIES):
        raise ValueError(f"family: expected 0 to {len(FAMILIES) - 1}, got {family}")


def _solve(family: _Family, starts: np.ndarray, times: np.ndarray, frames: int) -> np.ndarray:
    """Fields `[N, frames, n, n]` of all frames, from the first ones `[N, n, n]` and the times T `[N]`."""
    # In single precision the last digits, which depend on the batch and on the processor, grow in a mixture that separates
    # until they turn the rounding of pixels. In double precision they stay a billion times finer than a level of 8 bits.
    u, T = torch.from_numpy(starts), torch.from_numpy(times)
    clock = np.linspace(0, 1, frames) ** family.clock
    per_frame = math.ceil(8 * family.steps / (frames - 1))
    steps = [T * float(span / per_frame) for span in np.diff(clock) for _ in range(per_frame)]
    grid = Grid.cube(starts.shape[-1], BOX)
    ends = []
    # With these steps and sweeps, hardly a pixel in ten thousand is more than one level of 255 away from the exact solution's.
    scheme = SemiImplicit(degree=2, sweeps=family.sweeps, stabilisation=1.0)
    for count, element in enumerate(march(family.flow, grid, u, steps, scheme), start=1):
        if count % per_frame == 0:
            ends.append(element.end_modes)
    return torch.cat([u[:, None], grid.field(torch.stack(ends, 1))], 1).numpy()


def colours(u: np.ndarray) -> np.ndarray:
    """The picture uint8 `[..., 3]` of a field `[...]`: blue where u = -1, amber where u = 1, mixed linearly between."""
    share = (np.clip(u, -1.1, 1.1) + 1) / 2
    levels = share[..., None] * (255 * (_BRIGHT - _DARK))
    levels += 255 * _DARK
    return np.rint(levels, out=levels).clip(0, 255, out=levels).astype(np.uint8)


def fields(frames: np.ndarray) -> np.ndarray:
    """The field `[...]` that a picture uint8 `[..., 3]` shows: its colour projected on the line from blue to amber.

    Raises ValueError for other numbers: those of a film in [0, 1] would be read as darkness.
    """
    check_levels(frames, "frames")
    line = _BRIGHT - _DARK
    return 2 * ((frames / 255.0 - _DARK) @ line) / (line @ line) - 1


def energies(frames: np.ndarray) -> np.ndarray:
    """Energy of every frame `[...]` of uint8 `[..., size, size, 3]`: the double well, with differences for the gradient."""
    u = fields(frames)
    slopes = (u - np.roll(u, 1, -1)) ** 2 + (u - np.roll(u, 1, -2)) ** 2
    cell = (BOX / u.shape[-1]) ** 2
    return (KAPPA / 2 * slopes + cell * (u * u - 1) ** 2 / 4).sum((-1, -2))


def obeys_energy_law(frames: np.ndarray, tolerance: float = 0.02, drop: float = 0.1) -> np.ndarray:
    """Whether videos uint8 `[..., frames, size, size, 3]` obey the energy law, bool `[...]`.

    The energy never rises by more than `tolerance` of the first on any step, and falls by `drop` of it at least in all. Where
    there is none at first, as in one phase alone, nothing can fall, and the law is not obeyed.
    """
    energy = energies(frames)
    first = energy[..., :1]
    never_rises = (np.diff(energy, axis=-1) <= tolerance * first).all(-1)
    return np.asarray(never_rises & (first[..., 0] > 0) & (energy[..., -1] <= (1 - drop) * first[..., 0]))


def areas(frames: np.ndarray) -> np.ndarray:
    """Share of the canvas that the bright phase fills in every frame `[...]` of uint8 `[..., size, size, 3]`."""
    return (fields(frames).mean((-1, -2)) + 1) / 2


def obeys_area_law(family: int, frames: np.ndarray, tolerance: float = 0.01) -> np.ndarray:
    """Whether videos uint8 `[..., frames, size, size, 3]` obey the area law of their family, bool `[...]`.

    The area never changes by more than `tolerance` of the canvas; a disk's area, though, falls by as much as it has to:
    at no time does it grow, and at the end less than half is left of one that was there.
    """
    _check_family(family)
    area = areas(frames)
    if _FAMILIES[family].conserves:
        return np.asarray((np.abs(area - area[..., :1]) <= tolerance).all(-1))
    never_grows = (np.diff(area, axis=-1) <= tolerance).all(-1)
    return np.asarray(never_grows & (area[..., 0] > 0) & (area[..., -1] <= area[..., 0] / 2))


DIRECTIONS: tuple[str, ...] = ("left", "right", "up", "down")
_STEPS = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
"""Unit step (x right, y down) of each of `DIRECTIONS`."""


@dataclass(frozen=True)
class MovingDigit:
    """Frames uint8 `[frames, size, size, 3]` and what they show: a digit 0..9 and one of `DIRECTIONS`."""

    frames: np.ndarray
    digit: int
    direction: str


def moving_digit(seed: int, index: int, size: int = SIZE, frames: int = FRAMES) -> MovingDigit:
    """A handwritten digit in any colour that crosses the canvas at an even speed, and stays on it."""
    rng = generator(seed, index, "moving digit")
    digit, colour, paper, direction = (int(rng.integers(n)) for n in (10, len(INKS), len(PAPERS), len(DIRECTIONS)))
    choice = writings(digit, is_held_out(index))
    writing = int(choice[rng.integers(len(choice))])
    side, angle, slant, aside, behind, ahead = rng.uniform([14, -0.175, -0.1, -6, 6, 6], [16, 0.175, 0.1, 6, 8.5, 8.5]).tolist()
    scale = size / BOX
    along = np.linspace(-behind, ahead, frames)[:, None] * _STEPS[direction]
    path = scale * (along + aside * np.abs(_STEPS[direction][::-1]))
    poses = [Pose(scale * side, angle, slant, 1.0, x, y) for x, y in path.tolist()]
    ink = draw([writing] * frames, poses, size)
    pixels = paint(ink, INKS[[colour] * frames], PAPERS[[paper] * frames])
    return MovingDigit(pixels, digit, DIRECTIONS[direction])


def moving_caption(digit: int, direction: str) -> str:
    """`a seven moving left`. Raises ValueError for what no video shows."""
    if not (0 <= digit < 10 and direction in DIRECTIONS):
        raise ValueError(f"caption: no digit {digit!r} or direction {direction!r} like that")
    return f"a {DIGITS[digit]} moving {direction}"


def read_direction(frames: np.ndarray) -> str | None:
    """The direction in which the ink of a video uint8 `[frames, h, w, 3]` moves, by its centroids in the first and the last
    frame.

    None where a frame has no ink or the ink moves by less than a quarter of the canvas.
    """
    first, last = centroid(frames[0]), centroid(frames[-1])
    if first is None or last is None:
        return None
    reach = _STEPS @ ((last - first) / frames.shape[2:0:-1])
    return DIRECTIONS[int(reach.argmax())] if reach.max() >= 1 / 4 else None
