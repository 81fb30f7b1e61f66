"""A whole PP-LCNet as one call: C++ where there is a compiler, plain PyTorch with one warning where there is none."""

import ctypes
import os
import threading
import warnings
import weakref
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

from torch import Tensor

from ernest.device import count_processors
from ernest.lcnet.folding import fold
from ernest.lcnet.inference import as_input, infer, until_exit
from ernest.lcnet.native.build import INSTRUCTIONS, VARIABLE, BuildError, available, features, library
from ernest.lcnet.native.plan import LayerTime, slots_of, steps_of, timed, values_of
from ernest.lcnet.network import PPLCNet

Precision = Literal["fp32", "bf16", "int8"]

_NEEDS: Mapping[str, Mapping[Precision, frozenset[str]]] = MappingProxyType(
    {
        "amx": {"bf16": frozenset(), "int8": frozenset()},
        "avx512": {"bf16": frozenset(), "int8": frozenset({"avx512_vnni"})},
        "avx2_vnni": {"bf16": frozenset(), "int8": frozenset()},
        "avx2": {"bf16": frozenset()},
    }
)
"""What an instruction set needs besides for a precision, where it has it at all."""

_BYTES = {"fp32": (4, 4), "bf16": (2, 2), "int8": (2, 1)}
"""Of a value in a map, and of a weight."""


class Executor:
    """Images `[N, in_channels, H, W]` to logits `[N, classes]`, as `network(images)` in inference, but faster.

    `precision`: fp32 gives the network's outputs to round-off. bf16 multiplies numbers of 8 bits of mantissa where those are
    the faster products, adds in fp32 and keeps maps in halves. int8 multiplies codes of 8 bits in the pointwise convolutions,
    with scales that are found while it runs, and weights of 8 bits in the last layers; the rest is as in bf16. `threads`: by
    default one for each processor that the process may use. `instructions`: by default the best of `available()`, which the
    environment variable ERNEST_INSTRUCTIONS limits to one set. Any N, H and W, any floating-point type and strides; calls from
    several threads wait for each other. The network is copied: later changes of it have no effect. A forked process, a copy and
    one that was pickled open an engine of their own.

    Raises ValueError for an unknown precision, an instruction set that the processor lacks, and bf16 or int8 with a set
    that has no such products. Without such products on the processor, both warn and run in fp32.
    """

    def __init__(
        self, network: PPLCNet, precision: Precision = "fp32", threads: int | None = None, instructions: str | None = None
    ) -> None:
        self.threads = count_processors() if threads is None else threads
        if self.threads < 1:
            raise ValueError(f"threads: expected at least 1, got {threads}")
        self.precision: Precision
        self.precision, candidates = _chosen(precision, instructions)
        self._wanted = precision, threads, instructions
        self._network = fold(network).cpu().float()
        self._library: ctypes.CDLL | None = None
        self.instructions = "plain PyTorch"
        errors = []
        for self.instructions in candidates:
            try:
                self._library = library(self.instructions, defines=(define(self.precision),))
                break
            except BuildError as error:
                errors.append(str(error))
        if self._library is None:
            self.instructions = "plain PyTorch"
            warnings.warn(f"running in plain PyTorch, several times slower: {errors[0]}", RuntimeWarning, stacklevel=2)
            return
        self._engine = _Engine(self._library, self._network, self.precision, self.threads)

    def __reduce__(self) -> tuple:
        return Executor, (self._network, *self._wanted)

    @property
    def compiled(self) -> bool:
        """False for the fall-back in plain PyTorch."""
        return self._library is not None

    def __call__(self, images: Tensor) -> Tensor:
        with until_exit:
            images = self._checked(images)
            if self._library is None:
                return infer(self._network, images, bf16=self.precision == "bf16")
            return self._run(images, None)

    def layers(self, images: Tensor, repeats: int = 20) -> list[LayerTime]:
        """The steps of a run with the seconds each takes, on one thread; their sum is the time of the run.

        The times are those of the fastest of `repeats` runs. Raises RuntimeError in the plain PyTorch fall-back.
        """
        if self._library is None:
            raise RuntimeError("layers: only the compiled executor knows the times of its steps")
        if self.threads > 1:
            return Executor(self._network, self.precision, 1, self.instructions).layers(images, repeats)
        images = self._checked(images)
        count, _, height, width = images.shape
        slots = slots_of(self._network)
        runs = []
        for _ in range(max(1, repeats) + 1):  # the first is for warming up
            seconds = (ctypes.c_double * slots)()
            with until_exit:
                self._run(images, seconds)
            runs.append(list(seconds))
        steps = steps_of(self._network, count, height, width, *_BYTES[self.precision])
        return timed(steps, min(runs[1:], key=sum))

    def _checked(self, images: Tensor) -> Tensor:
        return as_input(images, self._network.architecture.in_channels)

    def _run(self, images: Tensor, seconds: object) -> Tensor:
        assert self._library is not None
        if self._engine.process != os.getpid():  # forked: without the engine's threads, and maybe in the middle of a run
            self._engine = _Engine(self._library, self._network, self.precision, self.threads)
        engine = self._engine
        logits = images.new_empty((len(images), self._network.architecture.classes))  # float32, whatever torch's defaults are
        count, _, height, width = images.shape
        with engine.lock:
            failed = self._library.lcnet_run(engine.address, images.data_ptr(), count, height, width, logits.data_ptr(), seconds)
        if failed:
            raise MemoryError(f"no memory for {count} images of {height}x{width}")
        return logits


class _Engine:
    """An engine that the library has opened for this process, with the lock of its one run at a time; closed with its owner."""

    def __init__(self, compiled: ctypes.CDLL, network: PPLCNet, precision: Precision, threads: int) -> None:
        self.process, self.lock = os.getpid(), threading.Lock()
        self.address = _opened(compiled, network, precision, threads)
        # Not at the end of Python, where a daemon thread may still be in it.
        weakref.finalize(self, _closed, compiled, self.address, self.process).atexit = False


def has_products(instructions: str, present: frozenset[str], precision: Precision) -> bool:
    """Whether an instruction set, on a processor with the features `present`, has the products of a precision."""
    needed = _NEEDS.get(instructions, {}).get(precision)
    return precision == "fp32" or (needed is not None and needed <= present)


def define(precision: Precision) -> str:
    """What makes a build for one precision, which takes a third of the time of one for all."""
    return f"LCNET_PRECISION={get_args(Precision).index(precision)}"


def _chosen(precision: Precision, instructions: str | None) -> tuple[Precision, list[str]]:
    """The precision to run in and the instruction sets to try, the best first."""
    if precision not in get_args(Precision):
        raise ValueError(f"precision: expected one of {', '.join(get_args(Precision))}, got {precision}")
    able = available()
    if instructions is not None and instructions not in able:
        limit = f"ruled out by {VARIABLE}" if os.environ.get(VARIABLE) else "not on this processor"
        known = "unknown" if instructions not in INSTRUCTIONS else limit
        raise ValueError(f"instructions: expected one of {', '.join(able)}, got {instructions}, which is {known}")
    if precision == "fp32":
        return precision, list(able) if instructions is None else [instructions]
    products = [name for name in able if has_products(name, features(), precision)]
    if instructions is not None and instructions not in products:
        lacking = f"{precision} products, which {instructions} has not on this processor"
        raise ValueError(f"precision: {precision} needs instructions with {lacking}")
    if instructions is None and not products:
        warnings.warn(f"{precision} products are not on this processor: running in fp32", RuntimeWarning, stacklevel=3)
        return "fp32", list(able)
    return precision, products if instructions is None else [instructions]


def _opened(compiled: ctypes.CDLL, network: PPLCNet, precision: Precision, threads: int) -> ctypes.c_void_p:
    compiled.lcnet_open.restype = ctypes.c_void_p
    compiled.lcnet_open.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32]
    compiled.lcnet_close.argtypes = [ctypes.c_void_p]
    compiled.lcnet_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int32] * 3, ctypes.c_void_p, ctypes.c_void_p]
    values = values_of(network)
    engine = compiled.lcnet_open(ctypes.byref(values.network), get_args(Precision).index(precision), threads)
    if not engine:
        raise MemoryError("no memory for the network's weights")
    return engine


def _closed(compiled: ctypes.CDLL, engine: ctypes.c_void_p, process: int) -> None:
    # A forked child has a copy of the memory but none of the threads that closing would wait for.
    if os.getpid() == process:
        compiled.lcnet_close(engine)
