"""Reads a network that Paddle 3 exported: the numbers of a `.pdiparams` with the graph of the `.json` beside it.

The numbers have no names: they lie in the order of their names as words (`conv2d_10.w_0` before `conv2d_2.w_0`), and the names
are in the graph, in another order, numbered as the process happened to count. So each tensor is taken for what the graph does
with it. The graph tells more than weights do: strides, the rate of the dropout, the size of the pictures.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ernest.lcnet.architecture import Activation, Stride
from ernest.lcnet.weights.paddle_file import as_tensor

TYPES: Mapping[int, str] = {4: "<f2", 5: "<f4", 6: "<f8", 22: "<u2"}
"""Paddle's numbers of types: half, single, double, bfloat16, which is kept as uint16."""

IGNORED = {"full", "full_int_array", "flatten", "squeeze", "reshape", "pool2d", "multiply", "softmax", "fetch"}
"""Operators without parameters whose place is where a PP-LCNet has them."""

ACTIVATIONS = {"hardswish", "relu", "hardsigmoid", "sigmoid"}

LARGEST = 100_000_000
"""Bytes of a graph; that of the largest network has a thousandth."""


@dataclass(frozen=True)
class Export:
    """A network's tensors under PaddleClas' names, and what the graph tells besides. `size` is (height, width), None if free."""

    tensors: dict[str, Tensor]
    strides: tuple[Stride, ...]
    dropout: float
    activation: Activation
    size: tuple[int, int] | None


@dataclass
class _Layer:
    """A convolution or the classifier: names of its parameters, and what follows it."""

    weight: str
    input: int
    output: int
    stride: Stride = 1
    groups: int = 1
    bias: str | None = None
    norm: tuple[str, ...] = ()


@dataclass
class _Graph:
    """What has been seen of a graph: which value is which parameter or layer's output, and the layers in order."""

    parameters: dict[int, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    constants: dict[int, float] = field(default_factory=dict)
    layers: list[_Layer] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    dropout: float = 0.0
    size: tuple[int, int] | None = None

    def layer(self, value: int) -> _Layer | None:
        """The layer whose output a value is."""
        return next((layer for layer in reversed(self.layers) if layer.output == value), None)


def read_export(path: Path) -> Export | None:
    """The network of a `.pdiparams` with its `.json`, either of which may be named; None for any other file.

    Raises ValueError if one of the two is missing or damaged, if they do not belong together, or hold another network.
    """
    numbers, graph = path.with_suffix(".pdiparams"), path.with_suffix(".json")
    if path not in (numbers, graph) or (path == graph and not numbers.is_file()):
        return None
    if not graph.is_file():
        why = f"holds tensors without names: {graph.name}, which Paddle 3 exports with it, must lie beside it"
        raise ValueError(f"{why}; of Paddle 2 give the .pdparams that it was exported from")
    try:
        if graph.stat().st_size > LARGEST:
            raise ValueError("too large")
        about = json.loads(graph.read_text(encoding="utf-8"))
        seen = _follow(about["program"]["regions"][0]["blocks"][0]["ops"])
        strides, names = _named(seen)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, StopIteration, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"{graph.name}: expected the graph of a PP-LCNet that Paddle 3 exported: {reason}") from None
    tensors = _numbers(numbers.read_bytes(), seen.shapes)
    return Export(
        {name: tensors[parameter] for name, parameter in names.items() if parameter},
        strides,
        seen.dropout,
        "h-swish" if "hardswish" in seen.kinds else "relu",
        seen.size,
    )


# ------------------------------------------------------------------------------------------------------------ the numbers


def _numbers(data: bytes, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors by the names of the graph, which are sorted as words."""
    found = list(_tensors(data, len(shapes)))
    names = sorted(shapes)
    if len(found) != len(names):
        raise ValueError(f"holds {len(found)} tensors where the graph has {len(names)}: the two files do not belong together")
    for name, array in zip(names, found, strict=True):
        if array.shape != shapes[name]:
            told = f"{name} is {list(array.shape)} where the graph has {list(shapes[name])}"
            raise ValueError(f"{told}: the two files do not belong together")
    return {name: as_tensor(array) for name, array in zip(names, found, strict=True)}


def _tensors(data: bytes, most: int) -> Iterator[np.ndarray]:
    """Each tensor: a version of 4 bytes, 8 bytes of levels (none), a version again, the length of a description, the
    description (type, sides), the numbers."""
    place, damaged = 0, ValueError("damaged: a tensor is cut off, or no tensor")
    for _ in range(most + 1):
        if place == len(data):
            return
        head, length = data[place : place + 16], int.from_bytes(data[place + 16 : place + 20], "little")
        if head != bytes(16) or not 0 < length <= 200 or place + 20 + length > len(data):
            raise damaged
        kind, shape = _description(data[place + 20 : place + 20 + length])
        if kind not in TYPES:
            raise ValueError(f"holds numbers of Paddle's type {kind}, which are no weights")
        place += 20 + length
        size = math.prod(shape) * np.dtype(TYPES[kind]).itemsize
        if place + size > len(data):
            raise damaged
        yield np.frombuffer(data[place : place + size], TYPES[kind]).reshape(shape)
        place += size


def _description(text: bytes) -> tuple[int, tuple[int, ...]]:
    """Field 1 of a protocol buffer, the type, and field 2, the sides, one by one or packed."""
    values: list[int] = []
    number, shift = 0, 0
    for byte in text:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(number)
            number, shift = 0, 0
    if values[:1] != [8] or len(values) < 2:
        raise ValueError("damaged: a description without a type")
    kind, rest = values[1], values[2:]
    if rest[:1] == [18]:
        sides = rest[2:]
    elif rest[::2] == [16] * len(rest[::2]):
        sides = rest[1::2]
    else:
        raise ValueError("damaged: a description of more than a type and sides")
    if any(side >= 2**31 for side in sides):
        raise ValueError("damaged: a side is too large")
    return kind, tuple(sides)


# -------------------------------------------------------------------------------------------------------------- the graph


def _follow(operators: list[dict[str, Any]]) -> _Graph:
    """What each operator does with parameters, in the order in which they run."""
    graph = _Graph()
    for operator in operators:
        if operator["#"] == "p":
            name, result = str(operator["A"][3]), operator["O"]
            graph.parameters[result["%"]] = name
            graph.shapes[name] = tuple(map(int, result["TT"]["D"][1]))
            continue
        kind = operator["#"].rpartition(".")[2]
        settings = {one["N"]: _plain(one["AT"].get("D")) for one in operator["A"]}
        inputs, output = [one["%"] for one in operator["I"]], operator["O"][0]["%"] if operator["O"] else -1
        _take(graph, kind, settings, inputs, output)
    return graph


def _plain(value: Any) -> Any:
    """The value of an attribute; of an array a list."""
    return [one["D"] for one in value] if isinstance(value, list) and value and isinstance(value[0], dict) else value


def _take(graph: _Graph, kind: str, settings: dict[str, Any], inputs: list[int], output: int) -> None:
    """One operator."""
    parameters = [graph.parameters.get(value) for value in inputs]
    match kind:
        case "conv2d" | "depthwise_conv2d":
            vertical, horizontal = map(int, settings["strides"])
            stride = vertical if vertical == horizontal else (vertical, horizontal)
            graph.layers.append(_Layer(_weight(parameters, kind), inputs[0], output, stride, int(settings["groups"])))
        case "batch_norm_" | "batch_norm":
            layer = graph.layer(inputs[0])
            if layer is None or not all(parameters[1:5]) or abs(settings["epsilon"] - 1e-5) > 1e-9:
                raise ValueError("a normalisation that does not follow a convolution, or with another epsilon than 1e-5")
            layer.norm, layer.output = tuple(map(str, parameters[1:5])), output
        case "matmul":
            graph.layers.append(_Layer(_weight(parameters, kind), inputs[0], output))
        case "reshape" if parameters[0]:
            graph.parameters[output] = parameters[0]
        case "add" if len(parameters) == 2 and parameters[1]:
            layer = graph.layer(inputs[0])
            if layer is None:
                raise ValueError("a bias that follows no layer")
            layer.bias, layer.output = parameters[1], output
        case "add":
            graph.kinds.add("shortcut")
        case "full" if isinstance(settings.get("value"), float):
            graph.constants[output] = settings["value"]
        case "dropout":
            if settings["mode"] == "downgrade_in_infer":
                graph.dropout = round(graph.constants[inputs[-1]], 6)
        case "data":
            sides = settings["shape"][2:]
            graph.size = (int(sides[0]), int(sides[1])) if len(sides) == 2 and min(sides) > 0 else None
        case _ if kind in ACTIVATIONS:
            graph.kinds.add(kind)
        case _ if kind not in IGNORED:
            raise ValueError(f"the operator {kind} is none of a PP-LCNet")


def _weight(parameters: list[str | None], kind: str) -> str:
    if len(parameters) < 2 or parameters[1] is None:
        raise ValueError(f"{kind} without a parameter")
    return parameters[1]


def _named(graph: _Graph) -> tuple[tuple[Stride, ...], dict[str, str]]:
    """The strides of the network, and the parameter of each tensor of PaddleClas."""
    second = "sigmoid" in graph.kinds
    blocks: list[list[_Layer]] = []
    if len(graph.layers) < 4:
        raise ValueError("expected the graph of a PP-LCNet, which has more layers")
    stem, *middle, classifier = graph.layers
    wide = middle.pop() if not middle[-1].norm and middle[-1].groups == 1 else None
    for layer in middle:
        is_branch = blocks and blocks[-1][-1].groups > 1 and blocks[-1][-1].input == layer.input
        if layer.groups > 1 and not is_branch:
            blocks.append([])
        if not blocks or (layer.groups == 1 and layer.stride != 1):
            raise ValueError("expected depthwise convolutions, each followed by pointwise ones")
        blocks[-1].append(layer)
    depths = (1, 2, 2, len(blocks) - 7, 2) if second else (1, 2, 2, 6, 2)
    if len(blocks) != sum(depths) or depths[3] < 1:
        raise ValueError(f"expected the 13 blocks of a PP-LCNet, or those of a PP-LCNetV2, found {len(blocks)}")
    names = _convolution("stem.0" if second else "conv1", stem)
    strides, remaining = [stem.stride], iter(blocks)
    for stage, depth in enumerate(depths):
        for index in range(depth):
            block = next(remaining)
            place = (f"stages.{stage - 1}.{index}" if stage else "stem.1") if second else f"blocks{stage + 2}.{index}"
            names |= _block(place, block)
            if index == 0:
                strides.append(block[0].stride)
            elif block[0].stride != 1:
                raise ValueError(f"{place} has a stride, which only the first block of a stage has here")
    if wide is not None:
        names["last_conv.weight"] = wide.weight
    return tuple(strides), names | {"fc.weight": classifier.weight, "fc.bias": classifier.bias or ""}


def _block(place: str, layers: list[_Layer]) -> dict[str, str]:
    """Depthwise: one, branches, or merged, which has a bias. Squeeze-and-excite, whose layers have a bias, too. Pointwise."""
    depthwise, rest = [layer for layer in layers if layer.groups > 1], [layer for layer in layers if layer.groups == 1]
    gates, pointwise = [layer for layer in rest if layer.bias], [layer for layer in rest if layer.norm]
    if len(gates) not in (0, 2) or len(pointwise) not in (1, 2) or layers != depthwise + gates + pointwise:
        raise ValueError(f"{place} is no block of a PP-LCNet")
    names = {}
    if not depthwise[0].norm:
        names |= {f"{place}.dw_conv.weight": depthwise[0].weight, f"{place}.dw_conv.bias": depthwise[0].bias or ""}
    for number, layer in enumerate(depthwise if depthwise[0].norm else ()):
        names |= _convolution(f"{place}.dw_conv" if len(depthwise) == 1 else f"{place}.dw_conv_list.{number}", layer)
    for number, gate in enumerate(gates, 1):
        names |= {f"{place}.se.conv{number}.weight": gate.weight, f"{place}.se.conv{number}.bias": gate.bias or ""}
    for number, layer in enumerate(pointwise, 1):
        names |= _convolution(f"{place}.pw_conv{f'_{number}' if len(pointwise) == 2 else ''}", layer)
    return names


def _convolution(place: str, layer: _Layer) -> dict[str, str]:
    leaves = ("_mean", "_variance", "weight", "bias")
    if len(layer.norm) != len(leaves):
        raise ValueError(f"{place} has no normalisation")
    return {f"{place}.conv.weight": layer.weight} | {
        f"{place}.bn.{leaf}": name for leaf, name in zip(leaves, layer.norm, strict=True)
    }
