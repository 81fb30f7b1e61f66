"""From a folded PP-LCNet to the values that the C++ takes, and to the list of its steps with names and costs.

The structures mirror `source/network.h` field by field.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
from torch import Tensor, nn

from ernest.lcnet.network import DepthwiseSeparable, PPLCNet, SqueezeExcite

Kind = Literal["stem", "depthwise", "squeeze-and-excite", "pointwise", "shortcut", "pool", "dense"]


class _Linear(ctypes.Structure):
    _fields_ = [("inputs", ctypes.c_int32), ("outputs", ctypes.c_int32), ("weight", ctypes.c_void_p), ("bias", ctypes.c_void_p)]


class _Block(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_int32) for name in ("channels", "kernel", "stride_y", "stride_x", "shortcut")],
        *[(name, ctypes.c_void_p) for name in ("depthwise", "depthwise_bias")],
        *[(name, _Linear) for name in ("reduce", "expand", "first", "second")],
    ]


class _Network(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_int32) for name in ("in_channels", "stem_channels", "stride_y", "stride_x")],
        *[(name, ctypes.c_int32) for name in ("activation", "sigmoid_gate", "blocks")],
        *[(name, ctypes.c_void_p) for name in ("stem", "stem_bias")],
        ("block", ctypes.POINTER(_Block)),
        *[(name, _Linear) for name in ("hidden", "classifier")],
    ]


@dataclass(frozen=True)
class Values:
    """What `lcnet_open` takes, and the memory that it points to."""

    network: _Network
    buffers: list[object]


def values_of(network: PPLCNet) -> Values:
    """`network` must be folded. Its numbers are copied as fp32; the C++ copies them once more, in its own order."""
    buffers: list[object] = []

    def pointer(values: Tensor | None) -> int | None:
        if values is None:
            return None
        copy = np.array(values.detach().cpu().numpy(), np.float32, order="C")  # a forked process may lack PyTorch's threads
        buffers.append(copy)
        return copy.ctypes.data

    def linear(layer: nn.Module | None) -> _Linear:
        if layer is None:
            return _Linear(0, 0, None, None)
        weight, bias = cast(Tensor, layer.weight), cast(Tensor | None, layer.bias)
        return _Linear(weight.shape[1], weight.shape[0], pointer(weight), pointer(bias))

    def block(parts: Parts) -> _Block:
        depthwise, (reduce, expand) = parts.depthwise, parts.squeeze or (None, None)
        kernel, stride = depthwise.kernel_size[0], cast(tuple[int, int], depthwise.stride)
        head = (depthwise.in_channels, kernel, *stride, parts.shortcut, pointer(depthwise.weight), pointer(depthwise.bias))
        first, second = (*parts.pointwise, None)[:2]
        return _Block(*head, linear(reduce), linear(expand), linear(first), linear(second))

    architecture, stem = network.architecture, cast(nn.Conv2d, network.stem.get_submodule("0"))
    parts = list(parts_of(network))
    table = (_Block * len(parts))(*map(block, parts))
    wide = network.head.wide.get_submodule("0") if architecture.head_width else None
    stride = cast(tuple[int, int], stem.stride)
    activation = {"relu": 1, "h-swish": 2}[architecture.activation]
    head = (stem.in_channels, stem.out_channels, *stride, activation, architecture.gate == "sigmoid", len(parts))
    convolution = (pointer(stem.weight), pointer(stem.bias))
    return Values(_Network(*head, *convolution, table, linear(wide), linear(network.head.classifier)), buffers)


@dataclass(frozen=True)
class Parts:
    """The layers of one folded block and the block's name in the network."""

    name: str
    depthwise: nn.Conv2d
    squeeze: tuple[nn.Conv2d, nn.Conv2d] | None
    pointwise: list[nn.Conv2d]
    shortcut: bool


def parts_of(network: PPLCNet) -> Iterator[Parts]:
    """The blocks of a folded network in order."""
    for number, stage in network.stages.named_children():
        for index, chain in stage.named_children():
            assert isinstance(chain, DepthwiseSeparable)
            children = list(chain.children())
            gates = [child.gate for child in children if isinstance(child, SqueezeExcite)]
            chains = [child for child in children if not isinstance(child, SqueezeExcite)]
            first, *rest = [cast(nn.Conv2d, child.get_submodule("0")) for child in chains]
            squeeze = (cast(nn.Conv2d, gates[0][0]), cast(nn.Conv2d, gates[0][2])) if gates else None
            yield Parts(f"stages.{number}.{index}", first, squeeze, rest, chain.shortcut)


# ---------------------------------------------------------------------------------------------------- steps


@dataclass(frozen=True)
class LayerTime:
    """One step of a run: what it is, what it costs at least, and the seconds that it took.

    `multiply_adds` and `bytes` are for all images of the call; bytes are those of the weights, once, and of the maps that
    are read and written.
    """

    name: str
    kind: Kind
    seconds: float
    multiply_adds: int
    bytes: int


def steps_of(
    network: PPLCNet, count: int, height: int, width: int, map_bytes: int, weight_bytes: int
) -> list[tuple[int, LayerTime]]:
    """The steps of a run on `count` images, each with its slot among the times that the C++ keeps (`Laps` in run.h)."""
    steps: list[tuple[int, LayerTime]] = []

    def add(slot: int, name: str, kind: Kind, multiply_adds: int, weights: int, values: int) -> None:
        moved = weights * weight_bytes + count * values * map_bytes
        steps.append((slot, LayerTime(name, kind, 0.0, count * multiply_adds, moved)))

    stem = cast(nn.Conv2d, network.stem.get_submodule("0"))
    before, (height, width) = height * width * stem.in_channels * 4 // map_bytes, _outputs(stem, height, width)
    add(0, "stem", "stem", height * width * stem.weight.numel(), stem.weight.numel(), before + height * width * stem.out_channels)
    blocks = list(parts_of(network))
    for index, parts in enumerate(blocks):
        slot, before = 1 + 5 * index, height * width * parts.depthwise.in_channels
        height, width = _outputs(parts.depthwise, height, width)
        pixels, taps = height * width, parts.depthwise.weight.numel()
        add(slot, f"{parts.name} depthwise", "depthwise", pixels * taps, taps, before)
        if parts.squeeze:
            weights = sum(layer.weight.numel() for layer in parts.squeeze)
            add(slot + 1, f"{parts.name} squeeze-and-excite", "squeeze-and-excite", weights, weights, 0)
        for step, layer in enumerate(parts.pointwise):
            name = f"{parts.name} pointwise" + (f" {step + 1}" if len(parts.pointwise) > 1 else "")
            out = pixels * layer.out_channels if layer is parts.pointwise[-1] else 0
            add(slot + 2 + step, name, "pointwise", pixels * layer.weight.numel(), layer.weight.numel(), out)
        if parts.shortcut:
            add(slot + 4, f"{parts.name} shortcut", "shortcut", 0, 0, 2 * before)
    slot, last = 1 + 5 * len(blocks), blocks[-1].pointwise[-1].out_channels
    add(slot, "pool", "pool", 0, 0, height * width * last)
    if network.architecture.head_width:
        weights = cast(nn.Linear, network.head.wide.get_submodule("0")).weight.numel()
        add(slot + 1, "hidden", "dense", weights, weights, 0)
    classifier = network.head.classifier.weight.numel()
    add(slot + 2, "classifier", "dense", classifier, classifier, 0)
    return steps


def slots_of(network: PPLCNet) -> int:
    """How many times the C++ keeps for a network."""
    return 1 + 5 * sum(1 for _ in parts_of(network)) + 3


def timed(steps: list[tuple[int, LayerTime]], seconds: list[float]) -> list[LayerTime]:
    """The steps with their seconds."""
    return [replace(step, seconds=seconds[slot]) for slot, step in steps]


def _outputs(layer: nn.Conv2d, height: int, width: int) -> tuple[int, int]:
    stride = cast(tuple[int, int], layer.stride)
    return (height - 1) // stride[0] + 1, (width - 1) // stride[1] + 1
