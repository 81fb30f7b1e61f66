"""Compares a deployed network with the eager one: agreement of classes, error of logits, time of a call."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ernest import device
from ernest.lcnet.deployment.runtimes import Model
from ernest.lcnet.image_io.preprocess import Preprocessing, normalise
from ernest.lcnet.weights.native import Precision

AGREEMENT: Mapping[Precision, float] = {"fp32": 1.0, "bf16": 0.99, "int8": 0.98}
"""The share of pictures whose likeliest class must be that of the eager network."""

TOLERANCE = 1e-4
"""Of fp32: the largest difference between logits, relative to the largest logit where that is above 1."""

ROUNDS = 12

NOISE_FLOOR = 10.0
"""Decibels on noise, where there are no pictures: 8 bits reach 20 on random weights, a wrong graph none."""


@dataclass(frozen=True)
class Check:
    """How far a deployed network's answers are from the eager network's, over `pictures` pictures, or over noise if 0.

    `agreement` is the share of equal likeliest classes, of pictures with many labels the share of equal labels, `snr_db` the
    logits' power over that of their errors in dB, `max_error` the largest error of a logit.
    """

    pictures: int
    agreement: float
    snr_db: float
    max_error: float


def compare(eager: Model, deployed: Model, precision: Precision, pictures: Sequence[Tensor]) -> Check:
    """Raises ValueError where the two differ more than the precision explains."""
    noise = noisy_images(eager.preprocessing)
    if precision == "fp32":
        for images in noise:
            _check_equality(eager.run(images), deployed.run(images), images)
    check = _measure(eager, deployed, pictures or noise, len(pictures))
    good = check.agreement >= AGREEMENT[precision] if pictures else check.snr_db >= NOISE_FLOOR
    if not good or not math.isfinite(check.max_error):
        wanted = f"{AGREEMENT[precision]:.0%} of pictures" if pictures else f"{NOISE_FLOOR:.0f} dB on noise"
        measured = f"{check.agreement:.1%} of {check.pictures} pictures, " if pictures else ""
        measured += f"{check.snr_db:.0f} dB"
        raise ValueError(f"{deployed.runtime} {precision}: expected the classes of eager PyTorch for {wanted}, got {measured}")
    return check


def time_both(deployed: Model, eager: Model, size: tuple[int, int], threads: int | None) -> tuple[float, float]:
    """Milliseconds for one image of `size`, deployed and eager: medians over rounds of the lower quartile of a burst of calls.

    Bursts of both are interleaved, so that both see the same background load. `threads` limits PyTorch during the measurement,
    None leaves it as it is; the deployed model has a number of its own.
    """
    images = _noise(1, eager.preprocessing, size)
    with device.threads(threads or torch.get_num_threads()):
        for model in (deployed, eager):
            _burst(model, images, 5)
        seconds = [(_burst(deployed, images, 10), _burst(eager, images, 5)) for _ in range(ROUNDS)]
    ours, theirs = zip(*seconds, strict=True)
    return _milliseconds(ours), _milliseconds(theirs)


def input_size(preprocessing: Preprocessing) -> tuple[int, int]:
    """Height and width of what the network gets; of a square picture, where pictures keep their form."""
    resize = preprocessing.resize
    return preprocessing.crop or (resize if isinstance(resize, tuple) else (resize, resize))


def noisy_images(preprocessing: Preprocessing) -> list[Tensor]:
    """Batches of one and three, of the usual size and of an odd one: what a graph of free batch and size must bear."""
    height, width = input_size(preprocessing)
    return [_noise(1, preprocessing, (height, width)), _noise(3, preprocessing, (1 + height * 2 // 3, width + 13))]


def _noise(count: int, preprocessing: Preprocessing, size: tuple[int, int]) -> Tensor:
    """Levels as a picture has them, each pixel's drawn by itself."""
    shape = (count, len(preprocessing.mean), *size)
    return normalise(torch.randint(256, shape, generator=torch.Generator().manual_seed(0)).float(), preprocessing)


def _check_equality(expected: Tensor, actual: Tensor, images: Tensor) -> None:
    max_error = (actual - expected).abs().max().item()
    allowed = TOLERANCE * max(1.0, expected.abs().max().item())
    if not max_error <= allowed:
        shape = list(images.shape)
        raise ValueError(f"images {shape}: logits differ from eager PyTorch's by {max_error:.1e}, allowed {allowed:.1e}")


def _measure(eager: Model, deployed: Model, batches: Sequence[Tensor], pictures: int) -> Check:
    expected = torch.cat([eager.run(images) for images in batches]).double()
    actual = torch.cat([deployed.run(images) for images in batches]).double()
    power, error = expected.square().sum().item(), (actual - expected).square().sum().item()
    if eager.decision.many:
        agreed = (actual > 0) == (expected > 0)
    else:
        agreed = actual.argmax(1) == expected.argmax(1)
    same = agreed.double().mean().item()
    return Check(pictures, same, 10 * math.log10(max(power, 1e-300) / max(error, 1e-300)), (actual - expected).abs().max().item())


def _milliseconds(bursts: Sequence[Sequence[float]]) -> float:
    return 1000 * statistics.median(statistics.quantiles(burst, n=4)[0] for burst in bursts)


def _burst(model: Model, images: Tensor, calls: int) -> list[float]:
    """Seconds of each call."""
    seconds = []
    for _ in range(calls):
        started = time.perf_counter()
        model.run(images)
        seconds.append(time.perf_counter() - started)
    return seconds
