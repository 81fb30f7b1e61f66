"""Who makes rollouts: this process, or one beside it, which makes the same bit for bit while the trainer does other things.

A sampler is handed phases and the weights of each; it keeps nothing from one to the next but the network's shape. So one that is
killed in the middle of a phase begins anew, is handed the same again, and has cost time alone.
"""

import os
import socket
import subprocess
import sys
import tempfile
import traceback
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from ernest.config.rl import Worker
from ernest.device import HOST, without_weights
from ernest.model.network import Ernest
from ernest.rl.packed import pack_rollouts, unpack_rollouts
from ernest.rl.phase import Phase, run_phase
from ernest.rl.rollout import Ask, Key, Response
from ernest.tokenizers.bundle import Tokenizers

RESTARTS = 3
"""How often a worker is started anew that ends in the middle of one phase: one that always does has a reason of its own."""


class Sampler(Protocol):
    """Makes the rollouts of one phase after the other."""

    def begin(self, phase: Phase, model: Ernest) -> None:
        """Hands a phase over, with the weights of now, which may change once this has returned."""
        ...

    def collect(self) -> dict[Key, Response]:
        """What `run_phase` makes of the phase that was begun; waits for it."""
        ...

    def close(self) -> None:
        """Ends what it has started."""
        ...


def check_worker(worker: Worker) -> None:
    """Raises ValueError for a kind of sampler that cannot be had."""
    if worker == "ray" and find_spec("ray") is None:
        raise ValueError("rollout.worker = \"ray\" needs Ray: pip install 'ernest-ai[cluster]'")


def make_sampler(worker: Worker, model: Ernest, tokenizers: Tokenizers) -> Sampler:
    """The sampler that a recipe asks for; nothing is started before its first phase."""
    if worker == "ray":
        from ernest.rl.cluster import RayActor

        return RayActor(model, tokenizers)
    return AnotherProcess(model, tokenizers) if worker == "process" else InProcess(tokenizers)


class InProcess:
    """Rollouts at once, in this process."""

    def __init__(self, tokenizers: Tokenizers) -> None:
        self.tokenizers = tokenizers
        self.found: dict[Key, Response] = {}

    def begin(self, phase: Phase, model: Ernest) -> None:
        self.found = run_phase(phase, model, self.tokenizers)

    def collect(self) -> dict[Key, Response]:
        return self.found

    def close(self) -> None:
        pass


class AnotherProcess:
    """Rollouts in a process of their own (`ernest.rl.worker`) with as many threads as this one has. Weights go through a file
    without a name, which both have mapped; phases and rollouts through a connection that nobody else can reach."""

    def __init__(self, model: Ernest, tokenizers: Tokenizers) -> None:
        self.sizes = model.config, model.spec, torch.get_num_threads()
        self.file = weight_file(weight_size(model))
        self.weights = map_weights(self.file)
        self.scratch = tempfile.TemporaryDirectory(prefix="ernest-")
        tokenizers.save(Path(self.scratch.name))
        self.stop: Any = None
        weakref.finalize(self, _clean, self.scratch, self.file)

    def begin(self, phase: Phase, model: Ernest) -> None:
        write_weights(model, self.weights)
        self.phase, self.asked = phase, phase_message(phase)
        self._ask()

    def collect(self) -> dict[Key, Response]:
        for _ in range(1 + RESTARTS):
            with suppress(EOFError, OSError):  # before its answer, or in the middle of it
                return told_rollouts(self.connection.recv(), self.phase)
            self.close()
            self._ask()
        raise RuntimeError(f"the process that makes rollouts ended {1 + RESTARTS} times in one phase")

    def close(self) -> None:
        if self.stop is not None:
            self.stop()

    def _ask(self) -> None:
        """What cannot be told to a process that has just ended is told to the next, where its answer is waited for."""
        if self.stop is None or not self.stop.alive:
            self._start()
        with suppress(ConnectionError):
            self.connection.send(self.asked)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        self.connection = Connection(ours.detach())
        with theirs:
            descriptors = theirs.fileno(), self.file.fileno()
            command = [sys.executable, "-m", "ernest.rl.worker", *map(str, descriptors), str(os.getpid())]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=descriptors, start_new_session=True)
        self.process = process
        self.stop = weakref.finalize(self, _stop, process, self.connection)
        with suppress(ConnectionError):
            self.connection.send((*self.sizes, self.scratch.name))


def _clean(scratch: "tempfile.TemporaryDirectory[str]", file: IO[bytes]) -> None:
    scratch.cleanup()
    file.close()


def _stop(process: "subprocess.Popen[bytes]", connection: Connection) -> None:
    connection.close()
    process.kill()
    process.wait()


# ------------------------------------------------------------------ what goes from one process to another

Told = tuple[list[dict[str, Any]], bytes] | str
"""Rollouts as `pack_rollouts` has them, their tensors in the format of safetensors; or why there are none."""
Message = tuple[Phase, dict[int, Ask], Told]
"""A phase, what its prompts ask for, and what there is of its rollouts."""


def phase_message(phase: Phase) -> Message:
    """A phase without tensors."""
    return replace(phase, asked={}), _asks(phase), _tell(phase.asked)


def answer_message(message: Message, model: Ernest, tokenizers: Tokenizers) -> Told:
    """What a sampler in another process answers: runs the phase of a message."""
    phase, asks, told = message
    try:
        return _tell(run_phase(replace(phase, asked=_hear(told, asks)), model, tokenizers))
    except Exception:
        return traceback.format_exc()


def told_rollouts(told: Told, phase: Phase) -> dict[Key, Response]:
    """The rollouts that a phase was answered with. Raises RuntimeError with the trace of what went wrong there."""
    return _hear(told, _asks(phase))


def _asks(phase: Phase) -> dict[int, Ask]:
    return {number: response.ask for (number, _), response in phase.asked.items()}


def _tell(rollouts: Mapping[Key, Response]) -> Told:
    about, tensors = pack_rollouts(rollouts)
    return about, save(tensors)


def _hear(told: Told, asks: Mapping[int, Ask]) -> dict[Key, Response]:
    if isinstance(told, str):
        raise RuntimeError(f"the process that makes rollouts failed:\n{told}")
    return unpack_rollouts(told[0], load(told[1]), asks.__getitem__)


# ------------------------------------------------------------------ weights as bytes


def weight_size(model: Ernest) -> int:
    """The bytes of all weights and biases."""
    return sum(value.nbytes for value in model.state_dict().values())


def weight_file(size: int) -> IO[bytes]:
    """A file without a name that has room for `size` bytes. Raises OSError, which names the folder, where that is full."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  # as long as a sampler
    try:
        file.write(bytes(size))  # a hole in a mapped file for which there is no room ends whoever writes there by a signal
        file.flush()
    except OSError as error:
        raise OSError(f"{tempfile.gettempdir()}: no room for {size:,} bytes of weights: {error.strerror}") from error
    return file


def write_weights(model: Ernest, into: np.ndarray) -> None:
    """Puts all weights and biases one behind the other into uint8 `[weight_size]`."""
    start = 0
    for value in model.state_dict().values():
        into[start : start + value.nbytes] = _bytes(value).numpy()
        start += value.nbytes


def map_weights(file: IO[bytes], mode: Any = "r+") -> np.ndarray:
    """The bytes of a file as memory, uint8 `[bytes]`."""
    return np.asarray(np.memmap(file, np.uint8, mode))


def blank_network(config: Any, spec: Any) -> Ernest:
    """A network that waits for its weights."""
    with without_weights():
        model = Ernest(config, spec)
    return model.to_empty(device=HOST).eval().requires_grad_(False)


def read_weights(model: Ernest, weights: np.ndarray) -> None:
    """Sets what `write_weights` put there of a network of the same sizes."""
    start = 0
    for value in model.state_dict().values():
        _bytes(value).copy_(torch.from_numpy(np.array(weights[start : start + value.nbytes])))
        start += value.nbytes


def _bytes(value: Tensor) -> Tensor:
    """The memory of a tensor as uint8 `[bytes]`."""
    return value.detach().view(-1).view(torch.uint8)
