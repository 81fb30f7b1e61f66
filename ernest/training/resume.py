"""The state of a training run on disk, from which a run that was cut goes on bit for bit."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ernest.storage import DiskFullError, free_bytes, log_lines, remove_files, write_folder, write_text
from ernest.training.parts import Part, read_parts, stored_shapes, write_parts
from ernest.training.sharding import lies_in_parts, parts_of

PROGRESS = "progress.json"
LOG = "metrics.jsonl"
"""The file of a run with a line for each step."""
STATE_FILES = (
    *("model.safetensors", "optimizer.safetensors", "model-[0-9]*.safetensors", "optimizer-[0-9]*.safetensors"),
    PROGRESS,
)
"""The files of a state, as patterns of names; the last goes last, which lets a cut removal go on."""


@dataclass(frozen=True)
class TrainerState:
    """The progress of a run: steps done, the running losses, and the fingerprint of its recipe, data and tokenizers."""

    step: int
    running: dict[str, float]
    fingerprint: str


def check_room(run: Path, parameters: int, trained: int | None = None) -> str:
    """A line that says how much disk a training of so many parameters needs in its folder `run`.

    Raises DiskFullError where there is less. A state holds in float32 what is `trained`, the parameters or so many numbers of
    adapters, and AdamW's two moments of it; while one is replaced there are two, and the model is written beside the last one.
    """
    trained = parameters if trained is None else trained
    need = 4 * (2 * 3 * trained + parameters)
    occupied = sum(path.stat().st_size for path in run.glob("step-*/*") if path.is_file())
    if free_bytes(run) + occupied < need:
        raise DiskFullError(run, need - occupied, "the run would fill the disk")
    state, free = 12 * trained / 1e6, free_bytes(run) / 1e9
    return f"disk: up to {need / 1e6:,.0f} MB in {run}, {state:,.0f} MB a state; {free:,.1f} GB free"


def save_progress(run: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: TrainerState) -> None:
    """A resumable state in `run/step-N`; older ones are removed, but for files that the user put there.

    All processes come here. Of a network in parts each writes what it holds, of a whole one the first writes all; one that goes
    on from there may have other parts, in another number of processes.
    """
    rank, in_parts = dist.get_rank() if dist.is_initialized() else 0, lies_in_parts(model)
    if rank and not in_parts:
        return
    weights = parts_of(model, model.state_dict().items())
    moments = parts_of(model, _moments(model, optimizer).items())
    with _folder_of_all(_folder(run, progress.step), in_parts, _bytes(weights) + _bytes(moments)) as aside:
        write_parts(aside / _file("model", rank), weights)
        write_parts(aside / _file("optimizer", rank), moments, even_none=rank == 0)  # before its first step AdamW has none
        if rank == 0:
            write_text(aside / PROGRESS, json.dumps(asdict(progress), indent=1))
    for old in _states(run)[:-1] if rank == 0 else ():
        remove_files(old, *STATE_FILES)


@contextmanager
def _folder_of_all(path: Path, shared: bool, need: int) -> Iterator[Path]:
    """A folder aside for the first process or, if `shared`, for all, which takes its place when all have written and synced."""
    if not shared or dist.get_rank() == 0:
        with write_folder(path, need, lambda file: any(map(file.match, STATE_FILES))) as aside:
            if shared:
                dist.broadcast_object_list([str(aside)])
            yield aside
            if shared:
                dist.barrier()
    else:
        told: list[str | None] = [None]
        dist.broadcast_object_list(told)
        yield Path(str(told[0]))
        dist.barrier()


def load_progress(run: Path, model: nn.Module, optimizer: torch.optim.Optimizer, fingerprint: str) -> TrainerState | None:
    """Restores the newest state, or returns None where there is none. Each process reads what it holds.

    Raises ValueError where the state belongs to other data.
    """
    newest = agreed_state(run)
    if newest is None:
        return None
    progress = TrainerState(**json.loads((newest / PROGRESS).read_text()))
    if progress.fingerprint != fingerprint:
        raise ValueError(
            f"{newest} belongs to another recipe, data or tokenizers: restore them to go on, or remove it to start anew"
        )
    read_parts(state_files(newest, "model"), parts_of(model, model.state_dict().items()))
    files, parameters = state_files(newest, "optimizer"), dict(model.named_parameters())
    for name, shape in stored_shapes(files).items():
        parameter, _, key = name.rpartition("/")
        moment = torch.zeros_like(parameters[parameter]) if shape else torch.zeros((), dtype=torch.float32)
        optimizer.state[parameters[parameter]][key] = moment
    read_parts(files, parts_of(model, _moments(model, optimizer).items()))
    return progress


def newest_state(run: Path) -> Path | None:
    """The folder of the newest whole state, None where there is none."""
    return next(reversed(_states(run)), None)


def steps_of(state: Path) -> int:
    """How many steps a state was trained for, by the name of its folder."""
    return int(state.name.partition("-")[2])


def agreed_state(run: Path) -> Path | None:
    """The newest state that the first process has found: what another one sees might just be going, or coming."""
    state = newest_state(run)
    step = torch.tensor(steps_of(state) if state else -1)
    if dist.is_initialized():
        dist.broadcast(step, 0)
    return None if step < 0 else _folder(run, int(step))


def state_files(state: Path, kind: str) -> list[Path]:
    """The files of a state in which processes have written what they held of the "model" or of the "optimizer"."""
    return [state / _file(kind, 0), *state.glob(f"{kind}-[0-9]*.safetensors")]


def _folder(run: Path, step: int) -> Path:
    return run / f"step-{step:07d}"


def _file(kind: str, rank: int) -> str:
    return f"{kind}-{rank}.safetensors" if rank else f"{kind}.safetensors"


def cut_log(run: Path, step: int) -> Path:
    """The metrics file of a run, cut back to the steps before `step`, which will be made again."""
    path = run / LOG
    told = log_lines(path) if path.exists() else ()
    kept = takewhile(lambda one: one[1].get("step", step) < step, told)
    write_text(path, "".join(line + "\n" for line, _ in kept))
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


def _states(run: Path) -> list[Path]:
    """The folders of whole states, oldest first."""
    return sorted(file.parent for file in run.glob(f"step-{'[0-9]' * 7}/{PROGRESS}"))


def _bytes(parts: Mapping[str, Part]) -> int:
    return sum(part.own.nbytes for part in parts.values() if part.writes)
