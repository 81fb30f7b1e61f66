"""Make pictures of a coloured handwritten digit with captions, and read colour, place and caption back exactly.

There are six colours and five places. A picture is a pure function of `(seed, index, size)`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ernest.world.handwriting import Pose, draw, writings
from ernest.world.sizes import BOX, SIZE
from ernest.world.split import generator, is_held_out

DIGITS: tuple[str, ...] = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS: tuple[str, ...] = ("red", "green", "blue", "yellow", "pink", "white")
PLACES: tuple[str, ...] = ("top left", "top right", "bottom left", "bottom right", "centre")
WHERE = {place: f"{'in' if place == 'centre' else 'at'} the {place}" for place in PLACES}

INKS = np.array([[242, 51, 46], [51, 217, 64], [77, 115, 255], [250, 230, 51], [242, 89, 230], [242, 242, 242]]) / 255
"""RGB of each of `COLOURS`, in whole levels of 8 bits: full ink lies as far as can be from where rounding turns."""
PAPERS = np.array([[10, 10, 13], [41, 33, 51]]) / 255
"""RGB of the two backgrounds, in whole levels too."""
_CENTRES = np.array([[-7.5, -7.5], [7.5, -7.5], [-7.5, 7.5], [7.5, 7.5], [0.0, 0.0]])
"""Centre (x, y) of each of `PLACES`, from the middle of a canvas with sides of `BOX`."""


@dataclass(frozen=True)
class Picture:
    """Pixels uint8 `[size, size, 3]` and what they show: a digit 0..9, one of `COLOURS`, one of `PLACES`."""

    pixels: np.ndarray
    digit: int
    colour: str
    place: str


@dataclass(frozen=True)
class _Sketch:
    """All that is drawn by lot for one picture."""

    digit: int
    colour: int
    place: int
    paper: int
    writing: int
    pose: Pose


def picture(seed: int, index: int, size: int = SIZE, colour: str | None = None) -> Picture:
    """The picture of one index, or the same hand's in another `colour`. From `HELD_OUT` on the handwriting is never that of a
    smaller index. Raises ValueError for a colour that is none of `COLOURS`."""
    if colour not in (None, *COLOURS):
        raise ValueError(f"colour: {colour!r} is none of {', '.join(COLOURS)}")
    sketch = _sketch(seed, index, size / BOX)
    return _drawn([sketch if colour is None else replace(sketch, colour=COLOURS.index(colour))], size)[0]


def pictures(seed: int, indices: Sequence[int], size: int = SIZE) -> list[Picture]:
    """The pictures of many indices, to the bit those of `picture`, and faster."""
    if not len(indices):
        return []
    return _drawn([_sketch(seed, index, size / BOX) for index in indices], size)


def _drawn(sketches: Sequence[_Sketch], size: int) -> list[Picture]:
    ink = draw([sketch.writing for sketch in sketches], [sketch.pose for sketch in sketches], size)
    colours = INKS[[sketch.colour for sketch in sketches]]
    pixels = paint(ink, colours, PAPERS[[sketch.paper for sketch in sketches]])
    return [
        Picture(image, sketch.digit, COLOURS[sketch.colour], PLACES[sketch.place])
        for image, sketch in zip(pixels, sketches, strict=True)
    ]


def paint(ink: np.ndarray, colours: np.ndarray, papers: np.ndarray) -> np.ndarray:
    """Pixels uint8 `[N, h, w, 3]` of ink `[N, h, w]` in [0, 1], in colours `[N, 3]` on papers `[N, 3]`."""
    levels = ink[..., None] * (255 * (colours - papers))[:, None, None]
    levels += 255 * papers[:, None, None]
    return np.rint(levels, out=levels).astype(np.uint8)


def _sketch(seed: int, index: int, scale: float) -> _Sketch:
    """The lots of one picture; `scale` is the pixels of a unit of length."""
    rng = generator(seed, index, "picture")
    digit, colour, place, paper = (int(rng.integers(count)) for count in (10, len(COLOURS), len(PLACES), len(PAPERS)))
    choice = writings(digit, is_held_out(index))
    writing = int(choice[rng.integers(len(choice))])
    side, angle, slant, aspect, right, down = rng.uniform([14, -0.175, -0.1, 0.92, -1, -1], [18, 0.175, 0.1, 1.08, 1, 1]).tolist()
    x, y = scale * (_CENTRES[place] + (right, down))
    return _Sketch(digit, colour, place, paper, writing, Pose(scale * side, angle, slant, aspect, float(x), float(y)))


def caption(digit: int, colour: str, place: str) -> str:
    """`a red seven at the top left`, `a red seven in the centre`. Raises ValueError for what no picture shows."""
    if not (0 <= digit < 10 and colour in COLOURS and place in PLACES):
        raise ValueError(f"caption: no digit {digit!r}, colour {colour!r} or place {place!r} like that")
    return f"a {colour} {DIGITS[digit]} {WHERE[place]}"


_CAPTION = re.compile(rf"a ({'|'.join(COLOURS)}) ({'|'.join(DIGITS)}) (?:at the ({'|'.join(PLACES[:-1])})|in the (centre))")


def parse(text: str) -> tuple[int, str, str] | None:
    """Digit, colour and place of a caption, or None if the text is not exactly one."""
    match = _CAPTION.fullmatch(text)
    if match is None:
        return None
    colour, digit, corner, centre = match.groups()
    return DIGITS.index(digit), colour, corner or centre


def read_colour(pixels: np.ndarray) -> str | None:
    """The colour of the ink of a picture uint8 `[size, size, 3]`, or None where there is no ink."""
    excess, ink, paper = _ink(pixels)
    if not ink.any():
        return None
    # Blur and noise pale the strokes but keep their direction from the paper's colour; the boldest pixels show it best.
    direction = (excess * ink[..., None] ** 2).sum((0, 1))
    candidates = INKS - paper
    cosines = candidates @ direction / np.linalg.norm(candidates, axis=1)
    return COLOURS[int(cosines.argmax())]


def read_place(pixels: np.ndarray) -> str | None:
    """The place of the ink of a picture uint8 `[size, size, 3]`: nearest to its centroid. None where there is no ink."""
    centre = centroid(pixels)
    return None if centre is None else PLACES[int(np.hypot(*(_CENTRES - centre * BOX / pixels.shape[1::-1]).T).argmin())]


def centroid(pixels: np.ndarray) -> np.ndarray | None:
    """Centroid (x, y) of the ink of a picture uint8 `[h, w, 3]`, in pixels from its middle, or None without ink."""
    ink = _ink(pixels)[1]
    if not ink.any():
        return None
    height, width = ink.shape
    x, y = np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2
    return np.array([ink.sum(0) @ x, ink.sum(1) @ y]) / ink.sum()


def check_levels(pixels: np.ndarray, name: str) -> None:
    """Raises ValueError for what is no array uint8 `[..., 3]`: other numbers, such as shares in [0, 1], would be misread."""
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[-1:] != (3,):
        found = f"{getattr(pixels, 'dtype', type(pixels).__name__)} {list(getattr(pixels, 'shape', ()))}"
        raise ValueError(f"{name}: expected a numpy array uint8 [..., 3] of levels from 0 to 255, got {found}")


def _ink(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a picture has more than its paper, `[h, w, 3]`, how much ink that is, `[h, w]`, and the paper's colour `[3]`."""
    check_levels(pixels, "pixels")
    values = pixels / 255.0
    # The paper covers more than half of the canvas, so that it is the median of each channel.
    paper = np.median(values, axis=(0, 1))
    excess = values - paper
    strength = np.linalg.norm(excess, axis=-1)
    # What is weaker than a quarter of the faintest ink, blue on violet, is noise.
    return excess, np.maximum(strength - 0.2, 0), paper
