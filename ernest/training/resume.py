"""The state of a training run on disk, from which a run that was cut goes on bit for bit."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ernest.storage import DiskFullError, free_bytes, load_tensors, remove_files, save_tensors, write_folder, write_text
from ernest.training.sharding import deal_out, gather


@dataclass(frozen=True)
class TrainerState:
    """The progress of a run: steps done, the running losses, and the fingerprint of its recipe, data and tokenizers."""

    step: int
    running: dict[str, float]
    fingerprint: str


def check_room(runs: Path, parameters: int, trained: int | None = None) -> str:
    """A line that says how much disk a run of a network of so many parameters needs in `runs`.

    Raises DiskFullError where there is less. A state holds in float32 what is `trained`, the parameters or so many numbers of
    adapters, and AdamW's two moments of it; while one is replaced there are two, and the model is written beside the last one.
    """
    trained = parameters if trained is None else trained
    need = 4 * (2 * 3 * trained + parameters)
    occupied = sum(path.stat().st_size for path in runs.glob("step-*/*") if path.is_file())
    if free_bytes(runs) + occupied < need:
        raise DiskFullError(runs, need - occupied, "the run would fill the disk")
    state, free = 12 * trained / 1e6, free_bytes(runs) / 1e9
    return f"disk: up to {need / 1e6:,.0f} MB in {runs}, {state:,.0f} MB a state; {free:,.1f} GB free"


def save_progress(
    runs: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: TrainerState, keep: int = 1, writes: bool = True
) -> None:
    """A resumable state in `runs/step-N`; older ones beyond `keep` are removed, but for files that the user put there.

    A state is whole, in however many processes a network lies: one that goes on from it may have another number of them.
    All processes of a network in parts must come here; the one that `writes` does so.
    """
    weights = gather(model, model.state_dict().items(), writes)
    moments = gather(model, _moments(model, optimizer).items(), writes)
    if not writes:
        return
    with write_folder(runs / f"step-{progress.step:07d}", need=_bytes(weights) + _bytes(moments)) as aside:
        save_tensors(aside / "model.safetensors", weights)
        save_tensors(aside / "optimizer.safetensors", moments)
        write_text(aside / "progress.json", json.dumps(asdict(progress), indent=1))
    for old in _states(runs)[:-keep]:
        remove_files(old, "model.safetensors", "optimizer.safetensors", "progress.json")  # which lets a cut removal go on


def load_progress(runs: Path, model: nn.Module, optimizer: torch.optim.Optimizer, fingerprint: str) -> TrainerState | None:
    """Restores the newest state, or returns None where there is none.

    Raises ValueError where the state belongs to other data.
    """
    states = _states(runs)
    if not states:
        return None
    newest = states[-1]
    progress = TrainerState(**json.loads((newest / "progress.json").read_text()))
    if progress.fingerprint != fingerprint:
        raise ValueError(
            f"{newest} belongs to another recipe, data or tokenizers: restore them to go on, or remove it to start anew"
        )
    model.load_state_dict(deal_out(model, load_tensors(newest / "model.safetensors"), model.state_dict()))
    moments = load_tensors(newest / "optimizer.safetensors")
    parameters = dict(model.named_parameters())
    shapes = {name: parameters[name.rpartition("/")[0]] for name in moments}
    for name, value in deal_out(model, moments, shapes).items():
        parameter, _, key = name.rpartition("/")
        optimizer.state[parameters[parameter]][key] = value
    return progress


def cut_log(run: Path, step: int) -> Path:
    """The metrics file of a run, cut back to the steps before `step`, which will be made again; a kill may have torn its last
    line."""
    path = run / "metrics.jsonl"
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        if not line.endswith("}") or json.loads(line)["step"] >= step:
            break
        lines.append(line + "\n")
    write_text(path, "".join(lines))
    return path


def weight_parts(module: nn.Module) -> list[str | bytes]:
    """Names and bytes of all weights of a network, for a fingerprint."""
    return [part for name, value in module.state_dict().items() for part in (name, value.contiguous().numpy().tobytes())]


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def _states(runs: Path) -> list[Path]:
    """The folders of whole states, oldest first."""
    return sorted(file.parent for file in runs.glob(f"step-{'[0-9]' * 7}/progress.json"))


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(value.nbytes for value in tensors.values())
