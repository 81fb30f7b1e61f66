"""Files of weights to tensors by name: Paddle's `.pdparams`, torch's zip files, safetensors. Nothing in a file is run."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ernest import storage
from ernest.lcnet.weights.pickle_reader import Call, Name, Reference, read_pickle

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

TORCH_TYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
}
TORCH_NAMES = frozenset({*TORCH_TYPES, "torch._utils._rebuild_tensor_v2", "collections.OrderedDict"})

NUMPY_TYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "b1"}


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a file by the names that they have there. What kind of file it is shows in its first bytes.

    Raises ValueError, which names the file, if it is damaged, of another kind, or asks for anything but tensors.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[:4] == b"PK\x03\x04":
            return _read_torch(path)
        if start[5:] == b"\x00\x00\x00{":  # the end of a length of eight bytes, whose first may be any
            return storage.load_tensors(path)
        if start[:1] == b"\x80":
            return _read_paddle(path.read_bytes())
        raise ValueError("expected Paddle's .pdparams, a zip file of torch.save, or safetensors")
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


# ------------------------------------------------------------------------------------------------------------- Paddle


def _read_paddle(data: bytes) -> dict[str, Tensor]:
    """Layout A: names to arrays and one table of other names. Layout B: names to (other name, array)."""
    content = _dictionary(read_pickle(data, PADDLE_NAMES))
    content.pop("StructuredToParameterName@@", None)
    sliced = _dictionary(content.pop("UnpackBigParamInfor@@", {}))
    arrays = {}
    for name, value in content.items():
        if isinstance(value, Call) and value.function.endswith(".tuple") and len(value.arguments) == 1:
            value = value.arguments[0]
        if isinstance(value, tuple) and len(value) == 2:
            value = value[1]
        arrays[name] = _array(name, value)
    for name, about in sliced.items():
        arrays[name] = _joined(name, arrays, about)
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


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
    _check_sizes(name, shape)
    if not isinstance(content, bytes) or len(content) != math.prod(shape) * np.dtype(kind).itemsize:
        raise ValueError(f"{name}: damaged, the values do not fill {shape}")
    return np.frombuffer(content, "<" + kind).reshape(shape, order="F" if fortran else "C")


def _joined(name: str, arrays: dict[str, np.ndarray], about: Any) -> np.ndarray:
    """A big array that Paddle cut into flat slices, each an entry of its own; they leave `arrays`."""
    match about:
        case {"OriginShape": shape, "slices": [*parts]} if all(part in arrays for part in parts):
            _check_sizes(name, tuple(shape))
            whole = np.concatenate([arrays.pop(part).ravel() for part in parts])
            if whole.size == math.prod(shape):
                return whole.reshape(tuple(shape))
    raise ValueError(f"{name}: damaged, its slices do not fit together")


# -------------------------------------------------------------------------------------------------------------- torch


def _read_torch(path: Path) -> dict[str, Tensor]:
    """A zip file with one pickle, `*/data.pkl`, and the storages that it refers to, `*/data/<key>`."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
            if len(names) != 1:
                raise ValueError("expected a zip file of torch.save")
            folder = names[0].removesuffix("data.pkl")
            content = _dictionary(read_pickle(_member(archive, names[0]), TORCH_NAMES))
            return {name: _tensor(name, note, archive, folder) for name, note in content.items()}
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError) as error:
        raise ValueError(f"damaged: {error}") from None


def _tensor(name: str, note: Any, archive: zipfile.ZipFile, folder: str) -> Tensor:
    """The tensor that a note of `torch._utils._rebuild_tensor_v2` describes: a view into a storage."""
    match note:
        case Call(
            function="torch._utils._rebuild_tensor_v2",
            arguments=(Reference(("storage", Name(kind), str(key), _, int(count))), int(offset), shape, strides, *_),
        ) if kind in TORCH_TYPES:
            pass
        case _:
            raise ValueError(f"{name}: expected a tensor, got {type(note).__name__}")
    _check_sizes(name, shape)
    _check_sizes(name, strides)
    content = _member(archive, f"{folder}data/{key}")
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    fits = len(content) == count * TORCH_TYPES[kind].itemsize and offset >= 0 and last < count
    if not fits or 0 in shape:
        raise ValueError(f"{name}: damaged, the storage does not hold {shape}")
    storage = torch.frombuffer(bytearray(content), dtype=TORCH_TYPES[kind])
    return storage.as_strided(shape, strides, offset)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """One file of the archive; torch never compresses, so what is compressed may be a bomb."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"refused: {name} is compressed")
    return archive.read(name)


# ------------------------------------------------------------------------------------------------------------- common


def _dictionary(value: Any) -> dict[str, Any]:
    """A dictionary with names for keys, plain or ordered."""
    if isinstance(value, Call) and value.function == "collections.OrderedDict" and not value.arguments:
        value = value.items
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError("expected a dictionary of tensors by name")
    return dict(value)


def _check_sizes(name: str, sizes: Any) -> None:
    if not isinstance(sizes, tuple) or not all(type(size) is int and 0 <= size < 2**31 for size in sizes):
        raise ValueError(f"{name}: expected sizes, got {sizes}")
