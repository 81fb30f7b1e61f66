"""Make collages of digit cards and plain shapes, labelled with exact boxes, kinds and masks, for detection and segmentation.

A collage is a pure function of `(seed, index, size)`; from `HELD_OUT` on its handwriting is never that of training.
"""

import math
from dataclasses import dataclass

import numpy as np

from ernest.world.handwriting import Pose, draw, writings
from ernest.world.images import DIGITS, INKS
from ernest.world.sizes import COLLAGE_SIZE
from ernest.world.split import generator, is_held_out

KINDS: tuple[str, ...] = (*DIGITS, "disc", "square", "triangle", "star")
"""What a piece can be: the digit on a card, or a shape."""
FORMS: tuple[str, ...] = ("paper", "digit", "disc", "square", "triangle", "star")
"""What a pixel can belong to: a digit takes its card with it."""

_RAYS = {"square": 4, "triangle": 3, "star": 5}
_MOST, _TRIES = 4, 40
_NEARNESS = 0.85
"""The least distance of two centres, in the sum of their radii: a piece may cover a corner of another, and no more."""


@dataclass(frozen=True)
class Collage:
    """Pixels uint8 `[size, size, 3]`; of each piece the box `[x0, y0, x1, y1]` of what is seen of it, in pixels,
    float32 `[n, 4]`, and its kind, a place in `KINDS`, int64 `[n]`; for each pixel the form, a place in `FORMS`, of the piece
    that covers more than half of it, or of the paper, uint8 `[size, size]`."""

    pixels: np.ndarray
    boxes: np.ndarray
    kinds: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class _Piece:
    kind: int
    x: float
    y: float
    radius: float
    angle: float


def collage(seed: int, index: int, size: int = COLLAGE_SIZE) -> Collage:
    """The collage of one index, of 1 to 4 pieces. Raises ValueError for a size below 64, which leaves digits illegible."""
    if size < 64:
        raise ValueError(f"size: expected at least 64 pixels, got {size}")
    rng = generator(seed, index, "collage")
    canvas, owners = _paper(rng, size), np.zeros((size, size), np.int64)
    pieces = _laid_out(rng, size)
    for number, piece in enumerate(pieces, 1):
        _paste(rng, canvas, owners, piece, number, is_held_out(index))
    canvas += rng.normal(0, 0.015, canvas.shape)
    kinds = np.array([piece.kind for piece in pieces])
    boxes = np.stack([_bounds(owners == number) for number in range(1, len(pieces) + 1)])
    pixels = np.rint(canvas.clip(0, 1) * 255).astype(np.uint8)
    return Collage(pixels, boxes, kinds, np.append(0, forms(kinds))[owners].astype(np.uint8))


def forms(kinds: np.ndarray) -> np.ndarray:
    """Places in `FORMS` of places in `KINDS`: all digits are of one form."""
    return np.maximum(kinds - len(DIGITS) + 2, 1)


def _paper(rng: np.random.Generator, size: int) -> np.ndarray:
    """A dark colour that grows lighter in some direction."""
    along = np.linspace(-0.5, 0.5, size)
    slope, across = rng.uniform(-0.15, 0.15, 2)
    light = slope * along[:, None] + across * along
    return rng.uniform(0.04, 0.28, 3) + light[..., None]


def _laid_out(rng: np.random.Generator, size: int) -> list[_Piece]:
    """Pieces that lie on the canvas as a whole and keep their distance; as many as there is room for."""
    count, pieces = int(rng.integers(1, _MOST + 1)), list[_Piece]()
    for _ in range(_TRIES):
        # As many digits as shapes: the shapes would be rare among fourteen kinds.
        digit = rng.random() < 0.5
        kind = int(rng.integers(len(DIGITS)) if digit else rng.integers(len(DIGITS), len(KINDS)))
        radius = size * rng.uniform(0.16, 0.25)
        x, y = rng.uniform(radius + 2, size - radius - 2, 2)
        # Upside down a six is a nine, and a square on its tip would be hard to tell from nothing else.
        turn = math.pi if KINDS[kind] in ("triangle", "star") else 0.3
        piece = _Piece(kind, x, y, radius, rng.uniform(-turn, turn))
        if all(math.hypot(x - one.x, y - one.y) > _NEARNESS * (radius + one.radius) for one in pieces):
            pieces.append(piece)
        if len(pieces) == count:
            break
    return pieces


def _paste(rng: np.random.Generator, canvas: np.ndarray, owners: np.ndarray, piece: _Piece, number: int, held_out: bool) -> None:
    """Draws one piece over what is there, pixels by the share that it covers, within the square window around it."""
    half = math.ceil(piece.radius) + 1
    left, top = round(piece.x) - half, round(piece.y) - half
    window = slice(top, top + 2 * half), slice(left, left + 2 * half)
    # Places of the pixels' centres, from the centre of the piece.
    line = np.arange(2 * half) + 0.5
    x, y = np.meshgrid(line + left - piece.x, line + top - piece.y)
    name = KINDS[piece.kind]
    if name == "disc":
        inside = piece.radius - np.hypot(x, y)
    else:
        turned = piece.angle if name in ("triangle", "star") else piece.angle + math.pi / 4
        inside = _star(x, y, _RAYS.get(name, 4), piece.radius, turned, waist=0.65 if name == "star" else None)
    covered = (inside + 0.5).clip(0, 1)
    colour = np.broadcast_to(INKS[rng.integers(len(INKS))], (*covered.shape, 3))
    if piece.kind < len(DIGITS):
        choice = writings(piece.kind, held_out)
        # Of a card's side, sqrt(2) radii, the sample of 8x8 takes most; its middle lies where the card's does.
        place = Pose(1.28 * piece.radius, piece.angle, 0, 1, piece.x - left - half, piece.y - top - half)
        ink = draw([int(choice[rng.integers(len(choice))])], [place], 2 * half)[0][..., None]
        colour = (0.45 + 0.55 * colour) * (1 - ink) + rng.uniform(0, 0.2, 3) * ink
    canvas[window] += covered[..., None] * (colour - canvas[window])
    owners[window][covered > 0.5] = number


def _star(x: np.ndarray, y: np.ndarray, rays: int, radius: float, angle: float, waist: float | None) -> np.ndarray:
    """Distance to the edge, positive inside, of a star whose notches lie at `waist` radii, or of a regular polygon."""
    sector = 2 * math.pi / rays
    # Folded into half a ray, the star has one straight edge, from its tip to its notch.
    turned = np.abs((np.arctan2(y, x) - angle + sector / 2) % sector - sector / 2)
    length = np.hypot(x, y)
    u, v = length * np.cos(turned), length * np.sin(turned)
    notch = radius * (math.cos(sector / 2) if waist is None else waist)
    du, dv = notch * math.cos(sector / 2) - radius, notch * math.sin(sector / 2)
    return (du * v - dv * (u - radius)) / math.hypot(du, dv)


def _bounds(mask: np.ndarray) -> np.ndarray:
    """The box around the pixels that are seen, float32 `[4]`."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
