"""Compiles the C++ of the executor at first use, once for each instruction set, and keeps the libraries in the user's cache.

A library is called after its sources and flags, its compiler and its own content, which is looked at before it is loaded: a
damaged one would end the process. It lies in the user's cache directory (`XDG_CACHE_HOME`, else `~/.cache`,
`~/Library/Caches` on a Mac) or, for all users of an image, in the environment's `share`, and is moved there when it is whole.
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
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
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
        "avx2_vnni": (*_AVX2, "-mavxvnni"),
        "avx2": _AVX2,
        "neon": (),
        "generic": (),
    }
)
"""The instruction sets from the best to the least, and the flags of each; generic is what the compiler's target always has."""

VARIABLE = "ERNEST_INSTRUCTIONS"
"""The environment variable that limits every executor of a process to one instruction set."""

_AVX2_FEATURES = frozenset({"avx2", "fma", "f16c"})
_AVX512_FEATURES = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
_NEEDED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "amx": _AVX512_FEATURES | {"avx512_bf16", "avx512_fp16", "avx512_vnni", "amx_tile", "amx_bf16", "amx_int8"},
        "avx512": _AVX512_FEATURES,
        "avx2_vnni": _AVX2_FEATURES | {"avx_vnni"},
        "avx2": _AVX2_FEATURES,
        "neon": frozenset({"neon"}),
        "generic": frozenset(),
    }
)
_OPTIONAL: Mapping[str, str] = MappingProxyType({"fast_bf16": "-mavx512bf16", "avx512_vnni": "-mavx512vnni"})

_FAST_BF16 = ("AuthenticAMD", "HygonGenuine")
"""Whose vdpbf16ps multiplies twice as fast as fp32 does. On Intel's it takes twice as long as its fp32 products (121 against 243
GFLOP/s of one core), and is no way to be fast where there are no tile registers."""


class BuildError(OSError):
    """There is no compiler, or it failed; the message holds its first line about an error."""


@cache
def features() -> frozenset[str]:
    """What the processor and the system offer, by Linux's names: /proc/cpuinfo, or sysctl on a Mac. `fast_bf16` is ours."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return frozenset({"neon"})
    try:
        text = Path("/proc/cpuinfo").read_text()
        flags, vendor = (_line_of(text, name) for name in ("flags", "vendor_id"))
    except OSError:
        vendor = ""
        keys = ["machdep.cpu.features", "machdep.cpu.leaf7_features"]
        mac = sys.platform == "darwin"
        flags = subprocess.run(["sysctl", "-n", *keys], capture_output=True, text=True, check=False).stdout if mac else ""
    found = set(flags.lower().split())
    if "amx_tile" in found and not _tiles_permitted():
        found -= {"amx_tile", "amx_bf16", "amx_int8"}
    return frozenset(found | {"fast_bf16"} if "avx512_bf16" in found and vendor in _FAST_BF16 else found)


def _line_of(text: str, name: str) -> str:
    """What /proc/cpuinfo says of the first processor under a name."""
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(name)), "")


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


def flags(instructions: str, present: frozenset[str] | None = None) -> tuple[str, ...]:
    """All flags for one instruction set; AVX-512 comes with the products of 16 and 8 bits where they are among the `present`
    features, by default those of this processor."""
    present = features() if present is None else present
    more = [flag for feature, flag in _OPTIONAL.items() if feature in present] if instructions == "avx512" else []
    return (*COMMON, *INSTRUCTIONS[instructions], *more)


def compiler() -> list[str]:
    """The command of the C++ compiler: $CXX, else the first of c++, g++, clang++. Raises BuildError if there is none."""
    named = os.environ.get("CXX")
    command = shlex.split(named) if named else next(([name] for name in ("c++", "g++", "clang++") if shutil.which(name)), [])
    if not command or not shutil.which(command[0]):
        raise BuildError(f"no C++ compiler: {f'CXX={named} was not found' if named else 'none of c++, g++, clang++ was found'}")
    return command


def library(instructions: str, source: str = "executor.cpp", defines: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The compiled executor (or another file of `source`, or of a path of its own) for one instruction set: kept, or compiled
    and kept. Without a compiler one that another has made will do. Raises BuildError, and warns where a new one cannot be kept.
    """
    options = (*flags(instructions), *(f"-D{define}" for define in defines))
    return _loaded(options, source, (cache_directory(), environment_directory()), os.environ.get("CXX"))


@cache
def _loaded(options: tuple[str, ...], source: str, directories: tuple[Path, ...], _: str | None) -> ctypes.CDLL:
    try:
        command = compiler()
        start = _stem(options, source) + _compiler_key(command)
        return _kept(directories, start) or _made(command, options, source, directories[0], start)
    except BuildError:
        other = _kept(directories, _stem(options, source))
        if other is None:
            raise
        return other


def _kept(directories: tuple[Path, ...], start: str) -> ctypes.CDLL | None:
    """The library whose name begins so. Those that are damaged (by a full disk, by a power failure) are removed."""
    for path in (path for directory in directories for path in sorted(directory.glob(f"{start}*.so"))):
        with suppress(OSError):  # cannot be read or removed, or was made for a newer system
            if _digest(path.read_bytes()) == path.stem.rpartition("-")[2]:
                return ctypes.CDLL(str(path))
            path.unlink()
    return None


def _made(command: list[str], options: tuple[str, ...], source: str, directory: Path, start: str) -> ctypes.CDLL:
    begun = time.monotonic()
    content = compiled(command, options, source)
    with tempfile.TemporaryDirectory(prefix="ernest-lcnet-") as folder:
        try:
            path = _keep(content, directory, start)
        except OSError as error:
            path = _keep(content, Path(folder), start)
            warnings.warn(
                f"the executor cannot be kept in {directory} ({error.strerror or error}): every start compiles it anew, which "
                f"took {time.monotonic() - begun:.0f} s; name a folder in XDG_CACHE_HOME, or run `ernest build`",
                RuntimeWarning,
                stacklevel=2,
            )
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            raise BuildError(f"{path} cannot be loaded: {error}") from None


def build(options: tuple[str, ...], source: str, directory: Path) -> Path:
    """Compiles a file of `source`, or of a path of its own, and keeps the library in a directory under the name that `library`
    looks for. Raises BuildError, and OSError where the directory cannot be written."""
    command = compiler()
    return _keep(compiled(command, options, source), directory, _stem(options, source) + _compiler_key(command))


def _keep(content: bytes, directory: Path, start: str) -> Path:
    """Writes a library under its name, synced and whole."""
    path = directory / f"{start}-{_digest(content)}.so"
    with storage.write_file(path, len(content)) as aside:
        aside.write_bytes(content)
    return path


def compiled(command: list[str], options: tuple[str, ...], source: str) -> bytes:
    """A library of a file of `source`. Raises BuildError, with the compiler's first line about an error."""
    try:
        with tempfile.TemporaryDirectory(prefix="ernest-lcnet-") as folder:
            path = Path(folder) / "library.so"
            outcome = subprocess.run(
                [*command, *options, str(SOURCE / source), "-o", str(path)],
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            if outcome.returncode == 0:
                return path.read_bytes()
    except OSError as error:
        raise BuildError(f"{command[0]} could not be run: {error}") from None
    lines = [line.strip() for line in outcome.stderr.splitlines() if line.strip()] or [f"status {outcome.returncode}"]
    first = next((line for line in lines if "error" in line.lower()), lines[0])
    raise BuildError(f"{command[0]} failed: {first}")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _stem(options: tuple[str, ...], source: str) -> str:
    """How the names of libraries of these flags begin, whichever compiler made them."""
    sources = [path.name.encode() + path.read_bytes() for path in sorted((SOURCE / source).parent.iterdir())]
    key = _digest(repr((options, platform.machine())).encode() + b"".join(sources))
    return f"lcnet-{Path(source).stem}-{key}-"


def _compiler_key(command: list[str]) -> str:
    try:
        version = subprocess.run([*command, "--version"], capture_output=True, check=False, stdin=subprocess.DEVNULL).stdout
    except OSError as error:
        raise BuildError(f"{command[0]} could not be run: {error}") from None
    return _digest(version + repr(command).encode())


def cache_directory() -> Path:
    """Where compiled libraries are kept. A user of a container may have no home: then in the environment, if that can be
    written; never where others can put a library."""
    given = os.environ.get("XDG_CACHE_HOME")
    if given:
        return Path(given) / "ernest" / "lcnet"
    try:
        home = Path.home()
    except RuntimeError:
        return environment_directory()
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "ernest" / "lcnet"


def environment_directory() -> Path:
    """Where `ernest build` puts libraries for every user of this Python environment: beside the package, never in it."""
    return Path(sys.prefix) / "share" / "ernest" / "lcnet"
