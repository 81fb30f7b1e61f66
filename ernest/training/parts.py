"""Files in which each process keeps what it holds of tensors, and from which it reads what it will hold, dealt out otherwise too.

They are safetensors; where a part lies in the whole stands in the metadata. (PyTorch's distributed checkpoints describe their
files by a pickle, and nothing is unpickled here.)
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ernest.storage import read_header, save_tensors

PLACES = "places"
"""The metadata of a file: of each tensor that is a part, its place as JSON."""


_PIECE = "@"


def piece_name(name: str, number: int) -> str:
    """The name, in a file and among what a process holds, of the piece of that number of a tensor; the first has the tensor's."""
    return f"{name}{_PIECE}{number}" if number else name


def tensor_name(piece: str) -> str:
    """The name of the tensor of a piece."""
    return piece.partition(_PIECE)[0]


@dataclass(frozen=True)
class Place:
    """A block of a tensor of `shape`: along each dimension of it `size` numbers, from `start` on."""

    shape: tuple[int, ...]
    start: tuple[int, ...]
    size: tuple[int, ...]

    @classmethod
    def of_whole(cls, shape: Sequence[int]) -> "Place":
        return cls(tuple(shape), (0,) * len(shape), tuple(shape))

    @property
    def is_whole(self) -> bool:
        return self.size == self.shape

    def common(self, other: "Place") -> "Place | None":
        """What lies in both, None where nothing does."""
        starts = [max(pair) for pair in zip(self.start, other.start, strict=True)]
        ends = [min(a + n, b + m) for a, n, b, m in zip(self.start, self.size, other.start, other.size, strict=True)]
        sizes = [end - start for start, end in zip(starts, ends, strict=True)]
        return None if any(size <= 0 for size in sizes) else Place(self.shape, tuple(starts), tuple(sizes))

    def slices(self, inside: "Place | None" = None) -> tuple[slice, ...]:
        """Of this block in the whole or, where it lies `inside` another one, in that."""
        origin = (0,) * len(self.shape) if inside is None else inside.start
        return tuple(slice(a - o, a - o + n) for a, o, n in zip(self.start, origin, self.size, strict=True))


@dataclass(frozen=True)
class Part:
    """What this process holds of a tensor. Of the processes that hold the same, one `writes` it."""

    own: Tensor
    place: Place
    writes: bool = True


def write_parts(path: Path, parts: Mapping[str, Part], even_none: bool = False) -> None:
    """Writes those parts that are this process's to write; where there are none no file, unless one is wanted `even_none`."""
    written = {name: part for name, part in parts.items() if part.writes and part.own.numel()}
    if not written and not even_none:
        return
    places = {name: asdict(part.place) for name, part in written.items() if not part.place.is_whole}
    save_tensors(path, {name: part.own for name, part in written.items()}, {PLACES: json.dumps(places)} if places else None)


def stored_shapes(files: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    """The shapes of the whole tensors of which parts are in `files`."""
    return {tensor_name(name): place.shape for path in files for name, place in _stored(path)}


@torch.no_grad()
def read_parts(files: Sequence[Path], parts: Mapping[str, Part]) -> None:
    """Fills what this process holds from the files of all, of which it opens no more than it needs.

    Raises ValueError where they do not hold all of it, and where a tensor has another shape there.
    """
    missing = {name: part.own.numel() for name, part in parts.items()}
    for path in files:
        for name, count in _read_file(path, {name: part for name, part in parts.items() if missing[name]}):
            missing[name] -= count
    lacking = [name for name, count in missing.items() if count]
    if lacking:
        raise ValueError(f"{', '.join(map(str, files)) or 'no file'}: {len(lacking)} tensors are not whole, such as {lacking[0]}")


def _read_file(path: Path, parts: Mapping[str, Part]) -> Iterator[tuple[str, int]]:
    """Fills what a file holds of parts; tells of which, and how many numbers. One that holds nothing of them is not opened."""
    from safetensors import safe_open

    with ExitStack() as opened:
        file: Any = None
        for piece, there, name, both in _shared(path, parts):
            file = file or opened.enter_context(safe_open(path, "pt"))
            stored = file.get_tensor(piece) if both == there else file.get_slice(piece)[both.slices(there)]
            parts[name].own[both.slices(parts[name].place)] = stored
            yield name, stored.numel()


def _shared(path: Path, parts: Mapping[str, Part]) -> Iterator[tuple[str, Place, str, Place]]:
    """What a file and parts have in common: the piece and its place there, the part, and the place of what both hold."""
    wanted: dict[str, list[str]] = {}
    for name in parts:
        wanted.setdefault(tensor_name(name), []).append(name)
    for piece, there in _stored(path):
        for name in wanted.get(tensor_name(piece), ()):
            here = parts[name].place
            if there.shape != here.shape:
                raise ValueError(f"{path}: {name} is of shape {[*there.shape]}, and {[*here.shape]} is wanted")
            if (both := here.common(there)) is not None:
                yield piece, there, name, both


def _stored(path: Path) -> Iterator[tuple[str, Place]]:
    header = read_header(path)
    places = json.loads(header.metadata.get(PLACES, "{}"))
    for name, (_, size) in header.tensors.items():
        told = places.get(name)
        yield name, Place.of_whole(size) if told is None else Place(**{key: tuple(value) for key, value in told.items()})
