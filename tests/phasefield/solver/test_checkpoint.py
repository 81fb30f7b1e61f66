import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ernest.phasefield import AllenCahn, Checkpoint, Grid, State, solve
from ernest.phasefield.solver.checkpoint import load_run, save_run
from ernest.storage import files

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64, torch.float64])
@pytest.mark.parametrize("history", [True, False])
def test_every_bit_comes_back(tmp_path, dtype, history):
    modes, rows = torch.randn(4, 3, dtype=dtype), torch.randn(5, 4, 3, dtype=dtype)
    state = State(1 / 3, modes, rows if history else None, (0.1, 0.1 + 1e-17, 1e-9) if history else (), 7)
    facts, run_history = {"tau": math.pi, "most": math.inf}, {"records": [1 / 7, None, [1e-300]]}
    save_run(tmp_path / "run.safetensors", state, facts, run_history)
    back, facts_back, run_history_back = load_run(tmp_path / "run.safetensors", CPU)
    assert (back.time, back.taus, back.count) == (state.time, state.taus, state.count)
    assert torch.equal(back.modes, modes)
    assert back.modes.dtype == dtype
    assert (back.history is None) if not history else torch.equal(back.history, rows)
    assert (facts_back, run_history_back) == (facts, run_history)


def test_other_files_are_refused(tmp_path):
    save_file({"modes": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="is no checkpoint of a phase-field run"):
        load_run(tmp_path / "weights.safetensors", CPU)


class Killed(BaseException):
    """Nothing can be done any more."""


def test_a_run_killed_while_it_writes_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    """Killed when all is written aside, just before the new checkpoint takes the place of the old one."""
    grid, path, writes, replace = Grid.cube(16, 2 * math.pi), tmp_path / "run.safetensors", [], files._replace
    start = 0.3 * grid.coordinates()[0].cos()

    def killed(aside: Path, target: Path) -> None:
        writes.extend([target] if target == path else [])
        if len(writes) == 3:
            raise Killed
        replace(aside, target)

    monkeypatch.setattr(files, "_replace", killed)
    with pytest.raises(Killed):
        solve(AllenCahn(0.1), grid, start, 1.0, step=0.1, checkpoint=Checkpoint(path, steps=2))
    assert load_run(path, CPU)[0].count == 4
    rest = solve(AllenCahn(0.1), grid, start, 1.0, step=0.1, checkpoint=Checkpoint(path, steps=2), resume=True)
    assert torch.equal(rest.end, solve(AllenCahn(0.1), grid, start, 1.0, step=0.1).end)


def test_intervals_are_by_steps_or_minutes():
    assert Checkpoint("x", steps=10).due(10, 0.0)
    assert not Checkpoint("x", steps=10).due(9, 1e9)
    assert Checkpoint("x", minutes=2).due(1, 121.0)
    assert not Checkpoint("x", minutes=2).due(10**9, 119.0)


def source(wave: float) -> Callable[[Tensor, tuple[Tensor, ...]], Tensor]:
    """Forcings that all vanish at whole times."""
    return lambda time, x: torch.sin(wave * math.pi * time) * torch.cos(x[0])


def source_until(time: float, then: float) -> Callable[[Tensor, tuple[Tensor, ...]], Tensor]:
    """One that becomes another number long after the checkpoint."""
    return lambda t, x: torch.where(t < time, torch.sin(math.pi * t), then) * torch.cos(x[0])


@pytest.mark.parametrize("time", [3.0, 4e3])
def test_a_forcing_that_differs_later_is_another(tmp_path, time):
    grid = Grid.cube(8, 2 * math.pi)
    start, keep = 0.3 * grid.coordinates()[0].cos(), Checkpoint(tmp_path / "run.safetensors", steps=1)
    solve(AllenCahn(0.5, forcing=source_until(time, 0.0)), grid, start, 0.1, 1e-3, checkpoint=keep)
    with pytest.raises(ValueError, match=r"is of another run: forcing was"):
        solve(AllenCahn(0.5, forcing=source_until(time, 0.5)), grid, start, 0.2, 1e-3, checkpoint=keep, resume=True)


@pytest.mark.parametrize("later", [source(2.0), None], ids=["another", "none"])
def test_a_run_does_not_go_on_with_another_forcing(tmp_path, later):
    grid = Grid.cube(16, 2 * math.pi)
    start, keep = 0.3 * grid.coordinates()[0].cos(), Checkpoint(tmp_path / "run.safetensors", steps=1)
    solve(AllenCahn(0.1, forcing=source(1.0)), grid, start, 0.1, checkpoint=keep)
    with pytest.raises(ValueError, match=r"is of another run: forcing was .*, is "):
        solve(AllenCahn(0.1, forcing=later), grid, start, 0.2, checkpoint=keep, resume=True)
    solve(AllenCahn(0.1, forcing=source(1.0)), grid, start, 0.2, checkpoint=keep, resume=True)


PROCESS = """
import math, os, sys
import numpy as np
from ernest.phasefield import initial_conditions
from ernest.phasefield import AllenCahn, Checkpoint, Event, Grid, solve

folder, dies = sys.argv[1], sys.argv[2] == "dies"
calls = []

def watch(u):
    calls.append(u)
    if dies and len(calls) > 24:
        os._exit(3)
    return 1.0

grid = Grid.cube(96, 2 * math.pi)
start = initial_conditions.spinodal_noise(grid, waves=8)
keep = Checkpoint(folder + "/run.safetensors", steps=2)
run = solve(AllenCahn(0.02), grid, start, 4.0, 1e-7, events=Event("watch", watch), checkpoint=keep, resume=True)
np.savez(folder + "/end.npz", end=run.end.numpy(), steps=run.steps, covered=len(run.dense_output))
"""


def test_another_process_goes_on_bit_for_bit(tmp_path):
    def process(folder: str, dies: bool) -> int:
        (tmp_path / folder).mkdir(exist_ok=True)
        words = [sys.executable, "-c", PROCESS, str(tmp_path / folder), "dies" if dies else "lives"]
        return subprocess.run(words, cwd=ROOT, check=False).returncode

    assert process("whole", dies=False) == 0
    assert process("killed", dies=True) == 3
    assert not (tmp_path / "killed/end.npz").exists()
    assert process("killed", dies=False) == 0
    with np.load(tmp_path / "whole/end.npz") as whole, np.load(tmp_path / "killed/end.npz") as rest:
        assert np.array_equal(whole["end"], rest["end"])
        assert np.array_equal(whole["steps"], rest["steps"])
        assert 0 < rest["covered"] < whole["covered"]
