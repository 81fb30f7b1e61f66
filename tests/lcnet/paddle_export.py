"""Writes a network as Paddle 3 exports it: a graph in JSON, and its numbers without names in the order of the names as words."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.lcnet.reference import Arrays

KINDS = {"<f2": 4, "<f4": 5, "<u2": 22}


class Program:
    """Operators in the order in which they run, and parameters, numbered by kind from `first` on."""

    def __init__(self, first: int) -> None:
        self.operators: list[dict[str, Any]] = []
        self.parameters: dict[str, np.ndarray] = {}
        self.numbers = {"conv2d": first, "batch_norm2d": first, "linear": first}
        self.values = 0

    def value(self) -> int:
        self.values += 1
        return self.values

    def parameter(self, layer: str, leaf: str, array: np.ndarray) -> int:
        name, value = f"{layer}.{leaf}", self.value()
        self.parameters[name] = array
        kind = {"#": "0.t_dtensor", "D": [{"#": "0.t_f32"}, list(array.shape), "NCHW", [], 0]}
        # All parameters stand before the first operator, the last one first.
        self.operators.insert(0, {"#": "p", "A": [0, 1, 1, name], "DA": [], "O": {"%": value, "TT": kind}})
        return value

    def operator(self, kind: str, inputs: list[int], **settings: Any) -> int:
        value = self.value()
        named = [{"N": name, "AT": _attribute(one)} for name, one in settings.items()]
        self.operators.append({"#": f"1.{kind}", "A": named, "I": [{"%": one} for one in inputs], "O": [{"%": value}]})
        return value

    def number(self, kind: str) -> str:
        self.numbers[kind] += 1
        return f"{kind}_{self.numbers[kind] - 1}"

    def convolution(self, x: int, arrays: Arrays, name: str, stride: Any = 1, bias: bool = False) -> int:
        weight, layer = arrays[f"{name}.weight"], self.number("conv2d")
        depthwise = weight.shape[1] == 1
        strides = list(stride) if isinstance(stride, tuple) else [stride, stride]
        kind, groups = ("depthwise_conv2d", len(weight)) if depthwise else ("conv2d", 1)
        inputs = [x, self.parameter(layer, "w_0", weight)]
        x = self.operator(kind, inputs, strides=strides, groups=groups, paddings=[weight.shape[2] // 2] * 2)
        if bias:
            shaped = self.operator(
                "reshape", [self.parameter(layer, "b_0", arrays[f"{name}.bias"]), self.operator("full_int_array", [])]
            )
            x = self.operator("add", [x, shaped])
        return x

    def normalised(self, x: int, arrays: Arrays, name: str, activation: str | None, stride: Any = 1) -> int:
        x, layer = self.convolution(x, arrays, f"{name}.conv", stride), self.number("batch_norm2d")
        leaves = {"_mean": "w_1", "_variance": "w_2", "weight": "w_0", "bias": "b_0"}
        inputs = [x, *(self.parameter(layer, theirs, arrays[f"{name}.bn.{ours}"]) for ours, theirs in leaves.items())]
        x = self.operator("batch_norm_", inputs, epsilon=9.999999747378752e-06)
        return self.operator(activation, [x]) if activation else x

    def squeezed(self, x: int, arrays: Arrays, name: str, gate: str) -> int:
        y = self.convolution(self.operator("pool2d", [x]), arrays, f"{name}.conv1", bias=True)
        y = self.convolution(self.operator("relu", [y]), arrays, f"{name}.conv2", bias=True)
        return self.operator("multiply", [x, self.operator(gate, [y])])

    def head(self, x: int, arrays: Arrays, activation: str, rate: float) -> None:
        x = self.operator(activation, [self.convolution(self.operator("pool2d", [x]), arrays, "last_conv")])
        x = self.operator("dropout", [x, 0, self.operator("full", [], value=rate)], mode="downgrade_in_infer")
        layer = self.number("linear")
        x = self.operator("matmul", [self.operator("flatten", [x]), self.parameter(layer, "w_0", arrays["fc.weight"])])
        x = self.operator("add", [x, self.parameter(layer, "b_0", arrays["fc.bias"])])
        self.operator("fetch", [self.operator("softmax", [x])])

    def write(self, path: Path) -> Path:
        blocks = [{"#": "block_0", "args": [], "ops": self.operators}]
        about = {"base_code": {"magic": "pir", "version": 4}, "program": {"regions": [{"#": "region_0", "blocks": blocks}]}}
        path.with_suffix(".json").write_text(json.dumps(about))
        path.write_bytes(b"".join(_tensor(self.parameters[name]) for name in sorted(self.parameters)))
        return path


def write_first(
    path: Path, arrays: Arrays, strides: tuple = (2, 1, 2, 2, 2, 2), size: tuple = (224, 224), rate: float = 0.2, first: int = 0
) -> Path:
    """PP-LCNet of the reference's arrays, as a process that made `first` layers of each kind before exports it."""
    program = Program(first)
    x = program.operator("data", [], shape=[-1, 3, *size])
    x = program.normalised(x, arrays, "conv1", "hardswish", strides[0])
    for stage in range(2, 7):
        places = [place for place in range(6) if f"blocks{stage}.{place}.dw_conv.conv.weight" in arrays]
        for place in places:
            name = f"blocks{stage}.{place}"
            x = program.normalised(x, arrays, f"{name}.dw_conv", "hardswish", 1 if place else strides[stage - 1])
            if f"{name}.se.conv1.weight" in arrays:
                x = program.squeezed(x, arrays, f"{name}.se", "hardsigmoid")
            x = program.normalised(x, arrays, f"{name}.pw_conv", "hardswish")
    program.head(x, arrays, "hardswish", rate)
    return program.write(path)


def write_second(path: Path, arrays: Arrays, depth: int) -> Path:
    """PP-LCNetV2 of the reference's arrays, with branches, or merged (`dw_conv.weight`, `dw_conv.bias`) where there are none."""
    program = Program(3)
    x = program.operator("data", [], shape=[-1, 3, 224, 224])
    x = program.normalised(x, arrays, "stem.0", "relu", 2)
    for stage, count in enumerate((1, 2, 2, depth, 2), -1):
        for place in range(count):
            name, stride, before = f"stages.{stage}.{place}" if stage >= 0 else "stem.1", 2 if stage >= 0 and not place else 1, x
            branches = [branch for branch in range(3) if f"{name}.dw_conv_list.{branch}.conv.weight" in arrays]
            if branches:
                total = program.normalised(x, arrays, f"{name}.dw_conv_list.0", None, stride)
                for branch in branches[1:]:
                    other = program.normalised(x, arrays, f"{name}.dw_conv_list.{branch}", None, stride)
                    total = program.operator("add", [total, other])
                x = program.operator("relu", [total])
            elif f"{name}.dw_conv.weight" in arrays:
                x = program.operator("relu", [program.convolution(x, arrays, f"{name}.dw_conv", stride, bias=True)])
            else:
                x = program.normalised(x, arrays, f"{name}.dw_conv", "relu", stride)
            if f"{name}.se.conv1.weight" in arrays:
                x = program.squeezed(x, arrays, f"{name}.se", "sigmoid")
            for part in ("pw_conv", "pw_conv_1", "pw_conv_2"):
                if f"{name}.{part}.conv.weight" in arrays:
                    x = program.normalised(x, arrays, f"{name}.{part}", "relu")
            x = program.operator("add", [before, x]) if stage == 3 and place else x
    program.head(x, arrays, "relu", 0.2)
    return program.write(path)


def _attribute(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {"#": "0.a_array", "D": [{"#": "0.a_i32", "D": one} for one in value]}
    return {"#": "0.a_str", "D": value}


def _tensor(array: np.ndarray) -> bytes:
    sides = b"".join(b"\x10" + _variable(side) for side in array.shape)
    text = b"\x08" + _variable(KINDS[array.dtype.str]) + sides
    return bytes(16) + len(text).to_bytes(4, "little") + text + np.ascontiguousarray(array).tobytes()


def _variable(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    return (bytes([number & 127 | 128]) + _variable(number >> 7)) if number > 127 else bytes([number])
