"""Who makes rollouts: this process, or one beside it, which makes the same bit for bit while the trainer does other things.

A sampler is handed phases and the weights of each; it keeps nothing from one to the next but the network's shape. So one that is
killed in the middle of a phase begins anew, is handed the same again, and has cost time alone.
"""

import os
import shutil
import socket
import struct
import subprocess
import weakref
from contextlib import suppress
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, Protocol

import torch

from ernest.config.rl import RolloutConfig, Worker
from ernest.device import module_command
from ernest.model.network import Ernest
from ernest.rl.begun import SAMPLER
from ernest.rl.cluster import RayActor
from ernest.rl.messages import (
    RESTARTS,
    gave_up,
    map_weights,
    phase_message,
    told_rollouts,
    weight_file,
    weight_size,
    write_weights,
)
from ernest.rl.phase import Phase, run_phase
from ernest.rl.rollout import Key, Response
from ernest.tokenizers.bundle import Tokenizers


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


def make_sampler(config: RolloutConfig, model: Ernest, tokenizers: Tokenizers, run: Path) -> Sampler:
    """The sampler that a recipe asks for, of a `run` in that folder; nothing is started before its first phase."""
    match config.worker:
        case "ray":
            return RayActor(model, tokenizers, config.timeout)
        case "process":
            return AnotherProcess(model, tokenizers, run / SAMPLER, config.timeout)
        case "none":
            return InProcess(tokenizers)


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
    without a name, which both have mapped; phases and rollouts through a connection that nobody else can reach. Tokenizers are
    read from `folder`, which the next sampler there takes over where this one is killed.

    A process that is silent for `timeout` seconds is ended and asked anew, as one that has ended."""

    def __init__(self, model: Ernest, tokenizers: Tokenizers, folder: Path, timeout: float) -> None:
        self.sizes = model.config, model.spec, torch.get_num_threads()
        self.file = weight_file(weight_size(model))
        self.weights = map_weights(self.file)
        self.folder, self.timeout = folder, timeout
        folder.mkdir(parents=True, exist_ok=True)
        tokenizers.save(folder)
        self.stop: Any = None
        weakref.finalize(self, _clean, folder, self.file)

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
        raise ChildProcessError(f"the process that makes rollouts {gave_up(self.timeout)}")

    def close(self) -> None:
        if self.stop is not None:
            self.stop()

    def _ask(self) -> None:
        """What cannot be told to a process that has just ended is told to the next, where its answer is waited for."""
        if self.stop is None or not self.stop.alive:
            self._start()
        with suppress(OSError):
            self.connection.send(self.asked)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        for wait in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            ours.setsockopt(socket.SOL_SOCKET, wait, struct.pack("ll", *_time(self.timeout)))
        self.connection = Connection(ours.detach())
        with theirs:
            descriptors = theirs.fileno(), self.file.fileno()
            command = module_command("ernest.rl.worker", *map(str, descriptors), str(os.getpid()))
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=descriptors, start_new_session=True)
        self.process = process
        self.stop = weakref.finalize(self, _stop, process, self.connection)
        with suppress(OSError):
            self.connection.send((*self.sizes, str(self.folder)))


def _time(seconds: float) -> tuple[int, int]:
    """In whole seconds and microseconds, as the system has them."""
    return divmod(round(1e6 * seconds), 1_000_000)


def _clean(folder: Path, file: IO[bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    file.close()


def _stop(process: "subprocess.Popen[bytes]", connection: Connection) -> None:
    connection.close()
    process.kill()
    process.wait()
