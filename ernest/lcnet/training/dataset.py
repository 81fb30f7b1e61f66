"""Data sets of pictures, decoded once and kept in memory, and their batches, a function of seed, epoch and step alone."""

import hashlib
import math
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ernest.device import memory_limit
from ernest.lcnet.image_io.augment import crop_boxes, elastic_distort, erase, rand_augment
from ernest.lcnet.image_io.preprocess import Preprocessing, fit_picture, in_letterbox, inside, normalise, normalise_each
from ernest.lcnet.image_io.reader import Reader, network_reader, shrinking_reader
from ernest.lcnet.image_io.resize import resize_window
from ernest.lcnet.training.listing import Listing, Target, places
from ernest.lcnet.training.recipe import Recipe, largest_sides, preprocessing_of, sides_of

Transform = Callable[[np.ndarray], np.ndarray]
"""Applied to a picture once: uint8 `[H, W, C]` to the same kind."""

READ_AHEAD = 3
"""Batches that are made while the network is busy with another one."""


@dataclass(frozen=True)
class PictureDataset:
    """`picture(i)` is uint8 `[H, W, C]`, C being 1 or 3; `targets` `[N]` are places in `labels`, or -1, or, of
    pictures with any number of labels, ones `[N, classes]`.

    `fingerprint` tells these pictures from others; `skipped` names the files that could not be read.
    """

    picture: Callable[[int], np.ndarray]
    targets: np.ndarray
    labels: tuple[str, ...]
    fingerprint: str
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)


def dataset_from_arrays(
    images: Sequence[np.ndarray] | np.ndarray, targets: np.ndarray, labels: Sequence[str], transform: Transform | None = None
) -> PictureDataset:
    """A data set from arrays: uint8 `[H, W]` or `[H, W, C]` each; `targets` as in `PictureDataset`. `transform` is applied to
    each of them. Raises ValueError for images and targets of any other kind, which would be learnt from as if they were such."""
    held = [_checked_image(image) for image in images]
    held = [transform(image) for image in held] if transform else held
    checksums = [zlib.crc32(np.ascontiguousarray(image).data) for image in held]
    targets = _checked_targets(np.asarray(targets), len(held), len(labels))
    return PictureDataset(held.__getitem__, targets, tuple(labels), _fingerprint(checksums, targets, labels))


def _checked_image(image: np.ndarray) -> np.ndarray:
    """As `[H, W, C]`. A picture of Pillow is refused: in a palette its numbers are no levels."""
    if not isinstance(image, np.ndarray | Tensor):
        raise ValueError(f"images: expected arrays, got {type(image).__name__}; `read_picture` makes one of a file")
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise ValueError(f"images: expected uint8 [H, W] or [H, W, C], C being 1 or 3, got {image.dtype} {list(image.shape)}")
    return image


def _checked_targets(targets: np.ndarray, count: int, classes: int) -> np.ndarray:
    shape, (least, most) = ([count], (-1, classes - 1)) if targets.ndim == 1 else ([count, classes], (0, 1))
    is_whole = targets.dtype.kind in "biuf" and bool((targets % 1 == 0).all())
    if list(targets.shape) != shape or not is_whole:
        raise ValueError(f"targets: expected whole numbers {shape}, got {targets.dtype} {list(targets.shape)}")
    if count and not (least <= targets.min() and targets.max() <= most):
        raise ValueError(f"targets: expected {least} to {most}, got {targets.min()} to {targets.max()}")
    return targets.astype(np.int64 if targets.ndim == 1 else np.uint8)


def read_dataset(listing: Listing, read: Reader, skip: bool = False, most: int | None = None) -> PictureDataset:
    """Decodes every picture once, which finds the broken ones; keeps them up to `most` bytes, or a quarter of the memory.

    Pictures beyond that are decoded again whenever a batch wants them. With `skip` the broken ones are left out and named
    in `skipped`; otherwise, or if a class is left without pictures, ValueError names them.
    """
    most = memory_limit() // 4 if most is None else most
    held: list[np.ndarray | None] = []
    files, checksums, targets, faults, size = [], [], [], [], 0
    with ThreadPoolExecutor(_workers()) as pool:
        for file, target, image in zip(listing.files, listing.targets, read.all(listing.files, pool), strict=True):
            if isinstance(image, str):
                faults.append(image)
                continue
            image = np.array(image, order="C")  # in memory of its own
            size += image.nbytes
            held.append(image if size <= most else None)
            files.append(file)
            targets.append(target)
            checksums.append(zlib.crc32(image.data))
    _check_faults(faults, skip, targets, listing)

    def picture(index: int) -> np.ndarray:
        image = held[index]
        return read(files[index]) if image is None else image

    array = target_array(targets, len(listing.labels), listing.many)
    return PictureDataset(picture, array, listing.labels, _fingerprint(checksums, array, listing.labels), tuple(faults))


def target_array(targets: Sequence[Target], classes: int, many: bool) -> np.ndarray:
    """Places of classes, int64 `[N]`; or, where pictures have many, ones at the places of all of them, uint8 `[N, classes]`."""
    if not many:
        return np.array(targets, np.int64)
    array = np.zeros((len(targets), classes), np.uint8)
    for row, target in zip(array, targets, strict=True):
        row[list(places(target))] = 1
    return array


def training_reader(recipe: Recipe) -> Reader:
    """For training: the short side at most one and a half times the largest that the network sees. Smaller pictures stay."""
    most = 3 * max(largest_sides(recipe)) // 2
    return shrinking_reader(most, recipe.channels == 1)


def evaluation_reader(preprocessing: Preprocessing) -> Reader:
    """For evaluation: what `classify` sees, still in grey levels."""
    return network_reader(preprocessing)


def evaluation_transform(preprocessing: Preprocessing) -> Transform:
    """For evaluation: resized and cropped as `prepare` does it, still in grey levels."""
    return lambda image: np.array(fit_picture(image[..., 0] if image.shape[2] == 1 else image, preprocessing))


# ------------------------------------------------------------------------------------------------------------- batches


def steps_per_epoch(pictures: PictureDataset, recipe: Recipe) -> int:
    """Whole batches only; fewer pictures than a batch make one smaller batch."""
    return max(1, len(pictures) // recipe.batch)


def batches(pictures: PictureDataset, recipe: Recipe, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an epoch from step `first` on, made ahead by threads: images `[N, C, height, width]` and targets `[N]`."""
    order = draw_order(pictures.targets, recipe.balance, np.random.default_rng((recipe.seed, epoch)))
    steps = steps_per_epoch(pictures, recipe)
    waiting: dict[int, Future[tuple[Tensor, Tensor]]] = {}
    with ThreadPoolExecutor(_workers()) as pool:
        try:
            for step in range(first, steps):
                for ahead in range(step, min(step + _ahead(recipe), steps)):
                    if ahead not in waiting:
                        chosen = order[ahead * recipe.batch : (ahead + 1) * recipe.batch]
                        waiting[ahead] = pool.submit(batch, pictures, recipe, chosen, (recipe.seed, epoch, ahead))
                yield waiting.pop(step).result()
        finally:
            pool.shutdown(cancel_futures=True)


def draw_order(targets: np.ndarray, balance: float, rng: np.random.Generator) -> np.ndarray:
    """The pictures of an epoch: each once, or with `balance` as many drawn, one of a class of n pictures by n^-balance.

    Of a class that is due k times its size each picture is drawn floor(k) or ceil(k) times, so that chance leaves none out.
    """
    if not balance:
        return rng.permutation(len(targets))
    _, place, counts = np.unique(targets, return_inverse=True, return_counts=True)
    weights = counts[place] ** -float(balance)
    due = weights * (len(targets) / weights.sum())
    # Systematic sampling: marks at a distance of one along the shuffled pictures, each as long as it is due.
    shuffled = rng.permutation(len(targets))
    shuffled = shuffled[np.argsort(place[shuffled], kind="stable")]
    marks = np.arange(len(targets)) + rng.random()
    drawn = np.searchsorted(np.cumsum(due[shuffled]), marks)
    return rng.permutation(shuffled[np.minimum(drawn, len(targets) - 1)])


def batch(pictures: PictureDataset, recipe: Recipe, chosen: np.ndarray, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """One batch of the `chosen` pictures: cropped, resized, flipped and changed as the recipe says.

    The nearest pixels count in resizing, as in OpenCV for the published networks.
    """
    rng = np.random.default_rng(seed)
    height, width = sides_of(recipe, int(rng.choice(recipe.sizes)) if recipe.sizes else None)
    rule = replace(preprocessing_of(recipe), resize=(height, width), crop=None)
    images = [pictures.picture(int(index)) for index in chosen]
    sides = np.array([image.shape[:2] for image in images])
    boxes = crop_boxes(sides, recipe.crop_area, recipe.crop_aspect, rng, whole=recipe.fit != "crop")
    flips = recipe.flip & (rng.random(len(images)) < 0.5)
    crops = []
    for image, (top, left, tall, wide), flip in zip(images, boxes, flips, strict=True):
        crop = image[top : top + tall, left : left + wide]
        size = inside(tall, wide, (height, width)) if rule.letterbox else (height, width)
        crop = resize_window(crop, size, (0, 0, *size))
        crop = in_letterbox(crop, rule) if rule.letterbox else crop
        crop = crop[:, ::-1] if flip else crop
        if recipe.augment:
            crop = rand_augment(np.ascontiguousarray(crop), recipe.augment, recipe.magnitude, rng)
        crops.append(crop)
    if recipe.elastic_distort:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        levels = torch.from_numpy(np.stack(crops)).movedim(-1, 1)
        seen = normalise(elastic_distort(levels / 255, generator) * 255, rule)
    else:
        seen = normalise_each(crops, rule)
    if recipe.erase:
        erase(seen, recipe.erase, rng)
    return seen.contiguous(memory_format=torch.channels_last), torch.from_numpy(pictures.targets[chosen])


# ------------------------------------------------------------------------------------------------------------- private


def _check_faults(faults: list[str], skip: bool, targets: Sequence[Target], listing: Listing) -> None:
    if faults and not skip:
        some = "; ".join(faults[:3]) + ("; ..." if len(faults) > 3 else "")
        count = f"{len(faults)} of {len(listing.files)} pictures cannot be read"
        raise ValueError(f"{count}: {some} (repair or remove them, or have them skipped: skip_unreadable)")
    lost = sorted(
        {place for one in listing.targets for place in places(one)} - {place for one in targets for place in places(one)}
    )
    if lost:
        raise ValueError(f"class {listing.labels[lost[0]]!r}: none of its pictures can be read: {faults[0]}")


def _fingerprint(checksums: Sequence[int], targets: np.ndarray, labels: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(labels).encode())
    digest.update(np.array(checksums, np.int64).tobytes())
    digest.update(targets.tobytes())
    return digest.hexdigest()


def _ahead(recipe: Recipe) -> int:
    """Batches under way at a time: fewer where they are large. Each is held in three forms while it is made."""
    size = 3 * 4 * recipe.batch * recipe.channels * math.prod(largest_sides(recipe))
    return max(1, min(READ_AHEAD, memory_limit() // 8 // size))


def _workers() -> int:
    return min(4, os.cpu_count() or 1)
