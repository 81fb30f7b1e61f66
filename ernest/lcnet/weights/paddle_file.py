"""Reads Paddle's `.pdparams`, a pickle of arrays by name, without unpickling it."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ernest.lcnet.weights.pickle_reader import Call, check_sizes, dictionary_of, read_pickle

PADDLE_NAMES = frozenset(
    {
        "numpy.ndarray",
        "numpy.dtype",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "builtins.tuple",
        "__builtin__.tuple",
        "collections.OrderedDict",
        "_codecs.encode",
    }
)
"""All that a file of Paddle mentions: arrays, pairs, and the spelling of bytes in protocol 2."""

NUMPY_TYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "b1"}


def read_paddle(data: bytes) -> dict[str, Tensor]:
    """Layout A: names to arrays and one table of other names. Layout B: names to (other name, array)."""
    content = dictionary_of(read_pickle(data, PADDLE_NAMES))
    content.pop("StructuredToParameterName@@", None)
    sliced = dictionary_of(content.pop("UnpackBigParamInfor@@", {}))
    arrays = {}
    for name, value in content.items():
        if isinstance(value, Call) and value.function.endswith(".tuple") and len(value.arguments) == 1:
            value = value.arguments[0]
        if isinstance(value, tuple) and len(value) == 2:
            value = value[1]
        arrays[name] = _array(name, value)
    for name, about in sliced.items():
        arrays[name] = _joined(name, arrays, about)
    return {name: as_tensor(array) for name, array in arrays.items()}


def as_tensor(array: np.ndarray) -> Tensor:
    """A copy of an array of Paddle, which has no type uint16 but keeps bfloat16 in it, bit by bit."""
    if array.dtype == np.uint16:
        return torch.from_numpy(np.array(array).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def _array(name: str, note: Any) -> np.ndarray:
    """The array that a note of `numpy.core.multiarray._reconstruct` with its state describes."""
    match note:
        case Call(function=function, state=(_, shape, dtype, bool(fortran), content)) if function.endswith("._reconstruct"):
            pass
        case _:
            raise ValueError(f"{name}: expected an array, got {type(note).__name__}")
    match dtype:
        case Call(function="numpy.dtype", arguments=(str(kind), *_), state=(_, "<" | "|", *_)) if kind in NUMPY_TYPES:
            pass
        case _:
            raise ValueError(f"{name}: expected little-endian numbers, got {dtype}")
    match content:
        case Call(function="_codecs.encode", arguments=(str(text), "latin1")):
            content = text.encode("latin1")
    check_sizes(name, shape)
    if not isinstance(content, bytes) or len(content) != math.prod(shape) * np.dtype(kind).itemsize:
        raise ValueError(f"{name}: damaged, the values do not fill {shape}")
    return np.frombuffer(content, "<" + kind).reshape(shape, order="F" if fortran else "C")


def _joined(name: str, arrays: dict[str, np.ndarray], about: Any) -> np.ndarray:
    """A big array that Paddle cut into flat slices, each an entry of its own; they leave `arrays`."""
    match about:
        case {"OriginShape": shape, "slices": [*parts]} if all(part in arrays for part in parts):
            check_sizes(name, tuple(shape))
            whole = np.concatenate([arrays.pop(part).ravel() for part in parts])
            if whole.size == math.prod(shape):
                return whole.reshape(tuple(shape))
    raise ValueError(f"{name}: damaged, its slices do not fit together")
