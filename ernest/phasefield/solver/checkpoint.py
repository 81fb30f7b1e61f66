"""Saves and loads checkpoints of a run: one safetensors file with the stepper's state, and the rest of the run as JSON.

A file is written aside, synced and renamed, so that a run killed in the middle of a write still has the checkpoint before.
"""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.flow_terms import forcing_fields
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.numeric import described, number_or_none
from ernest.phasefield.potentials import samples_of, varies
from ernest.phasefield.stepping import State
from ernest.storage import check_writable, load_tensors, read_header, save_tensors

FORMAT = "ernest phase-field run 6"


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a run is saved: every `steps` steps or `minutes` minutes, whichever comes first, and at its end."""

    path: Path | str
    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise ValueError("checkpoint: say how often, by steps or by minutes")
        if not isinstance(self.path, str | os.PathLike):
            raise ValueError(f"checkpoint: expected the path of a file, got {self.path!r}")
        for name in ("steps", "minutes"):
            number_or_none(f"checkpoint {name}", getattr(self, name))
        if (self.steps is not None and self.steps < 1) or (self.minutes is not None and not self.minutes > 0):
            raise ValueError(f"checkpoint: the interval must be positive, got steps={self.steps}, minutes={self.minutes}")

    def due(self, steps: int, seconds: float) -> bool:
        """Whether `steps` and `seconds` since the last checkpoint are enough for the next."""
        by_steps = self.steps is not None and steps >= self.steps
        return by_steps or (self.minutes is not None and seconds >= 60 * self.minutes)


def check_checkpoint(checkpoint: Checkpoint | None, resume: bool) -> None:
    """Raise ValueError, before a run, for a checkpoint that could not be written or would replace a file that is none."""
    if checkpoint is None:
        if resume:
            raise ValueError("resume: a run goes on from its checkpoint; say which with checkpoint=Checkpoint(path, ...)")
        return
    if not isinstance(checkpoint, Checkpoint):
        raise ValueError(f"checkpoint: expected Checkpoint(path, steps=...) or Checkpoint(path, minutes=...), got {checkpoint!r}")
    path = Path(checkpoint.path)
    check_writable(path)
    if path.exists() and not _is_checkpoint(path):
        raise ValueError(f"checkpoint: {path} is no checkpoint of a phase-field run and would be lost: choose another name")


def _is_checkpoint(path: Path) -> bool:
    try:
        return read_header(path).metadata.get("format") == FORMAT
    except (ValueError, OSError):
        return False


def checkpoint_time(path: Path | str) -> float:
    """The time that a checkpoint has reached; 0 where there is none."""
    return float(json.loads(read_header(path).metadata["run"])["time"]) if Path(path).exists() else 0.0


def check_ahead(path: Path | str, state: State, t1: float) -> None:
    """Raise ValueError for an end that the checkpoint has left behind."""
    if float(state.time) > t1 * (1 + 1e-9):
        raise ValueError(f"t1: {path} is at time {float(state.time):.9g} already; expected that time or a later one, got {t1}")


def failed_path(path: Path) -> Path:
    """Where the last good state of a failed run goes: beside its checkpoint, and over no other file."""
    place = path.with_name(path.stem + "-failed.safetensors")
    number = 1
    while os.path.lexists(place) and not _is_checkpoint(place):
        number += 1
        place = path.with_name(f"{path.stem}-failed-{number}.safetensors")
    return place


def save_run(path: Path | str, state: State, facts: dict[str, Any], history: dict[str, Any]) -> None:
    """Writes a state, the JSON `facts` of the run (into the header) and the JSON `history` of its steps and events."""
    tensors = {"run_history": torch.frombuffer(bytearray(json.dumps(history).encode()), dtype=torch.uint8)}
    for name, value in (("modes", state.modes), ("history", state.history)):
        if value is not None:
            real = torch.view_as_real(value) if value.is_complex() else value
            tensors[f"{name}.{'complex' if value.is_complex() else 'real'}"] = real
    header = {"time": state.time, "taus": state.taus, "count": state.count, "facts": facts}
    save_tensors(path, tensors, {"format": FORMAT, "run": json.dumps(header)})


def load_run(path: Path | str, device: torch.device) -> tuple[State, dict[str, Any], dict[str, Any]]:
    """Reads the state, facts and history that `save_run` wrote, bit for bit. Raises ValueError for other files."""
    metadata = read_header(path).metadata
    if metadata.get("format") != FORMAT:
        raise ValueError(f"checkpoint: {path} is no checkpoint of a phase-field run")
    header = json.loads(metadata["run"])
    tensors: dict[str, Tensor] = {}
    for key, tensor in load_tensors(path).items():
        name, _, kind = key.partition(".")
        tensors[name] = (torch.view_as_complex(tensor) if kind == "complex" else tensor).to(device)
    history = json.loads(bytes(tensors.pop("run_history").cpu().numpy()))
    state = State(header["time"], tensors["modes"], tensors.get("history"), tuple(header["taus"]), header["count"])
    return state, header["facts"], history


def times_looked_at(stops: Sequence[float]) -> list[float]:
    """Times at which functions of time are told apart: two of every decade, irrational ones, since two may agree at whole times,
    where both are zero; and just after the stops, where they may jump."""
    return [0.0, *(10 ** (k / 2) / math.pi for k in range(-12, 13)), *(stop * (1 + 1e-9) for stop in stops)]


def problem_of(flow: Flow, grid: Space, u0: Tensor, stops: Sequence[float] = (), **choices: object) -> dict[str, str]:
    """Names and values, or digests, of all that decides the steps of a run: a checkpoint may be resumed only where they agree."""
    k2 = grid.squared_wavenumbers(device=HOST)
    values = u0 if varies(flow.potential) else samples_of(flow.potential)
    samples = flow.potential.f(values)
    digests = {"mobility": flow.mobility(k2), "linear": flow.linear(k2), "potential": samples, "u0": u0}
    if flow.forcing is not None:
        times = torch.tensor(times_looked_at(stops), dtype=u0.dtype, device=u0.device)
        digest = hashlib.sha256("".join(_digest(forcing_fields(flow, grid, time[None])) for time in times).encode())
        choices = {"forcing": digest.hexdigest()[:16]} | choices
    return {
        "grid": repr(grid),
        **{name: _digest(tensor) for name, tensor in digests.items()},
        "stops": repr(stops),
        **{name: described(value) for name, value in choices.items()},
    }


def check_problem(path: Path | str, saved: dict[str, str], now: dict[str, str]) -> None:
    """Raise ValueError that names what has changed since the checkpoint."""
    changed = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
    if changed:
        values = "; ".join(f"{name} was {saved.get(name)}, is {now.get(name)}" for name in changed)
        raise ValueError(f"checkpoint: {path} is of another run: {values}")


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes()).hexdigest()[:16]
