import math

import pytest
import torch
from safetensors.torch import save_file

from ernest.phasefield import AllenCahn, Checkpoint, Grid, State, solve
from ernest.phasefield.solving.checkpoint import load_run, save_run

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64, torch.float64])
@pytest.mark.parametrize("history", [True, False])
def test_every_bit_comes_back(tmp_path, dtype, history):
    modes, rows = torch.randn(4, 3, dtype=dtype), torch.randn(5, 4, 3, dtype=dtype)
    state = State(1 / 3, modes, rows if history else None, (0.1, 0.1 + 1e-17, 1e-9) if history else (), 7)
    facts, journal = {"tau": math.pi, "most": math.inf}, {"rows": [1 / 7, None, [1e-300]]}
    save_run(tmp_path / "run.safetensors", state, facts, journal)
    back, facts_back, journal_back = load_run(tmp_path / "run.safetensors", CPU)
    assert (back.time, back.taus, back.count) == (state.time, state.taus, state.count)
    assert torch.equal(back.modes, modes)
    assert back.modes.dtype == dtype
    assert (back.history is None) if not history else torch.equal(back.history, rows)
    assert (facts_back, journal_back) == (facts, journal)


def test_other_files_are_refused(tmp_path):
    save_file({"modes": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="is no checkpoint of a phase-field run"):
        load_run(tmp_path / "weights.safetensors", CPU)


def test_a_run_killed_while_it_writes_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    import safetensors.torch

    grid, path, writes = Grid.cube(16, 2 * math.pi), tmp_path / "run.safetensors", []
    start = 0.3 * grid.coordinates()[0].cos()

    def killed(tensors: dict, file, metadata: dict) -> None:
        writes.append(file)
        if len(writes) == 3:
            file.write_bytes(b"half of a file")
            raise KeyboardInterrupt
        save_file(tensors, file, metadata)

    monkeypatch.setattr(safetensors.torch, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        solve(AllenCahn(0.1), grid, start, 1.0, step=0.1, checkpoint=Checkpoint(path, steps=2))
    assert load_run(path, CPU)[0].count == 4
    rest = solve(AllenCahn(0.1), grid, start, 1.0, step=0.1, checkpoint=Checkpoint(path, steps=2), resume=True)
    assert torch.equal(rest.end, solve(AllenCahn(0.1), grid, start, 1.0, step=0.1).end)


def test_intervals_are_by_steps_or_minutes():
    assert Checkpoint("x", steps=10).due(10, 0.0)
    assert not Checkpoint("x", steps=10).due(9, 1e9)
    assert Checkpoint("x", minutes=2).due(1, 121.0)
    assert not Checkpoint("x", minutes=2).due(10**9, 119.0)
