"""The int8 form: its kernels bit by bit, whole networks against their emulation, and what it costs a trained network."""

import ctypes
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.lcnet import Architecture, Block, PPLCNet
from ernest.lcnet.native import Executor, build
from tests.lcnet.native.hybrid import Form, connected, emulated, floor_of, product
from tests.lcnet.native.test_executor import ARCHITECTURES, decibels, network, pictures, pretended, variants
from tests.lcnet.networks import as_inputs, digits

SETS = variants("int8")
ACTIVATIONS = {"relu": 1, "h-swish": 2}
LAYERS = [(128, 256, 196), (256, 512, 49), (512, 40, 50), (144, 64, 47), (168, 24, 5), (200, 8, 1), (1280, 48, 3)]
NARROW_LAYERS = [(32, 64, 56), (64, 40, 13), (88, 176, 33), (36, 24, 5), (100, 8, 1), (48, 16, 17)]

pytestmark = pytest.mark.skipif(not SETS, reason="this processor has no products of 8 bits")


@pytest.fixture(scope="module", params=SETS)
def instructions(request: pytest.FixtureRequest) -> Iterator[str]:
    name, present = SETS[request.param]
    with pretended(present):
        yield name


def form(instructions: str) -> Form:
    if instructions == "amx":
        return Form(128, bf16=True, halves=True)
    return Form(32, bf16="fast_bf16" in build.features(), halves=False)


@pytest.fixture(scope="module")
def kernels(instructions: str, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    library = tmp_path_factory.mktemp("kernels") / f"{instructions}.so"
    source = Path(__file__).with_name("int8_kernels.cpp")
    command = [*build.compiler(), *build.flags(instructions), f"-I{build.SOURCE}", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(library))
    for function in (loaded.peak, loaded.product_seconds, loaded.quantise_seconds):
        function.restype = ctypes.c_double
    assert loaded.permitted()
    return loaded


def blocked(x: Tensor) -> Tensor:
    """`[pixels, channels]` as `[channels/16, pixels, 16]`."""
    return F.pad(x, (0, -x.shape[1] % 16)).reshape(len(x), -1, 16).transpose(0, 1).contiguous()


def call(function: Callable, *arguments: Tensor | int | None) -> float:
    """With the memory of tensors, which live until it is over."""
    return function(*(ctypes.c_void_p(one.data_ptr()) if isinstance(one, Tensor) else one for one in arguments))


def layer(inputs: int, outputs: int, pixels: int, activation: str) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels as an activation leaves them, exact as halves; weights; biases."""
    generator = torch.Generator().manual_seed(inputs + outputs)
    x = 2 * torch.randn(pixels, inputs, generator=generator)
    x = {"relu": F.relu, "h-swish": F.hardswish}[activation](x).half().float()
    x[0] = 0
    return x, torch.randn(outputs, inputs, generator=generator) / inputs**0.5, torch.randn(outputs, generator=generator)


def layers_of(instructions: str) -> list[tuple[int, int, int]]:
    return LAYERS if form(instructions).fewest > 32 else LAYERS + NARROW_LAYERS


@pytest.mark.parametrize("activation", ["relu", "h-swish"])
@pytest.mark.parametrize("gated", [False, True])
def test_codes_of_pixels_bit_by_bit(kernels: ctypes.CDLL, instructions: str, activation: str, gated: bool) -> None:
    """Codes are kept in another order, which the products show; here each pixel has the same codes, and zeros."""
    floor = floor_of(activation)
    for inputs, _, pixels in layers_of(instructions):
        x = layer(inputs, 8, pixels, activation)[0]
        gate = torch.rand(inputs, generator=torch.Generator().manual_seed(1)).half().float() if gated else None
        rows = -(-inputs // 64)
        codes, scales = torch.zeros(rows, pixels, 64, dtype=torch.uint8), torch.zeros(pixels)
        gates = None if gate is None else F.pad(gate, (0, -inputs % 16))
        call(kernels.quantised, blocked(x), gates, inputs, pixels, ACTIVATIONS[activation], codes, scales)
        wanted, scale = form(instructions).codes()(F.pad(x if gate is None else x * gate, (0, -inputs % 16)), floor)
        found = codes.transpose(0, 1).reshape(pixels, -1).int().sort().values
        assert torch.equal(found, F.pad(wanted.int(), (0, 64 * rows - wanted.shape[1])).sort().values)
        assert torch.equal(scales, scale)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_products_of_codes(kernels: ctypes.CDLL, instructions: str, activation: str) -> None:
    """To the rounding of halves, in which outputs are kept."""
    floor, act = floor_of(activation), {"relu": F.relu, "h-swish": F.hardswish}[activation]
    for inputs, outputs, pixels in layers_of(instructions):
        x, weight, bias = layer(inputs, outputs, pixels, activation)
        expected = act(product(*form(instructions).codes()(x, floor), weight, bias, floor))
        for start, stop, low, high in ((0, pixels, 0, 99), (pixels // 3, pixels - pixels // 4, 1, 2)):
            result = torch.full((-(-outputs // 16), pixels, 16), 7.0)
            values = (weight, bias, inputs, outputs, ACTIVATIONS[activation], blocked(x), pixels)
            call(kernels.pointwise, *values, start, stop, low, high, result)
            found = result.transpose(0, 1).reshape(pixels, -1)
            part = slice(start, stop), slice(32 * low, 32 * high)
            error = found[:, :outputs][part] - expected[part]
            assert error.numel() == 0 or error.abs().max() <= 2e-3 * expected.abs().max()
            found[part] = 7.0
            assert (found == 7.0).all()


def test_fully_connected_layers(kernels: ctypes.CDLL) -> None:
    for inputs, outputs, count in ((512, 1280, 1), (1280, 1000, 5), (24, 10, 3), (100, 37, 4)):
        generator = torch.Generator().manual_seed(inputs)
        x = torch.randn(count, inputs, generator=generator)
        weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
        bias, found = torch.randn(outputs, generator=generator), torch.zeros(count, outputs)
        call(kernels.fully_connected, weight, bias, inputs, outputs, 0, x, count, found)
        expected = connected(x, weight, bias)
        assert (found - expected).abs().max() <= 2e-5 * expected.abs().max()
        assert decibels(F.linear(x, weight, bias), found) >= 40


def test_products_come_near_the_peak(kernels: ctypes.CDLL, instructions: str) -> None:
    """A compiler that carries sums to memory and back makes a third of it; the tile registers of AMX make several times more."""
    x, weight, bias = layer(256, 256, 84, "h-swish")
    values, work = (weight, bias, 256, 256, blocked(x), 84, 200), 2 * 256 * 256 * 84
    shares = [work / call(kernels.product_seconds, *values) / kernels.peak() for _ in range(5)]
    assert max(shares) >= (1.3 if instructions == "amx" else 0.75)


BLOCKS = {
    "one block": (Block(3, 128),),
    "squeeze and excite": (Block(3, 144), Block(5, 128, squeeze=True)),
    "two steps": (Block(3, 192), Block(5, 256, split=True)),
    "shortcut": (Block(3, 128), Block(5, 128, shortcut=True)),
}


@pytest.mark.parametrize("activation", ["h-swish", "relu"])
@pytest.mark.parametrize("name", BLOCKS)
def test_few_layers_are_their_emulation(instructions: str, name: str, activation: str) -> None:
    """What is left are codes that a rounding of the depthwise convolution moves by one."""
    eager = network(Architecture(40, stages=(BLOCKS[name],), strides=(2, 2), stem=128, activation=activation))
    images = pictures(eager.architecture, 2, 33, 47)
    expected = emulated(eager, images, form(instructions))
    found = Executor(eager, "int8", 1, instructions)(images)
    with torch.inference_mode():
        close = decibels(eager(images), expected)
    assert decibels(expected, found) >= (60 if instructions == "avx512" else close + 4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_networks_are_as_close_to_single_precision_as_their_emulation(instructions: str, name: str) -> None:
    """In a deep network of random weights a moved code moves others, so that only the sizes of the errors can agree:
    those of the codes, and of all that is rounded besides, which the bf16 form shows. They add up. Gates multiply, so that one
    picture may have a hundred times the logits and the errors of the others: what is compared is the ratio in each picture, and
    the geometric mean of those."""
    eager = network(ARCHITECTURES[name])
    images = pictures(eager.architecture, 24, 64, 64)
    with torch.inference_mode():
        exact = eager(images)
    errors = [emulated(eager, images, form(instructions)) - exact, Executor(eager, "bf16", 1, instructions)(images) - exact]
    noise = sum(error.square().mean(1) for error in errors)
    found = (Executor(eager, "int8", 1, instructions)(images) - exact).square().mean(1)
    assert (found / noise).log().mean().exp() <= 1.5


@pytest.mark.parametrize("name", ["first version", "second version", "squeeze everywhere", "widths that fill no block"])
@pytest.mark.parametrize("size", [(33, 47), (96, 160)])
def test_threads_and_batches_change_no_bit(instructions: str, name: str, size: tuple[int, int]) -> None:
    eager = network(ARCHITECTURES[name])
    images = pictures(eager.architecture, 3, *size)
    alone = Executor(eager, "int8", 1, instructions)
    first = alone(images)
    for threads in (2, 3):
        assert torch.equal(Executor(eager, "int8", threads, instructions)(images), first)
    assert torch.equal(torch.cat([alone(image[None]) for image in images]), first)
    alone(torch.full_like(images, torch.nan))
    assert torch.equal(alone(images), first)


@cache
def learned(seed: int) -> PPLCNet:
    """PP-LCNet x0.5 that has learned 1297 digits in twelve epochs."""
    pixels, classes = digits()
    images, targets = as_inputs(pixels[:1297]), torch.from_numpy(classes[:1297])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        eager = PPLCNet(Architecture(10, 0.5, strides=(2, 1, 1, 2, 2, 2))).train()
        optimiser = torch.optim.SGD(eager.parameters(), 0.2, momentum=0.9, nesterov=True, weight_decay=3e-5)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.2, total_steps=240, pct_start=0.2)
        for _ in range(240):
            chosen = torch.randint(len(images), (64,))
            moved = images[chosen].roll(torch.randint(-3, 4, (2,)).tolist(), (2, 3))
            loss = F.cross_entropy(eager(moved), targets[chosen], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return eager.eval()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
def test_a_trained_network_loses_nothing(instructions: str, seed: int) -> None:
    """38 dB, and at most half a point of accuracy, without having seen a picture to calibrate with."""
    pixels, classes = digits()
    images, targets, eager = as_inputs(pixels[1297:]), torch.from_numpy(classes[1297:]), learned(seed)
    with torch.inference_mode():
        exact = eager(images)
    found = Executor(eager, "int8", instructions=instructions)(images)
    right, still = ((logits.argmax(1) == targets).float().mean().item() for logits in (exact, found))
    assert right >= 0.95
    assert still >= right - 0.005
    assert decibels(exact, found) >= 38


def test_other_processors_refuse_or_run_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    eager = network(ARCHITECTURES["first version"])
    with pytest.raises(ValueError, match="precision: int8 needs instructions with int8 products, which generic has not"):
        Executor(eager, "int8", instructions="generic")
    without = build.features() - {"avx512_vnni", "avx_vnni", "amx_tile"}
    monkeypatch.setattr(build, "features", lambda: without)
    monkeypatch.setattr("ernest.lcnet.native.executor.features", lambda: without)
    with pytest.warns(RuntimeWarning, match="int8 products are not on this processor: running in fp32"):
        run = Executor(eager, "int8", 1)
    images = pictures(eager.architecture, 1, 32, 32)
    assert run.precision == "fp32"
    assert torch.equal(run(images), Executor(eager, threads=1)(images))
