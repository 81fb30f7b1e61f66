"""Inference by one rule in every runtime: which images are taken, in what form, in which process, until when; and plain
PyTorch's answer."""

import atexit
import ctypes
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn

from ernest.device import autocast

LARGEST = 10**8
"""Pixels of one image: the compiled executor keeps distances inside a map in 31 bits."""

LONGEST_WAIT = 10.0
"""Seconds that the end of Python waits for a call."""

_processes: set[int] = set()  # those that have started a runtime, among this one and its ancestors


def as_input(images: Tensor, channels: int) -> Tensor:
    """`images` `[N, channels, H, W]` of any floating-point type, device and strides, as plain float32 without their history.

    Runtimes take an address and believe what they were told of it. Raises ValueError, which says what was expected, for other
    shapes and for whole numbers, which would be grey levels that nobody has normalised; TypeError for what is no tensor.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"images: expected a tensor, got {type(images).__name__}")
    if not images.is_floating_point() or images.layout is not torch.strided or images.is_meta:
        found = f"{str(images.dtype).removeprefix('torch.')} ({str(images.layout).removeprefix('torch.')}, {images.device.type})"
        raise ValueError(f"images: expected floating-point numbers as `prepare` makes them, got {found}")
    shape = images.shape
    if len(shape) != 4 or shape[1] != channels or not shape[2] * shape[3]:
        raise ValueError(f"images: expected [N, {channels}, H, W], got {list(shape)}")
    if shape[2] * shape[3] > LARGEST:
        raise ValueError(f"images: expected at most {LARGEST} pixels each, got {shape[2]}x{shape[3]}")
    images = images.detach().cpu().float()
    return (images.resolve_neg() if images.is_neg() else images).contiguous()


def infer(network: nn.Module, images: Tensor, bf16: bool = False) -> Tensor:
    """Logits of `network` in evaluation, for images as `as_input` makes them: whatever modes the caller has set, an ordinary
    float32 tensor of its own. Raises RuntimeError in a process that `start_runtime` refuses.
    """
    start_runtime()
    with until_exit, torch.inference_mode(), autocast(enabled=bf16):
        logits = network(images).float()
        with torch.inference_mode(False):
            return logits.clone()


@contextmanager
def without_helpers() -> Iterator[None]:
    """PyTorch computes inside without its team of threads, for which a process that is forked later would wait for ever.

    This holds for the calling thread alone, where `torch.set_num_threads` would reach others too.
    """
    torch.get_num_threads()  # which sets the thread's own number at its first call
    openmp = ctypes.CDLL(torch._C.__file__)
    try:
        before, set_threads = openmp.omp_get_max_threads(), openmp.omp_set_num_threads
    except AttributeError:  # a PyTorch without OpenMP
        yield
        return
    set_threads(1)
    try:
        yield
    finally:
        set_threads(before)


def start_runtime() -> None:
    """Notes that this process uses a runtime with threads of its own. Raises RuntimeError if an ancestor has used one.

    A forked child has none of those threads. PyTorch waits for them for ever, ONNX Runtime and OpenVINO may, or abort, and a
    model that the child opens itself does no better.
    """
    _processes.add(os.getpid())
    if len(_processes) > 1:
        raise RuntimeError("this process was forked after a model had run, and lacks its threads: spawn it, or fork before")


class _UntilExit:
    """Around a call of a runtime: when Python ends, it waits for calls under way, and later ones of daemon threads never return.

    Such a thread outlives the last line of a program. Python stops it where it comes back from C++, and in the middle of a
    runtime that ends the process by SIGABRT or SIGSEGV, after all its work was done.
    """

    def __enter__(self) -> None:
        _wait_at_exit()
        _calls.append(os.getpid())
        if _over.is_set() and threading.current_thread().daemon:
            _calls.remove(os.getpid())
            threading.Event().wait()

    def __exit__(self, *_: object) -> None:
        _calls.remove(os.getpid())


until_exit = _UntilExit()
_calls: list[int] = []  # the process of each call under way: a forked child has a copy of the list
_over = threading.Event()


@cache
def _wait_at_exit() -> None:
    atexit.register(_wait)


def _wait() -> None:
    """At the end of Python, when all but daemon threads have ended."""
    _over.set()
    last = time.monotonic() + LONGEST_WAIT
    while os.getpid() in _calls and time.monotonic() < last:
        time.sleep(0.001)
