"""The state of a training run on disk, from which a run that was cut goes on bit for bit."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from ernest.checkpoint import write_folder


@dataclass(frozen=True)
class TrainerState:
    """Where a run stands: steps done, the running losses, and what data it was trained on."""

    step: int
    running: dict[str, float]
    fingerprint: str


def save_progress(runs: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: TrainerState, keep: int = 1) -> None:
    """A resumable state in `runs/step-N`; older ones beyond `keep` are removed."""
    moments = {
        f"{name}/{key}": value.reshape(1) if value.dim() == 0 else value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }
    files = {"model.safetensors": model.state_dict(), "optimizer.safetensors": moments, "progress.json": asdict(progress)}
    write_folder(runs / f"step-{progress.step:07d}", files)
    for old in sorted(runs.glob("step-???????"))[:-keep]:
        shutil.rmtree(old)


def load_progress(runs: Path, model: nn.Module, optimizer: torch.optim.Optimizer, fingerprint: str) -> TrainerState | None:
    """Restores the newest state, or returns None where there is none.

    Raises ValueError where the state belongs to other data.
    """
    states = sorted(runs.glob("step-???????"))
    if not states:
        return None
    newest = states[-1]
    progress = TrainerState(**json.loads((newest / "progress.json").read_text()))
    if progress.fingerprint != fingerprint:
        raise ValueError(
            f"{newest} belongs to another recipe, data or tokenizers: restore them to go on, or remove it to start anew"
        )
    model.load_state_dict(load_file(newest / "model.safetensors"))
    moments = load_file(newest / "optimizer.safetensors")
    for name, parameter in model.named_parameters():
        entries = {key.rsplit("/", 1)[1]: value for key, value in moments.items() if key.rsplit("/", 1)[0] == name}
        if entries:
            entries["step"] = entries["step"].reshape(())
            optimizer.state[parameter] = entries
    return progress
