"""Measures a refiner beside bicubic interpolation: likeness, consistency, sharpness, faithfulness and speed."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from ernest.config.media import MediaSpec
from ernest.evaluation.likeness import psnr
from ernest.refiner.network import Refiner
from ernest.refiner.refine import STEPS, refine, small_versions
from ernest.tokenizers import load
from ernest.tokenizers.standalone import PictureTokenizer
from ernest.training.refiner import WORLD, decoded_frames, large_media
from ernest.verifiers.vision import classify, load_digit_judge
from ernest.world.images import Picture, pictures, read_colour, read_place
from ernest.world.split import HELD_OUT
from ernest.world.stills import stills
from ernest.world.video import FAMILIES, obeys_area_law, obeys_energy_law, simulate

COUNT = 200
"""Pictures of the world that are measured on, and digits that are read; of a folder, at most."""
FILMS = 4
"""Videos of each family that are refined frame by frame."""

Right = Sequence[bool] | Sequence[np.ndarray] | np.ndarray
"""What was right."""


@dataclass(frozen=True)
class Comparison:
    """One figure of pictures that were made larger by bicubic interpolation, of refined ones, and of true ones, where they have
    it: of the PSNR, of true detail on what was given."""

    name: str
    bicubic: float
    refined: float
    true: float | None = None
    unit: str = ""

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        true = "" if self.true is None else f", true {self.true:.4g}{unit}"
        return f"{self.name}: refined {self.refined:.4g}{unit}, bicubic {self.bicubic:.4g}{unit}{true}"


def measure_refiner(
    folder: Path, data: str = WORLD, tokenizer: Path | None = None, judge: Path | None = None, steps: int = STEPS
) -> list[Comparison]:
    """All figures of the refiner in `folder`, on pictures of a folder or on held-out ones of the world; of what `tokenizer` makes
    of them as well, if one is named. Raises ValueError for a tokenizer of other sizes than the refiner, and for a judge of digits
    beside a folder: the world's pictures alone are known to show some."""
    if judge is not None and data != WORLD:
        raise ValueError(f"--judge reads the digits of the world's pictures: --data world, or leave {judge} out")
    refiner = Refiner.load(folder)
    height, width = refiner.config.size
    spec = large_media(MediaSpec(height, width), refiner.config.factor, data)
    found = None if tokenizer is None else load(tokenizer, "vision")
    assert found is None or isinstance(found, PictureTokenizer)
    if found is not None:
        refiner.check(found.media.size)
    return list(_measured(refiner, data, spec, found, judge, steps))


def _measured(
    refiner: Refiner, data: str, spec: MediaSpec, tokenizer: PictureTokenizer | None, judge: Path | None, steps: int
) -> Iterator[Comparison]:
    true = _true_pictures(data, spec)
    small = small_versions(true, refiner.config.factor)
    inputs = {"made small": small}
    if tokenizer is not None:
        inputs["from the tokenizer"] = tokenizer.decode(tokenizer.encode(small))
    for name, given in inputs.items():
        yield from _likeness(refiner, true, given, name, steps)
    if data == WORLD:
        shown = pictures(1, range(HELD_OUT, HELD_OUT + COUNT), spec.height)
        yield from _faithfulness(refiner, shown, tokenizer, judge, steps)
        yield from _lawfulness(refiner, spec.height, tokenizer, steps)


def _true_pictures(data: str, spec: MediaSpec) -> np.ndarray:
    if data == WORLD:
        return stills(0, HELD_OUT, COUNT, spec.height)
    with TemporaryDirectory() as folder:
        return decoded_frames(Path(data), spec, Path(folder) / "decoded", COUNT)


def _likeness(refiner: Refiner, true: np.ndarray, given: np.ndarray, name: str, steps: int) -> Iterator[Comparison]:
    factor, started = refiner.config.factor, time.perf_counter()
    refined = refine(refiner, given, 0, steps)
    between = time.perf_counter()
    plain = bicubic(given, factor)
    took = [1000 * seconds / len(given) for seconds in (time.perf_counter() - between, between - started)]
    best = psnr(true, with_true_detail(true, given, factor))
    yield Comparison(f"PSNR, {name}", psnr(true, plain), psnr(true, refined), best, "dB")
    yield Comparison(f"consistency, {name}", *(psnr(given, small_versions(one, factor)) for one in (plain, refined)), unit="dB")
    soft, sharp, whole = (sharpness(one, factor) for one in (plain, refined, true))
    yield Comparison(f"sharpness, {name}", soft / whole, sharp / whole)
    yield Comparison(f"time a picture, {name}, {torch.get_num_threads()} threads", *took, unit="ms")


def with_true_detail(true: np.ndarray, given: np.ndarray, factor: int) -> np.ndarray:
    """True pictures with the means of blocks that were given: the most that a refiner can come to which keeps them."""
    change = given.astype(np.int64) - small_versions(true, factor)
    return (true + change.repeat(factor, 1).repeat(factor, 2)).clip(0, 255).astype(np.uint8)


def bicubic(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Pictures uint8 `[N, height, width, 3]`, `factor` times as high and as wide."""
    size = pixels.shape[2] * factor, pixels.shape[1] * factor
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in pixels])


def sharpness(pixels: np.ndarray, factor: int) -> float:
    """The share of the energy of pictures uint8 `[N, height, width, 3]`, their means left out, in waves that a picture of a
    `factor`-th of the size cannot hold: those with more than half a period on `factor` pixels, down or across."""
    waves = np.abs(np.fft.fft2(pixels / 255.0, axes=(1, 2))) ** 2
    waves[:, 0, 0] = 0
    down, across = (np.abs(np.fft.fftfreq(side)) > 0.5 / factor for side in pixels.shape[1:3])
    return float(waves[:, down[:, None] | across].sum() / waves.sum())


def _faithfulness(
    refiner: Refiner, shown: list[Picture], tokenizer: PictureTokenizer | None, judge: Path | None, steps: int
) -> Iterator[Comparison]:
    """What is read from pictures of digits at full size: colour and place by exact readers, the digit by the judge."""
    drawn = _drawn(refiner, np.stack([one.pixels for one in shown]), tokenizer, steps)
    for name, read in (("colour", read_colour), ("place", read_place)):
        yield _share(f"{name} read", *([read(one) == getattr(b, name) for one, b in zip(p, shown, strict=True)] for p in drawn))
    if judge is not None:
        network, digits = load_digit_judge(judge), [one.digit for one in shown]
        # The judge knows small pictures. Every fourth pixel makes one, in which nothing is evened out: the world draws so too.
        factor = refiner.config.factor
        seen = (one[:, factor // 2 :: factor, factor // 2 :: factor] for one in drawn)
        yield _share("digit read by the judge", *(classify(network, one) == digits for one in seen))


def _lawfulness(refiner: Refiner, size: int, tokenizer: PictureTokenizer | None, steps: int) -> Iterator[Comparison]:
    """Videos of all families, refined frame by frame, by the laws of energy and area at full size."""
    indices = range(HELD_OUT, HELD_OUT + FILMS)
    films = [simulate(family, 1, indices, size) for family in range(len(FAMILIES))]
    drawn = _drawn(refiner, np.concatenate(films).reshape(-1, size, size, 3), tokenizer, steps)
    by_family = [one.reshape(len(films), FILMS, -1, size, size, 3) for one in drawn]
    lawful = lambda one: [obeys_energy_law(v) & obeys_area_law(n, v) for n, v in enumerate(one)]
    yield _share("videos lawful", *map(lawful, by_family))


def _drawn(
    refiner: Refiner, true: np.ndarray, tokenizer: PictureTokenizer | None, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures made small, and large again: by bicubic interpolation, by the refiner; and as they were."""
    given = small_versions(true, refiner.config.factor)
    if tokenizer is not None:
        given = tokenizer.decode(tokenizer.encode(given))
    return bicubic(given, refiner.config.factor), refine(refiner, given, 0, steps), true


def _share(name: str, bicubic: Right, refined: Right, true: Right) -> Comparison:
    """The shares of what was right."""
    return Comparison(name, float(np.mean(bicubic)), float(np.mean(refined)), float(np.mean(true)))
