"""The native executor gives what the eager network gives, for every architecture, size, batch and instruction set."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ernest.lcnet import PP_LCNET, PUBLISHED, Architecture, Block, PPLCNet, rewire, small_images
from ernest.lcnet.native import Executor, Precision, available, build, executor
from ernest.lcnet.native.executor import has_products
from tests.lcnet.networks import as_inputs, digits, trained_digits, with_statistics

SMALL = Architecture(classes=10, scale=0.25)
LINES = (2, (2, 1), (2, 1), (2, 1), (2, 1), (2, 1))
NARROW = ((Block(1, 12, split=True),), (Block(3, 40, squeeze=True),), (Block(5, 24, branches=True),) * 2)

EIGHT = ((Block(3, 8, squeeze=True), Block(5, 5)), (Block(3, 8, split=True),))

ARCHITECTURES = {
    "first version": replace(SMALL, scale=0.35),
    "second version": replace(PUBLISHED["PPLCNetV2_small"], classes=10, scale=0.25),
    "small images": small_images(classes=7, scale=0.5),
    "one layer less": replace(SMALL, head_width=0),
    "as timm has it": replace(SMALL, head_width=72, head_bias=True),
    "grey": replace(SMALL, in_channels=1),
    "five channels": replace(SMALL, in_channels=5),
    "relu and sigmoid": replace(SMALL, activation="relu", gate="sigmoid"),
    "squeeze everywhere": replace(SMALL, stages=rewire(PP_LCNET, squeeze=[True] * 13)),
    "kernels of all sizes": replace(SMALL, stages=rewire(PP_LCNET, kernels=[1, 3, 5, 7, 9, 3, 5, 7, 3, 1, 11, 5, 3])),
    "lines of text": replace(SMALL, strides=LINES),
    "strides of one, three and four": replace(SMALL, strides=(3, 1, (1, 3), 3, (4, 1), 1)),
    "no stride": replace(SMALL, strides=(1, 1, 1, 1, 1, 1)),
    "a stem that leaves most out": replace(SMALL, strides=(63, 1, 1, 1, 1, 1)),
    "at most eight channels": Architecture(10, stages=EIGHT, strides=(1, 1, 2), stem=8, head_width=0),
    "widths that fill no block": Architecture(10, stages=NARROW, strides=(2, 1, 2, (2, 3)), stem=40, head_width=0),
}
SIZES = ((33, 47), (64, 64))


def network(architecture: Architecture) -> PPLCNet:
    torch.manual_seed(0)
    return with_statistics(PPLCNet(architecture))


def pictures(architecture: Architecture, count: int, height: int, width: int) -> Tensor:
    return torch.randn(count, architecture.in_channels, height, width, generator=torch.Generator().manual_seed(height))


def decibels(expected: Tensor, found: Tensor) -> float:
    return 10 * torch.log10(expected.square().mean() / (found - expected).square().mean()).item()


def variants(precision: Precision) -> dict[str, tuple[str, frozenset[str]]]:
    """The instruction sets that run a precision here, by name, and what each shall think the processor has: AVX-512 with the
    products of bf16 where they are fast, and without where they are not, whichever this processor's are."""
    here = build.features()
    found = {name: (name, here) for name in available() if has_products(name, here, precision)}
    if "avx512" in found and "avx512_bf16" in here:
        found["avx512, the other bf16"] = "avx512", here ^ {"fast_bf16"}
    return found


@contextmanager
def pretended(present: frozenset[str]) -> Iterator[None]:
    """Inside, the processor has these features."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (build, executor):
            patch.setattr(module, "features", lambda: present)
        yield


@pytest.fixture(params=variants("bf16"))
def bf16(request: pytest.FixtureRequest) -> Iterator[str]:
    """An instruction set that runs bf16."""
    instructions, present = variants("bf16")[request.param]
    with pretended(present):
        yield instructions


PRECISIONS = ["fp32", *(["bf16"] if variants("bf16") else [])]


@pytest.mark.parametrize("instructions", available())
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_single_precision_is_the_eager_network(name: str, instructions: str) -> None:
    """To 1e-4 of the largest logit, with more images than one and sizes that divide by nothing."""
    architecture = ARCHITECTURES[name]
    eager = network(architecture)
    run = Executor(eager, threads=1, instructions=instructions)
    assert (run.compiled, run.instructions, run.precision) == (True, instructions, "fp32")
    for count, (height, width) in enumerate(SIZES, start=1):
        images = pictures(architecture, count, height, width)
        with torch.inference_mode():
            expected = eager(images)
        found = run(images)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max().clamp(min=1)


def test_bf16_is_closer_to_single_precision_than_autocast(bf16: str) -> None:
    """By 3 dB on average over architectures; random networks amplify any rounding, so one of them may fall behind by luck.

    Around a pointwise convolution autocast rounds to 8 bits four times (weights, product, normalisation, activation), the
    executor twice (weights, operand); around a depthwise one autocast four times, the executor never: it keeps 11 bits or more.
    Errors of equal size that are independent add up in power: half of them, the worse case, is 10 log10(4 / 2) = 3 dB.
    """
    gains = []
    for architecture in ARCHITECTURES.values():
        eager = network(architecture)
        images = pictures(architecture, 8, 64, 64)
        with torch.inference_mode():
            expected = eager(images)
            with torch.autocast("cpu", torch.bfloat16):
                rounded = eager(images).float()
        found = Executor(eager, "bf16", threads=1, instructions=bf16)(images)
        gains.append(decibels(expected, found) - decibels(expected, rounded))
    assert sum(gains) / len(gains) >= 3
    assert min(gains) >= -3


@pytest.mark.slow
def test_bf16_on_a_trained_network(bf16: str) -> None:
    pictures, _ = digits()
    images, eager = as_inputs(pictures[1297:]), trained_digits()
    with torch.inference_mode():
        expected = eager(images)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = eager(images).float()
    found = Executor(eager, "bf16", instructions=bf16)(images)
    assert decibels(expected, found) >= max(28, decibels(expected, rounded))
    assert (found.argmax(1) == expected.argmax(1)).float().mean() >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_networks(name: str, precision: Precision) -> None:
    eager = network(replace(PUBLISHED[name], classes=100))
    images = pictures(eager.architecture, 4, 96, 64)
    with torch.inference_mode():
        expected = eager(images)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = eager(images).float()
    found = Executor(eager, precision)(images)
    if precision == "fp32":
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max().clamp(min=1)
    else:
        assert decibels(expected, found) >= decibels(expected, rounded)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_batch_is_its_images_one_by_one(precision: Precision) -> None:
    run = Executor(network(SMALL), precision, threads=1)
    images = pictures(SMALL, 7, 40, 56)
    together = run(images)
    assert torch.equal(together, torch.cat([run(image[None]) for image in images]))
    assert run(images[:0]).shape == (0, 10)
    assert torch.equal(together, run(images.double()))
    assert torch.equal(together, run(images.contiguous(memory_format=torch.channels_last)))


@pytest.mark.parametrize("height", [1, 2, 31])
@pytest.mark.parametrize("width", [1, 3, 130])
def test_the_smallest_images(height: int, width: int) -> None:
    eager = network(SMALL)
    images = pictures(SMALL, 1, height, width)
    with torch.inference_mode():
        expected = eager(images)
    for precision in PRECISIONS:
        found = Executor(eager, precision, threads=1)(images)
        assert (found - expected).abs().max() <= (1e-4 if precision == "fp32" else 3e-2) * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_came_before_leaves_no_trace(precision: Precision) -> None:
    """A picture that is not a number, other sizes, so many that the first plan is forgotten: then the same logits again."""
    run = Executor(network(ARCHITECTURES["widths that fill no block"]), precision, threads=1)
    images = pictures(SMALL, 2, 48, 48)
    first = run(images)
    run(torch.full_like(images, torch.nan))
    assert torch.equal(run(images), first)
    for side in range(20, 40):
        run(torch.full((1, 3, side, 50 - side), torch.inf))
    assert torch.equal(run(images), first)


def test_the_network_is_copied() -> None:
    eager = network(SMALL)
    run = Executor(eager, threads=1)
    images = pictures(SMALL, 1, 32, 32)
    before = run(images)
    with torch.no_grad():
        eager.head.classifier.weight.zero_()
    assert torch.equal(run(images), before)


@pytest.mark.slow
def test_memory_is_flat_over_many_sizes() -> None:
    run = Executor(network(SMALL), threads=1)
    sizes = [(96 + 8 * (i % 10), 128 - 8 * (i // 10)) for i in range(50)]
    for size in sizes:
        run(pictures(SMALL, 1, *size))
    before = resident()
    for size in sizes:
        run(pictures(SMALL, 1, *size))
    assert abs(resident() - before) <= 5e6


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_two_python_threads_and_two_networks() -> None:
    """One executor from two threads, two executors in turn: each call gives what it gives alone."""
    architectures = [SMALL, ARCHITECTURES["small images"]]
    runs = [Executor(network(architecture), threads=2) for architecture in architectures]
    images = [pictures(SMALL, 2, side, 48) for side in (32, 48, 64)]
    alone = [[run(one) for one in images] for run in runs]
    wrong = []

    def work(first: int) -> None:
        for i in range(first, first + 40):
            which, size = i % 2, i % 3
            if not torch.equal(runs[which](images[size]), alone[which][size]):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(first,)) for first in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize("name", ["first version", "second version", "one layer less"])
def test_every_layer_has_a_name_of_its_own_and_takes_time(name: str) -> None:
    architecture = ARCHITECTURES[name]
    eager = network(architecture)
    run = Executor(eager, threads=2)
    layers = run.layers(pictures(architecture, 1, 128, 128), repeats=5)
    names = [layer.name for layer in layers]
    assert len(set(names)) == len(names)
    assert {"stem", "stages.0.0 depthwise", "classifier"} <= set(names)
    assert all(layer.seconds > 0 for layer in layers)
    assert ("hidden" in names) == bool(architecture.head_width)
    assert ("stages.4.1 shortcut" in names) == (name == "second version")


def test_multiply_adds_of_the_layers_are_those_of_the_network() -> None:
    run = Executor(PPLCNet(Architecture()).eval(), threads=1)
    layers = run.layers(torch.zeros(1, 3, 224, 224), repeats=1)
    assert sum(layer.multiply_adds for layer in layers) == pytest.approx(155.700e6, rel=1e-4)


def test_wrong_images_and_wrong_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ERNEST_INSTRUCTIONS", raising=False)
    eager = network(SMALL)
    run = Executor(eager, threads=1)
    for shape in ((1, 1, 32, 32), (3, 32, 32), (1, 3, 0, 32)):
        with pytest.raises(ValueError, match=r"images: expected \[N, 3, H, W\], got"):
            run(torch.zeros(shape))
    with pytest.raises(ValueError, match="threads: expected at least 1, got 0"):
        Executor(eager, threads=0)
    with pytest.raises(ValueError, match=r"instructions: expected one of .*got sse5, which is unknown"):
        Executor(eager, instructions="sse5")
    with pytest.raises(ValueError, match=r"precision: expected one of fp32, bf16, .*got fp16"):
        Executor(eager, "fp16")
    with pytest.raises(ValueError, match="precision: bf16 needs"):
        Executor(eager, "bf16", instructions="generic")
    lacking = "neon" if "neon" not in available() else "amx"
    with pytest.raises(ValueError, match=f"got {lacking}, which is not on this processor"):
        Executor(eager, instructions=lacking)
