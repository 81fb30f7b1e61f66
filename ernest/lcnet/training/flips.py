"""Finds out from the pictures whether they may be mirrored: whether a mirrored one still looks like one of its own class."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ernest.device import count_processors
from ernest.lcnet.image_io.reader import are_small, shrinking_reader
from ernest.lcnet.image_io.resize import resize_window
from ernest.lcnet.training.listing import Listing

SIDE = 16
"""Pixels to which pictures are pressed: what tells a class by its whole is left, and a thousand are compared at once."""

MOST_SMALL, MOST = 1000, 300
"""Pictures that are looked at: reading as many photographs takes seconds."""

KEPT, DEVIATIONS = 0.75, 3.0
"""Mirrored pictures may lose a quarter of what neighbours know beyond chance; and no loss counts that chance may have made."""


@dataclass(frozen=True)
class Mirrored:
    """The shares of `count` pictures whose nearest other picture is of the same class, as they are and mirrored."""

    count: int
    plain: float
    mirrored: float
    hurts: bool


def try_mirrored(listing: Listing) -> Mirrored:
    """Looks at an even sample of the pictures; those that cannot be read count for nothing."""
    most = MOST_SMALL if are_small(listing.files[:MOST]) else MOST
    places = np.linspace(0, len(listing.files) - 1, min(most, len(listing.files))).astype(int)
    with ThreadPoolExecutor(count_processors()) as pool:
        read = list(shrinking_reader(2 * SIDE).all([listing.files[place] for place in places], pool))
    kept = [(_small(one), listing.targets[place]) for one, place in zip(read, places, strict=True) if isinstance(one, np.ndarray)]
    if not kept:
        return Mirrored(0, 0.0, 0.0, False)
    targets = [target for _, target in kept]
    classes = {target: number for number, target in enumerate(dict.fromkeys(targets))}  # of many labels: equal sets
    return compare_mirrored(np.stack([one for one, _ in kept]), np.array([classes[target] for target in targets]))


def compare_mirrored(pictures: np.ndarray, targets: np.ndarray) -> Mirrored:
    """For pictures `[N, H, W, C]` and their classes `[N]`: each beside all others, then its mirror image beside these."""
    plain = _own_class_is_nearest(pictures, pictures, targets)
    mirrored = _own_class_is_nearest(pictures[:, :, ::-1], pictures, targets)
    lost, won = int((plain & ~mirrored).sum()), int((mirrored & ~plain).sum())
    shares = np.unique(targets, return_counts=True)[1] / len(targets)
    chance = float((shares**2).sum())
    # Where mirroring means nothing, pictures are lost and won like tosses of a coin: lost - won has the variance lost + won.
    is_sure = lost - won > DEVIATIONS * np.sqrt(lost + won)
    hurts = is_sure and mirrored.mean() - chance < KEPT * (plain.mean() - chance)
    return Mirrored(len(targets), float(plain.mean()), float(mirrored.mean()), bool(hurts))


def _own_class_is_nearest(queries: np.ndarray, others: np.ndarray, targets: np.ndarray) -> np.ndarray:
    q, x = (one.reshape(len(one), -1).astype(np.float32) for one in (queries, others))
    q, x = q - q.mean(1, keepdims=True), x - x.mean(1, keepdims=True)  # brightness tells no class
    squares = (q**2).sum(1)[:, None] + (x**2).sum(1) - 2 * q @ x.T
    np.fill_diagonal(squares, np.inf)  # not itself, nor the picture that it mirrors
    return targets[squares.argmin(1)] == targets


def _small(picture: np.ndarray) -> np.ndarray:
    return np.asarray(resize_window(picture, (SIDE, SIDE), (0, 0, SIDE, SIDE), antialias=True))
