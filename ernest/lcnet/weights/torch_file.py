"""Reads what torch.save wrote, weights or a whole training checkpoint, in both of its formats, without unpickling it.

A checkpoint holds more than weights: optimizers, arguments, objects of any class. Of all that only the structure is looked
at, to find the dictionary with the names of a PP-LCNet; nothing else is turned into values.
"""

import io
import math
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ernest.lcnet.weights.key_maps import networks_in, unwrap, unwrapped
from ernest.lcnet.weights.pickle_reader import Call, Name, Reference, check_sizes, dictionary_of, read_pickle, refusal

TYPES: Mapping[str, torch.dtype] = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}

TENSOR, PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"

QUANTISED = ("torch.QInt8Storage", "torch.QUInt8Storage", "torch.QUInt4x2Storage", "torch.QUInt2x4Storage")

SIZES: Mapping[str, int] = {
    **{name: kind.itemsize for name, kind in TYPES.items()},
    **dict.fromkeys((*QUANTISED, "torch.storage.UntypedStorage"), 1),
    "torch.QInt32Storage": 4,
    "torch.ComplexFloatStorage": 8,
    "torch.ComplexDoubleStorage": 16,
}
"""Bytes of an element of any storage: what weights are not made of may lie before them."""

LEGACY = re.compile(rb"\x80[\x02-\x05](\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.", re.DOTALL)
"""The first pickle of files before torch 1.6, and of those that timm publishes: a number to know them by, in any protocol."""

Content = Callable[[str], bytes]
"""The bytes of a storage by its key."""


def read_zip(path: Path) -> tuple[str, dict[str, Tensor]]:
    """A zip file with one pickle, `*/data.pkl`, and the storages that it refers to, `*/data/<key>`. The place of the weights in
    it ("" where it holds nothing else), and the weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
            if len(names) != 1:
                raise ValueError("expected a zip file of torch.save")
            folder = names[0].removesuffix("data.pkl")
            if f"{folder}constants.pkl" in archive.namelist():
                raise ValueError("a program of torch.jit, no weights: save the state_dict() of the network that it was made of")
            content = read_pickle(_member(archive, names[0]), None)
            return _weights(content, lambda key: _member(archive, f"{folder}data/{key}"))
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError, OSError, struct.error) as error:
        raise ValueError(f"damaged: {error}") from None


def read_legacy(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Five pickles in a row (what file this is, twice, of what machine, the content, the keys of its storages), and then each
    storage: the number of its elements in eight bytes, and the elements."""
    file = io.BytesIO(path.read_bytes())
    _, _, machine, content, keys = (read_pickle(file, None) for _ in range(5))
    if not isinstance(machine, dict) or machine.get("little_endian") is not True or not isinstance(keys, list):
        raise ValueError("damaged, or of a machine with another order of bytes")
    sizes = {reference.key[2]: SIZES[reference.key[1].path] for reference in _references(content)}
    storages: dict[str, bytes] = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        if key not in sizes:
            raise ValueError(f"damaged: nothing is kept in its storage {key!r}")
        storages[key] = file.read(min(count, 2**48) * sizes[key])
    return _weights(content, storages.__getitem__)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """One file of the archive; torch never compresses, so what is compressed may be a bomb."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"refused: {name} is compressed")
    return archive.read(name)


# ------------------------------------------------------------------------------------------------- where the weights are


def _weights(content: Any, read: Content) -> tuple[str, dict[str, Tensor]]:
    """The place of the weights in the content of a file, and the weights, without what a wrapper keeps beside its network."""
    place, notes = _find(content)
    plain = (type(None), bool, int, float, str, bytes, list, tuple)  # what a state keeps beside its tensors
    prefixes = tuple(networks_in(unwrapped(notes))) or ("",)
    names = [name for name in notes if unwrap(name).startswith(prefixes)]
    return place, {name: _tensor(name, notes[name], read) for name in names if not isinstance(notes[name], plain)}


def _find(content: Any) -> tuple[str, dict[str, Any]]:
    """The dictionary with the names of a PP-LCNet. Of several the averaged one, as timm takes it, then those that are usually
    called the network's. Raises ValueError, which says where tensors are, if it is none or cannot be told."""
    places = list(_dictionaries(content))
    networks = [(place, notes) for place, notes in places if networks_in(unwrapped(notes))]
    if not networks:
        return "", _without_places(content, places)
    usual = ("state_dict_ema", "model_ema", "ema", "state_dict", "model", "")
    best = next((name for name in usual if name in dict(networks)), None)
    if len(networks) > 1 and best is None:
        raise ValueError(f"holds several networks, {', '.join(place for place, _ in networks)}: save one of them alone")
    place = networks[0][0] if len(networks) == 1 else best
    return place or "", dict(networks)[place or ""]


def _without_places(content: Any, places: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The content itself, if it is weights, though not of a PP-LCNet; else a complaint about what it is."""
    values = [content, *(content.values() if isinstance(content, dict) else ())]
    modules = [
        one.function for one in values if isinstance(one, Call) and isinstance(one.state, dict) and "_modules" in one.state
    ]
    if modules:
        why = "which only its program can read: save its state_dict() instead"
        raise ValueError(f"holds an object of the class {modules[0]}, {why}")
    if [place for place, _ in places] == [""]:
        return dictionary_of(content)
    if places := [(place, notes) for place, notes in places if place]:  # beside them may lie a tensor, such as a score
        some = "; ".join(f"in {place}: {', '.join(list(notes)[:2])}" for place, notes in places[:3])
        raise ValueError(f"a training checkpoint without the weights of a PP-LCNet; tensors lie {some}")
    if isinstance(content, Call) and content.function not in ("collections.OrderedDict", TENSOR, PARAMETER):
        raise ValueError(refusal(content.function))
    names = list(dictionary_of(content))
    raise ValueError(f"holds no tensors by name, only {', '.join(names[:3]) or 'nothing'}")


def _dictionaries(content: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """All dictionaries by name in a file that hold tensors, each once, with their places ("optimizer.state", "0" of a pair)."""
    seen: set[int] = set()  # a pickle may hold itself
    pieces = list(enumerate(content)) if isinstance(content, list | tuple) else [("", content)]
    stack = [(str(place), piece) for place, piece in reversed(pieces)]
    while stack:
        place, value = stack.pop()
        inside = value.items if isinstance(value, Call) else value
        if not isinstance(inside, dict) or id(inside) in seen:
            continue
        seen.add(id(inside))
        named = {name: note for name, note in inside.items() if isinstance(name, str)}
        if any(_is_tensor(note) for note in named.values()):
            yield place, named
        stack += [(f"{place}.{name}" if place else str(name), note) for name, note in reversed(inside.items())]


# -------------------------------------------------------------------------------------------------------------- tensors


def _is_tensor(note: Any) -> bool:
    return isinstance(note, Call) and note.function in (TENSOR, PARAMETER)


def _tensor(name: str, note: Any, read: Content) -> Tensor:
    """The tensor that a note of `torch._utils._rebuild_tensor_v2` describes, a view into a storage; or a parameter around it."""
    match note:
        case Call(function=function, arguments=(inner, *_)) if function == PARAMETER:
            return _tensor(name, inner, read)
        case Call(
            function=function,
            arguments=(Reference(("storage", Name(kind), str(key), _, int(count), *_)), int(offset), shape, strides, *_),
        ) if function == TENSOR and kind in TYPES:
            pass
        case Call(function=function) if function not in (TENSOR, "collections.OrderedDict"):
            raise ValueError(refusal(function))
        case Name(path):
            raise ValueError(refusal(path))
        case _:
            raise ValueError(f"{name}: expected a tensor, got {type(note).__name__}")
    check_sizes(name, shape)
    check_sizes(name, strides)
    content = read(key)
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    fits = len(content) == count * TYPES[kind].itemsize and offset >= 0 and last < count
    if not fits or math.prod(shape) == 0:
        raise ValueError(f"{name}: damaged, the storage does not hold {shape}")
    return torch.frombuffer(bytearray(content), dtype=TYPES[kind]).as_strided(shape, strides, offset)


def _references(content: Any) -> Iterator[Reference]:
    """All storages that a content refers to, whatever lies around them."""
    seen: set[int] = set()
    stack = [content]
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        match value:
            case Reference(("storage", Name(kind), *_)) if kind in SIZES:
                yield value
            case Call():
                stack += [value.arguments, value.items, value.state]
            case dict():
                stack += [*value.keys(), *value.values()]
            case list() | tuple():
                stack += value
