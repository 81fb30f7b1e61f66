"""Calls the compiled kernels of a training step, on a CPU that has a C++ compiler or has had one.

Each is the twin of something written in PyTorch beside it, which does the work everywhere else and says what is right. Kernels
compute in float32, whatever the type of what they read, and sum in one order: the same call gives the same bits, in one thread or
in several. Attention and experts, the longest, are shared by as many threads as PyTorch's operations are.
"""

import ctypes
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ernest.lcnet.native import build

SOURCES = {name: Path(__file__).with_name("source") / f"{name}.cpp" for name in ("training", "decoding")}


def load(name: str) -> ctypes.CDLL | None:
    """The compiled file of `SOURCES`; None where there is neither a compiler nor what another has compiled."""
    try:
        return build.library(build.available()[0], str(SOURCES[name]))
    except build.BuildError:
        return None


@cache
def _library() -> ctypes.CDLL | None:
    loaded = load("training")
    if loaded is not None:
        loaded.spans.restype = ctypes.c_int64
    return loaded


def prebuild(everywhere: bool = False, directory: Path | None = None) -> Iterator[tuple[Path, str, float]]:
    """Compiles all kernels of the model ahead, for this processor or `everywhere`: for every one of its kind. Yields each
    library, what it is for (`amx training`) and seconds.

    Into `directory`, by default the environment's own. Raises BuildError without a compiler, and OSError where the directory
    cannot be written.
    """
    from ernest.lcnet.prebuild import instruction_sets

    directory = build.environment_directory() if directory is None else directory
    for name, present in instruction_sets(everywhere):
        for purpose, source in SOURCES.items():
            begun = time.monotonic()
            path = build.build(build.flags(name, present), str(source), directory)
            yield path, f"{name} {purpose}", time.monotonic() - begun


def usable(*tensors: Tensor) -> bool:
    """Whether kernels can take these tensors, whose gradients are wanted: float32 or bfloat16 on a CPU."""
    if not torch.is_grad_enabled() or not all(x.is_cpu and x.dtype in (torch.float32, torch.bfloat16) for x in tensors):
        return False
    return _library() is not None


def call(name: str, *arguments: "Tensor | int | float | None") -> int:
    """Runs a kernel; tensors lie without gaps and outlive the call."""
    return getattr(_library(), name)(*map(_argument, arguments))


def _argument(value: "Tensor | int | float | None") -> object:
    if value is None:
        return None
    if isinstance(value, float):
        return ctypes.c_float(value)
    if isinstance(value, int):
        return ctypes.c_int64(value)
    assert value.is_contiguous()
    return ctypes.c_void_p(value.data_ptr())
