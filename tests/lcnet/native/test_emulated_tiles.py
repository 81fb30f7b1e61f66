"""The kernels for AMX on processors that have AVX-512 alone: the same sources, with tile registers and halves in memory."""

import hashlib
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from torch import Tensor

from ernest.lcnet import Architecture, Block, PPLCNet
from ernest.lcnet.native import Executor, Precision, available, build, executor
from tests.lcnet.native.hybrid import Form, emulated
from tests.lcnet.native.test_executor import ARCHITECTURES, decibels, network, pictures

HEADER = Path(__file__).with_name("emulated_tiles.h")
NEEDED = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16"}

pytestmark = pytest.mark.skipif(
    "amx" in available() or not build.features() >= NEEDED, reason="tiles are there, or AVX-512 with bf16 and VNNI is not"
)


def by_tiles(eager: PPLCNet, images: Tensor, precision: Precision = "int8") -> Tensor:
    """Logits of an executor that takes the processor for one with AMX, and whose compiler gets the header for it."""
    digest = hashlib.sha256(HEADER.read_bytes()).hexdigest()  # part of the library's name
    header = (f"-DEMULATED={digest}", "-include", str(HEADER), f'-DLCNET_TILES="{HEADER}"')
    flags = (
        *build.INSTRUCTIONS["avx512"],
        "-mavx512bf16",
        "-mavx512vnni",
        "-O0",
        *header,
    )  # not the calls but the compiler takes the time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "INSTRUCTIONS", MappingProxyType({"amx": flags}))
        patch.setattr(executor, "available", lambda: ("amx",))
        run = Executor(eager, precision, 1)
        assert (run.compiled, run.instructions, run.precision) == (True, "amx", precision)
        return run(images)


@pytest.mark.parametrize("activation", ["h-swish", "relu"])
def test_eight_bits_by_tiles_are_their_emulation_in_torch(activation: str) -> None:
    """As `test_few_layers_are_their_emulation`: gates, two panels of outputs, and layers of few inputs in bf16."""
    blocks = (Block(3, 144), Block(5, 128, squeeze=True))
    eager = network(Architecture(40, stages=(blocks,), strides=(2, 2), stem=128, activation=activation))
    images = pictures(eager.architecture, 2, 33, 47)
    expected = emulated(eager, images, Form(128, bf16=True, halves=True))
    found = by_tiles(eager, images)
    with torch.inference_mode():
        close = decibels(eager(images), expected)
    assert decibels(expected, found) >= close + 4


@pytest.mark.parametrize(
    "name", ["first version", "widths that fill no block", "lines of text", "strides of one, three and four"]
)
def test_whole_networks_by_tiles_are_as_close_to_single_precision_as_their_emulation(name: str) -> None:
    """In a deep network a code that moves by one moves others: only the sizes of the errors agree."""
    eager = network(ARCHITECTURES[name])
    images = pictures(eager.architecture, 3, 64, 64)
    with torch.inference_mode():
        exact = eager(images)
    expected = emulated(eager, images, Form(128, bf16=True, halves=True))
    assert decibels(exact, by_tiles(eager, images)) >= decibels(exact, expected) - 3


@pytest.mark.parametrize("name", ["first version", "widths that fill no block", "lines of text"])
def test_products_of_sixteen_bits_by_tiles_are_as_close_as_their_emulation(name: str) -> None:
    """All layers in bf16; the emulation's last two are in 8 bits all the same, which costs less than the rest."""
    eager = network(ARCHITECTURES[name])
    images = pictures(eager.architecture, 3, 64, 64)
    with torch.inference_mode():
        exact = eager(images)
    expected = emulated(eager, images, Form(10**9, bf16=True, halves=True))
    found = by_tiles(eager, images, "bf16")
    assert decibels(exact, found) >= decibels(exact, expected) - 1
