"""What a checkpoint of a `VariableFlow` or `CoupledFlow` holds, and by what it is known that a run is the same."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ernest.phasefield.evolution.elements import EnergeticStepper
from ernest.phasefield.evolution.kicks import kick
from ernest.phasefield.evolution.loop import Run
from ernest.phasefield.numeric import described
from ernest.phasefield.solver.checkpoint import (
    Checkpoint,
    check_ahead,
    check_problem,
    failed_path,
    load_run,
    save_run,
    times_looked_at,
)
from ernest.phasefield.solver.diagnostics import StepRecord
from ernest.phasefield.solver.events import EventOccurrence
from ernest.phasefield.solver.failures import RunFailed
from ernest.phasefield.stepping import DivergenceError


def failure_of(
    run: Run, length: float, failure: DivergenceError | None, checkpoint: Checkpoint | None, problem: dict[str, str]
) -> RunFailed:
    """The error of a run that no step takes further, its last good state saved."""
    beside = Path(checkpoint.path) if checkpoint else Path(tempfile.mkdtemp(prefix="phasefield-")) / "run.safetensors"
    path = failed_path(beside)
    save(path, problem, run)
    return RunFailed(float(run.state.time), run.state.count + 1, failure.iteration if failure else 0, length, path)


def problem_of_run(stepper: EnergeticStepper, u0: Tensor, choices: dict[str, Any], stops: Sequence[float]) -> dict[str, str]:
    """Digests of all that decides the steps of a run, its functions at many times and for larger fields too."""
    operators, d = stepper.operators, stepper.grid.dimensions
    nodes = (u0.unsqueeze(-1 - d) if stepper.single else u0).unsqueeze(-1 - d)
    digest = hashlib.sha256()
    for time, share in ((time, share) for time in times_looked_at(stops) for share in (1.0, 3.0)):
        at, u = torch.tensor([time], dtype=u0.dtype, device=u0.device), share * nodes
        mu = operators.variation(u, stepper.grid.modes(u), at)
        forced = operators.forcing(at, u)
        for tensor in (mu, operators.rate(stepper.grid.field(mu), u, at), *([] if forced is None else [forced])):
            digest.update(torch.nan_to_num(tensor.detach().cpu().resolve_conj()).numpy().tobytes())
    start = hashlib.sha256(u0.detach().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]
    noise = _described_noise(stepper, u0)
    return {"grid": repr(stepper.grid), "flow": digest.hexdigest()[:16], "noise": noise, "u0": start} | {
        name: described(value) for name, value in choices.items()
    }


def _described_noise(stepper: EnergeticStepper, u0: Tensor) -> str:
    """Temperature or strength, and the seed; of a strength that varies a digest of what it makes."""
    operators, noise = stepper.operators, stepper.operators.flow.noise
    if noise is None or noise.strength is None or isinstance(noise.strength, Real):
        return described(noise)
    fields = u0.unsqueeze(-1 - stepper.grid.dimensions) if stepper.single else u0
    kicks = (kick(operators, noise, share * fields, time, 1.0, 0) for time, share in ((0.0, 1.0), (1 / 3, 1.0), (0.0, 3.0)))
    digest = hashlib.sha256(b"".join(one.detach().cpu().resolve_conj().numpy().tobytes() for one in kicks))
    return f"seed {noise.seed}, strength {digest.hexdigest()[:16]}"


def save(path: Path | str, problem: dict[str, str], run: Run) -> None:
    """Writes the run into a checkpoint."""
    history = {"records": [asdict(record) for record in run.records], "occurrences": [asdict(each) for each in run.occurrences]}
    save_run(path, run.state, {"problem": problem, "tau": run.tau}, history)


def load(path: Path | str, problem: dict[str, str], u0: Tensor, t1: float) -> Run:
    """The run of a checkpoint. Raises ValueError where that is of another problem, or further than t1."""
    state, facts, history = load_run(path, u0.device)
    check_problem(path, facts["problem"], problem)
    check_ahead(path, state, t1)
    records = [StepRecord(**record) for record in history["records"]]
    return Run((state, facts["tau"]), records, [EventOccurrence(**each) for each in history["occurrences"]])
