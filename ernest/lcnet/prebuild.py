"""Compiles the executor, the norms of trainings and the decoders of pictures before they are wanted: for an image of containers,
where there may be neither a compiler nor a cache."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ernest.lcnet.image_io import compiled
from ernest.lcnet.native import build, norms
from ernest.lcnet.native.executor import Precision, define, has_products

_ONE, _BOTH = frozenset({"avx512_vnni"}), frozenset({"avx512_vnni", "fast_bf16"})
EVERY_X86 = (("amx", _BOTH), ("avx512", _BOTH), ("avx512", _ONE), ("avx512", frozenset()))
EVERY_X86 += (("avx2_vnni", frozenset()), ("avx2", frozenset()))
"""Instruction sets, with the optional features that processors have: AVX-512 has come with both, with one and with none."""


@dataclass(frozen=True)
class Prebuilt:
    """A library, what it is for (`amx int8`), and the seconds of the compiler."""

    path: Path
    purpose: str
    seconds: float


def prebuild(everywhere: bool = False, directory: Path | None = None) -> Iterator[Prebuilt]:
    """Compiles the executor for this processor in all its precisions, or `everywhere`: for every processor of its kind; the norms
    of trainings; and the decoders of pictures.

    Into `directory`, by default the environment's own, where all its users find them. Raises BuildError without a compiler, and
    OSError where the directory cannot be written.
    """
    directory = build.environment_directory() if directory is None else directory
    for purpose, options, source in _wanted(everywhere):
        begun = time.monotonic()
        path = build.build(options, source, directory)
        yield Prebuilt(path, purpose, time.monotonic() - begun)


def _wanted(everywhere: bool) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """What a library is for, its flags, and its source."""
    yield "generic pictures", build.flags("generic"), str(compiled.SOURCE)
    for name, present in instruction_sets(everywhere):
        yield f"{name} norms", build.flags(name, present), norms.SOURCE
        for precision in get_args(Precision):
            if has_products(name, present, precision):
                yield f"{name} {precision}", (*build.flags(name, present), f"-D{define(precision)}"), "executor.cpp"


def instruction_sets(everywhere: bool) -> list[tuple[str, frozenset[str]]]:
    """Instruction sets and optional features; of this processor the best, which has the products that the others have."""
    here = build.features()
    if not everywhere:
        return [(build.available()[0], here)]
    return [("neon", here), ("generic", here)] if "neon" in here else [*EVERY_X86, ("generic", frozenset())]
