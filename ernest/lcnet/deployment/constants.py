"""Refuses graphs of ONNX and OpenVINO that hold weights which are no numbers: some runtimes hide them, and answer something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import openvino

GRAPH, INITIALIZER, NAME, KIND, FLOATS, RAW = 7, 5, 8, 2, 4, 9
"""Numbers of fields in onnx.proto: of a model, of its graph, and of a tensor."""

FLOAT, HALF, DOUBLE, BFLOAT16 = 1, 10, 11, 16
"""Types of numbers in onnx.proto that can be no number."""


def check_onnx(path: Path) -> None:
    """Raises ValueError, which names the tensor, if a weight of an ONNX file is no finite number. Needs no package."""
    for field, graph in _fields(memoryview(path.read_bytes())):
        for inner, tensor in _fields(graph) if field == GRAPH and isinstance(graph, memoryview) else ():
            if inner == INITIALIZER and isinstance(tensor, memoryview):
                _check_tensor(path, dict(_fields(tensor)))


def check_openvino(path: Path, graph: openvino.Model) -> None:
    """The same of a graph of OpenVINO."""
    for node in graph.get_ops():
        if node.get_type_name() == "Constant" and node.get_element_type().is_real():
            _refuse(path, node.get_friendly_name(), np.asarray(node.get_data()))


def _check_tensor(path: Path, fields: dict[int, memoryview | int]) -> None:
    kind, data = fields.get(KIND), fields.get(RAW, fields.get(FLOATS))
    if not isinstance(data, memoryview) or kind not in (FLOAT, HALF, DOUBLE, BFLOAT16):
        return
    if kind == BFLOAT16:  # the upper half of float32
        values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(data, {FLOAT: "<f4", HALF: "<f2", DOUBLE: "<f8"}[kind])
    name = fields.get(NAME)
    _refuse(path, bytes(name).decode(errors="replace") if isinstance(name, memoryview) else "a weight", values)


def _refuse(path: Path, name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: {name} holds values that are no finite numbers: the file is damaged")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Numbers and values of the fields of a message of protocol buffers; fixed ones of four and eight bytes are left as bytes."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        match tag & 7:
            case 0:
                value, place = _varint(message, place)
                yield tag >> 3, value
                continue
            case 1 | 5:
                size = 8 if tag & 7 == 1 else 4
            case 2:
                size, place = _varint(message, place)
            case _:
                return  # no protocol buffers: the runtime complains
        yield tag >> 3, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first; the highest bit says that more follow."""
    value, shift = 0, 0
    while place < len(message):
        byte = message[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            break
    return value, place
