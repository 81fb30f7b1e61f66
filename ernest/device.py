"""Number types, threads and memory of the devices that there are: the only file that names a kind of device."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_TOP_PAD_": str(1 << 28),
    "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
}
"""For the environment of a training process, set before it starts: keeps freed memory in the process, and asks for large pages.
Tensors come and go every step, and fetching fresh pages for them costs a fifth of the time; pages of 2 MB save a tenth of a step
or more where the kernel gives them when asked (glibc from 2.35 on asks; others do not know the word)."""
LARGE_PAGE = 2 << 20
"""Bytes."""
_LARGE_PAGES = 14, 25
"""Linux's MADV_HUGEPAGE, which every fault from now on hears, and MADV_COLLAPSE (from 6.1 on), which moves what is there."""
HOST = "cpu"
"""The device of small tables of numbers, whatever torch's default device is."""
_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
"""The instruction sets of oneDNN, by its names, that have no products of bfloat16."""


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of Ernest in another process, which finds modules as this one does: a file of the user's
    folder that is called like one of Python's does not take its place there."""
    apart = () if {"", os.getcwd()} & set(sys.path) else ("-P",)
    return [sys.executable, *apart, "-m", module, *arguments]


def supports_bf16(device: "torch.device | str" = "cpu") -> bool:
    """True where bfloat16 products are done in hardware: on a GPU, and on processors with AVX-512 BF16 or AMX.

    Elsewhere they are emulated, many times slower than float32; so they are where oneDNN, which takes them, is told to do
    without the instructions (ONEDNN_MAX_CPU_ISA).
    """
    import torch

    if torch.device(device).type != "cpu":
        return True
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_BF16:
        return False
    processor = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(processor.get("avx512_bf16") or processor.get("amx_bf16"))


def autocast(device: "torch.device | str" = "cpu", enabled: bool = True) -> "torch.autocast":
    """Products in bfloat16 on the device; in the type of their operands where not `enabled`."""
    import torch

    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=enabled)


def compute_dtype(x: "torch.Tensor") -> "torch.dtype":
    """The type in which products with `x` are taken: autocast's where it is on."""
    import torch

    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def at_least_float32(x: "torch.Tensor") -> "torch.Tensor":
    """The same numbers in float32, or in float64 where they are in that."""
    import torch

    return x.to(torch.promote_types(x.dtype, torch.float32))


def collective_backend() -> str:
    """The name of `torch.distributed`'s backend for sums over processes."""
    import torch

    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def count_processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """The most bytes that this process has held in memory so far; 0 where the system does not tell.

    On Linux from /proc: `getrusage` counts what the parent held when it started this process as well.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) << 10 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def processor_seconds() -> float:
    """Of this process and of those children that it has waited for; `os.times` knows whole ticks of 10 ms alone."""
    import resource

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def memory_limit(root: Path = Path("/")) -> int:
    """The bytes that this process may use: the least of the machine's memory, the limits of its control groups (version 1 and 2),
    and RLIMIT_AS."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else [8 << 30]
    limits += _address_space()
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, group = line.split(":", 2)
        if number == "0":
            limits += _group_limits(root / "sys/fs/cgroup", group, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _group_limits(root / "sys/fs/cgroup/memory", group, "memory.limit_in_bytes")
    return min(limits)


def set_threads(count: int) -> None:
    """Sets how many threads share a product, in this process."""
    import torch

    torch.set_num_threads(count)


@cache
def one_thread_after_fork() -> None:
    """From now on a process that is forked from this one computes in one thread: it has none of PyTorch's, and would wait for
    them for ever."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: set_threads(1))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Sets how many threads share a product, and afterwards what it was before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def ask_large_pages(tensors: "Iterable[torch.Tensor]") -> None:
    """Has Linux move tensors to pages of 2 MB, now. What is read all over, such as the weights of experts, then takes a tenth
    less time or more. Other systems, other devices and mapped files stay as they are."""
    if sys.platform != "linux":
        return
    import ctypes

    system = ctypes.CDLL(None)
    for tensor in tensors:
        if tensor.is_cpu and tensor.nbytes >= LARGE_PAGE:
            begin = tensor.data_ptr() // LARGE_PAGE * LARGE_PAGE
            size = -(-(tensor.data_ptr() + tensor.nbytes - begin) // LARGE_PAGE) * LARGE_PAGE
            for advice in _LARGE_PAGES:
                system.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(size), advice)


@contextmanager
def usual_defaults() -> Iterator[None]:
    """Within it new tensors are float32 on the host and networks learn, whatever a program has made torch's defaults."""
    import torch

    number_type, device = torch.get_default_dtype(), torch.get_default_device()
    torch.set_default_dtype(torch.float32)
    try:
        # A device that is asked for so is looked up at every call of torch: not where it is the default.
        with torch.inference_mode(False), torch.enable_grad(), nullcontext() if device.type == HOST else torch.device(HOST):
            yield
    finally:
        torch.set_default_dtype(number_type)


@contextmanager
def without_weights() -> Iterator[None]:
    """What is made inside has no memory for its weights, which are to be loaded, and fills none.

    On the device "meta" alone, PyTorch imports its compiler for draws from a normal distribution: longer than its own import.
    """
    import torch
    from torch import Tensor, nn
    from torch.overrides import TorchFunctionMode

    fills = {nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_, Tensor.normal_, Tensor.uniform_}

    class Unfilled(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in fills:
                return args[0] if args else kwargs["tensor"]
            return func(*args, **(kwargs or {}))

    with torch.device("meta"), Unfilled():
        yield


def matmul_rate(dtype: "torch.dtype", size: int = 1024) -> float:
    """FLOP/s of square products of a processor, in as many threads as are set: the median of those that fit into a second."""
    import torch

    a = torch.randn(size, size).to(HOST, dtype)
    times = []
    first = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - first < 1.0:
        start = time.perf_counter()
        torch.mm(a, a)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / median(times)


def _group_limits(top: Path, group: str, name: str) -> list[int]:
    """Limits of a group and of all those above it. Inside a container the group's own path may not be there, only `top`."""
    path = top / group.lstrip("/")
    texts = [_text(folder / name).strip() for folder in (path, *path.parents) if folder == top or top in folder.parents]
    return [int(text) for text in texts if text.isdigit()]


def _address_space() -> list[int]:
    try:
        import resource
    except ImportError:  # not on Windows
        return []
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return [] if soft == resource.RLIM_INFINITY else [soft]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
