"""Reads and writes tensors as safetensors: what an array means, not how it lies in memory; and tells contents by fingerprints."""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernest.storage.files import write_file

CODES = {"bool": "BOOL", "bfloat16": "BF16", "complex64": "C64"}
CODES |= {f"{kind}{bits}": f"{kind[0].upper()}{bits}" for kind in ("uint", "int", "float") for bits in (8, 16, 32, 64)}
"""The format's name of each type of torch and numpy. What is not here (complex128) has no place in the format."""

LINE = 64
"""Bytes of a line of the processor's cache. Tensors of whole lines come first in a file, so that each begins a line; behind them
each lies at a multiple of the size of its numbers."""

MADV_POPULATE_READ = 22  # of Linux
HEADER_LIMIT = 100_000_000  # the format's own


@dataclass(frozen=True)
class Header:
    """The header of a safetensors file: its metadata, and of each tensor the type's name in the format and the shape."""

    metadata: dict[str, str]
    tensors: dict[str, tuple[str, tuple[int, ...]]]


def save_tensors(path: str | Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Writes torch tensors and numpy arrays as safetensors: what they mean, however they lie in memory, each on its own.

    Equal content makes equal bytes. Raises ValueError for a type that the format lacks.
    """
    plain = {name: _plain(tensor) for name, tensor in tensors.items()}
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    order = sorted(plain, key=lambda name: (plain[name].nbytes % LINE != 0, -plain[name].itemsize, name))
    for name in order:
        kind = str(plain[name].dtype).removeprefix("torch.")
        if kind not in CODES:
            raise ValueError(f"{path}: {name} is {kind}, which a safetensors file cannot hold")
        start, end = end, end + plain[name].nbytes
        header[name] = {"dtype": CODES[kind], "shape": list(plain[name].shape), "data_offsets": [start, end]}
    import torch

    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(len(text) + 8) % LINE)
    with write_file(path, len(text) + 8 + end) as aside, aside.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            if plain[name].numel():  # torch does not view what is empty as bytes
                file.write(plain[name].reshape(-1).view(torch.uint8).numpy().data)


def _plain(tensor: Any) -> Any:
    """A torch tensor of the same values in C order and the machine's byte order, with neither conjugation nor sign left to do."""
    import numpy as np
    import torch

    if not isinstance(tensor, torch.Tensor):
        array = np.asarray(tensor)
        tensor = torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))
    return tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()


def load_tensors(path: str | Path, mapped: bool = False) -> dict[str, Any]:
    """The torch tensors of a safetensors file, each in memory of its own that starts at a multiple of 64 bytes.

    The order of sums within a product can hang on where a tensor lies; here it never hangs on the file. What is `mapped` stands
    in memory that the system shares with the file, where it starts at such a multiple there: for a short use of a file that
    nobody writes to. Raises ValueError, which names the file, if it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    read_header(path)
    try:
        with safe_open(path, "pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged: {error}") from None
    if mapped:
        _populate(found.values())
    return {name: one if mapped and one.data_ptr() % LINE == 0 else one.clone() for name, one in found.items()}


def _populate(tensors: Iterable[Any]) -> None:
    """Lets pages of a mapped file be found in one go, not one by one when they are first read, which takes a hundred times as
    long. Systems that cannot (Linux before 5.14, others) leave it."""
    import ctypes
    from mmap import PAGESIZE

    starts = [tensor.data_ptr() for tensor in tensors if tensor.numel()]
    if starts and sys.platform == "linux":
        begin = min(starts) // PAGESIZE * PAGESIZE
        end = max(tensor.data_ptr() + tensor.nbytes for tensor in tensors)
        ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), MADV_POPULATE_READ)


def read_header(path: str | Path) -> Header:
    """The header of a safetensors file, checked against the file's size. Raises ValueError, which names the file."""
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size - 8
        length = int.from_bytes(file.read(8), "little")
        if size < 2 or length > min(size, HEADER_LIMIT):
            raise ValueError(f"{path}: damaged: no safetensors file, or cut off")
        text = file.read(length)
    try:
        entries = json.loads(text)
        metadata = {str(key): str(value) for key, value in entries.pop("__metadata__", {}).items()}
        tensors = {name: (str(entry["dtype"]), tuple(map(int, entry["shape"]))) for name, entry in entries.items()}
        spans = sorted(tuple(entry["data_offsets"]) for entry in entries.values())
        end = 0
        for start, stop in spans:
            if start != end or stop < start:
                raise ValueError(f"tensors overlap or leave a gap at byte {end}")
            end = stop
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged: {type(error).__name__} in the header: {error}") from None
    if end != size - length:
        raise ValueError(f"{path}: damaged: the header promises {end} bytes of tensors, the file holds {size - length}")
    return Header(metadata, tensors)


def fingerprint(*parts: Path | bytes | str) -> str:
    """SHA-256 of a sequence of files, bytes and texts; how they divide counts."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        else:
            digest.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return digest.hexdigest()


def folder_fingerprint(folder: Path) -> str:
    """The same of all files of a folder, with their names in it, wherever it lies."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return fingerprint(*(part for file in files for part in (file.relative_to(folder).as_posix(), file)))
