"""What goes between the trainer and who makes rollouts elsewhere: phases one way, with weights as bytes, rollouts the other."""

import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import replace
from typing import IO, Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from ernest.device import HOST, without_weights
from ernest.model.network import Ernest
from ernest.rl.packed import pack_rollouts, unpack_rollouts
from ernest.rl.phase import Phase, run_phase
from ernest.rl.rollout import Ask, Key, Response
from ernest.tokenizers.bundle import Tokenizers

RESTARTS = 3
"""How often a worker is started anew that ends, or falls silent, in one phase: one that always does has a reason of its own."""


def gave_up(timeout: float) -> str:
    """What is said of a worker that has been started so often."""
    return f"ended, or was silent for rollout.timeout = {timeout:g} s, {1 + RESTARTS} times in one phase"


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
