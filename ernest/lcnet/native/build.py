"""Compiles the C++ of the executor at first use, once for each instruction set, and keeps the libraries in the user's cache.

A library is kept under a name made of its sources, the compiler's version and the flags, in the user's cache directory
(`XDG_CACHE_HOME`, else `~/.cache`, `~/Library/Caches` on a Mac). It is built aside and moved into place, so processes that
build at the same time do not see each other's halves.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from ernest import storage

SOURCE = Path(__file__).with_name("source")

COMMON = ("-std=c++20", "-O3", "-ffp-contract=fast", "-fPIC", "-shared", "-pthread")
_AVX2 = ("-mavx2", "-mfma", "-mf16c")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512")
_AMX = ("-mavx512bf16", "-mavx512fp16", "-mavx512vnni", "-mamx-tile", "-mamx-bf16", "-mamx-int8")

INSTRUCTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "amx": (*_AVX512, *_AMX),
        "avx512": _AVX512,
        "avx2": _AVX2,
        "neon": (),
        "generic": (),
    }
)
"""The instruction sets from the best to the least, and the flags of each; generic is what the compiler's target always has."""

VARIABLE = "ERNEST_INSTRUCTIONS"
"""The environment variable that limits every executor of a process to one instruction set."""

_AVX512_FEATURES = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
_NEEDED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "amx": _AVX512_FEATURES | {"avx512_bf16", "avx512_fp16", "avx512_vnni", "amx_tile", "amx_bf16", "amx_int8"},
        "avx512": _AVX512_FEATURES,
        "avx2": frozenset({"avx2", "fma", "f16c"}),
        "neon": frozenset({"neon"}),
        "generic": frozenset(),
    }
)
_OPTIONAL: Mapping[str, str] = MappingProxyType({"avx512_bf16": "-mavx512bf16", "avx512_vnni": "-mavx512vnni"})


class BuildError(Exception):
    """There is no compiler, or it failed; the message holds its first line about an error."""


@cache
def features() -> frozenset[str]:
    """What the processor and the system offer, by Linux's names: /proc/cpuinfo, or sysctl on a Mac."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return frozenset({"neon"})
    try:
        text = Path("/proc/cpuinfo").read_text()
        flags = next((line.partition(":")[2] for line in text.splitlines() if line.startswith("flags")), "")
    except OSError:
        keys = ["machdep.cpu.features", "machdep.cpu.leaf7_features"]
        mac = sys.platform == "darwin"
        flags = subprocess.run(["sysctl", "-n", *keys], capture_output=True, text=True, check=False).stdout if mac else ""
    found = set(flags.lower().split())
    if "amx_tile" in found and not _tiles_permitted():
        found -= {"amx_tile", "amx_bf16", "amx_int8"}
    return frozenset(found)


def _tiles_permitted() -> bool:
    """Whether Linux lets this process have the tile registers of AMX: arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)."""
    arch_prctl, request, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request, tile_data) == 0


def available() -> tuple[str, ...]:
    """The instruction sets that the executor may use here, from the best to the least.

    Those that the processor has; with the environment variable ERNEST_INSTRUCTIONS only the set that it names. Raises
    ValueError if that set is unknown or not on this processor.
    """
    present = tuple(name for name, needed in _NEEDED.items() if needed <= features())
    chosen = os.environ.get(VARIABLE)
    if not chosen:
        return present
    if chosen not in present:
        reason = "not on this processor" if chosen in INSTRUCTIONS else "unknown"
        raise ValueError(f"{VARIABLE}: expected one of {', '.join(present)}, got {chosen}, which is {reason}")
    return (chosen,)


def flags(instructions: str) -> tuple[str, ...]:
    """All flags for one instruction set; AVX-512 comes with the products of 16 and 8 bits where the processor has them."""
    more = [flag for feature, flag in _OPTIONAL.items() if feature in features()] if instructions == "avx512" else []
    return (*COMMON, *INSTRUCTIONS[instructions], *more)


def compiler() -> list[str]:
    """The command of the C++ compiler: $CXX, else the first of c++, g++, clang++. Raises BuildError if there is none."""
    named = os.environ.get("CXX")
    command = shlex.split(named) if named else next(([name] for name in ("c++", "g++", "clang++") if shutil.which(name)), [])
    if not command or not shutil.which(command[0]):
        raise BuildError(f"no C++ compiler: {f'CXX={named} was not found' if named else 'none of c++, g++, clang++ was found'}")
    return command


def library(instructions: str, source: str = "executor.cpp", defines: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The compiled executor (or another file of `source`) for one instruction set. Raises BuildError."""
    options = (*flags(instructions), *(f"-D{define}" for define in defines))
    return _loaded(tuple(compiler()), options, cache_directory(), source)


@cache
def _loaded(command: tuple[str, ...], options: tuple[str, ...], directory: Path, source: str) -> ctypes.CDLL:
    path = directory / f"lcnet-{Path(source).stem}-{_key(command, options)}.so"
    if path.exists():
        return ctypes.CDLL(str(path))
    try:
        with storage.write_file(path) as aside:
            _compile([*command, *options, str(SOURCE / source), "-o", str(aside)])
    except OSError:  # nowhere to keep it: a library of this process alone
        with tempfile.TemporaryDirectory(prefix="ernest-lcnet-") as folder:
            _compile([*command, *options, str(SOURCE / source), "-o", f"{folder}/{path.name}"])
            return ctypes.CDLL(f"{folder}/{path.name}")
    return ctypes.CDLL(str(path))


def _compile(command: list[str]) -> None:
    try:
        outcome = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise BuildError(f"{command[0]} could not be run: {error}") from None
    if outcome.returncode:
        lines = [line.strip() for line in outcome.stderr.splitlines() if line.strip()] or [f"status {outcome.returncode}"]
        first = next((line for line in lines if "error" in line.lower()), lines[0])
        raise BuildError(f"{command[0]} failed: {first}")


def _key(command: tuple[str, ...], options: tuple[str, ...]) -> str:
    try:
        version = subprocess.run([*command, "--version"], capture_output=True, check=False, stdin=subprocess.DEVNULL).stdout
    except OSError as error:
        raise BuildError(f"{command[0]} could not be run: {error}") from None
    digest = hashlib.sha256(version + repr((command, options, platform.machine())).encode())
    for path in sorted(SOURCE.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:24]


def cache_directory() -> Path:
    """Where compiled libraries are kept."""
    given = os.environ.get("XDG_CACHE_HOME")
    if given:
        return Path(given) / "ernest" / "lcnet"
    home = Path.home()
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "ernest" / "lcnet"
