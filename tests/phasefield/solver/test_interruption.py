"""A run that is interrupted keeps what it has done, to the last whole step, in its solution and in its checkpoint."""

import copy
import math
import pickle  # noqa: TID251 - what users and multiprocessing do with a solution
from pathlib import Path

import pytest
import torch

from ernest.phasefield import AllenCahn, Checkpoint, Event, Grid, RunInterrupted, StepRecord, initial_conditions, solve
from ernest.phasefield.solver.checkpoint import checkpoint_time

GRID = Grid.cube(16, 2 * math.pi)
START = initial_conditions.spinodal_noise(GRID, 0.5, waves=3)
FLOW = AllenCahn(0.2)


@pytest.mark.parametrize("at", [1, 8, 26, 61])
def test_interrupted_anywhere_the_solution_is_that_of_the_whole_run_so_far(at, tmp_path):
    """In the search for events, where a step is made but not yet counted; the first call is the look at the function."""
    calls = []

    def watch(u: torch.Tensor) -> float:
        calls.append(u)
        if len(calls) == at:
            raise KeyboardInterrupt
        return float(u.mean()) - 0.01

    keep = Checkpoint(tmp_path / "run.safetensors", steps=10**9)
    whole = solve(FLOW, GRID, START, 3.0, step=0.25, progress=False)
    events = Event("watch", watch)
    if at == 1:
        with pytest.raises(KeyboardInterrupt) as bare:
            solve(FLOW, GRID, START, 3.0, step=0.25, events=events, checkpoint=keep, progress=False)
        assert not isinstance(bare.value, RunInterrupted)
        assert not keep.path.exists()
        return
    with pytest.raises(RunInterrupted) as raised:
        solve(FLOW, GRID, START, 3.0, step=0.25, events=events, checkpoint=keep, progress=False)
    part = raised.value.solution
    done = len(part.steps)
    assert 0 < done < len(whole.steps)
    assert part.records == whole.records[: done + 1]
    assert len(part.dense_output) == done
    assert torch.equal(part(part.times[-1] / 2), whole(part.times[-1] / 2))
    assert all(occurrence.time <= part.times[-1] for occurrence in part.occurrences)
    words = rf"the run was interrupted at time {part.times[-1]:g} of 3; with resume=True it goes on from .*run\.safetensors"
    assert raised.match(words)
    rest = solve(FLOW, GRID, START, 3.0, step=0.25, checkpoint=keep, resume=True, progress=False)
    assert torch.equal(rest.end, whole.end)
    assert rest.records == whole.records


def test_an_earlier_end_than_the_checkpoints_is_refused(tmp_path):
    keep = Checkpoint(tmp_path / "run.safetensors", steps=5)
    solve(FLOW, GRID, START, 1.0, step=0.25, checkpoint=keep, progress=False)
    with pytest.raises(ValueError, match=r"t1: .*run\.safetensors is at time 1 already; expected .* later one, got 0\.5"):
        solve(FLOW, GRID, START, 0.5, step=0.25, checkpoint=keep, resume=True, progress=False)


def test_a_finished_run_that_is_run_again_says_what_it_covers(tmp_path):
    keep = Checkpoint(tmp_path / "run.safetensors", steps=5)
    first = solve(FLOW, GRID, START, 1.0, step=0.25, checkpoint=keep, progress=False)
    again = solve(FLOW, GRID, START, 1.0, step=0.25, checkpoint=keep, resume=True, progress=False)
    assert torch.equal(again(1.0), first.end)
    assert again.energy.tolist() == first.energy.tolist()
    for time in (0.0, 0.5, [0.5, 1.0]):
        with pytest.raises(ValueError, match=r"time: the solution covers 1\.0 to 1\.0, got 0\.[05]$"):
            again(time)


@pytest.mark.parametrize("memory", [4e9, 1.0], ids=["in memory", "in files"])
@pytest.mark.parametrize("members", [0, 2])
def test_a_copy_of_a_solution_needs_no_files_of_the_first(memory, members):
    start = torch.stack([START] * members) if members else START
    first = solve(FLOW, GRID, start, 1.0, step=0.25, memory=memory, progress=False)
    wanted = first([0.1, 0.9])
    copies = [pickle.loads(pickle.dumps(first)), copy.deepcopy(first), copy.copy(first)]
    del first
    for each in copies:
        assert torch.equal(each([0.1, 0.9]), wanted)
        assert each.records[0].tau == 0


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"checkpoint": "x.st"}, r"checkpoint: expected Checkpoint\(path, steps=\.\.\.\) or Checkpoint\(path, .*, got 'x\.st'"),
        ({"resume": True}, r"resume: a run goes on from its checkpoint; say which with checkpoint="),
        (
            {"checkpoint": Checkpoint("mine.txt", steps=1)},
            "checkpoint: mine.txt is no checkpoint of a phase-field run and would",
        ),
        ({"checkpoint": Checkpoint("folder", steps=1)}, "checkpoint: folder is no checkpoint of a phase-field run and would be"),
        ({"checkpoint": Checkpoint("mine.txt/x", steps=1)}, "mine.txt/x cannot be written: .*mine.txt is no folder"),
    ],
)
def test_a_checkpoint_that_cannot_be_is_told_before_the_run(choices, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "folder").mkdir()

    def never(record: StepRecord) -> None:
        raise AssertionError("the run began")

    with pytest.raises(ValueError, match=message) as raised:
        solve(FLOW, GRID, START, 1.0, **choices, progress=never)
    assert "\n" not in str(raised.value)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("saved", [True, False])
def test_any_other_error_keeps_what_was_done_too(saved, tmp_path):
    """One in a function of the user as well: mended, the run goes on."""

    def fail(record: StepRecord) -> None:
        if record.time > 1.9:
            raise ZeroDivisionError

    keep = Checkpoint(tmp_path / "run.safetensors", minutes=60) if saved else None
    with pytest.raises(ZeroDivisionError) as raised:
        solve(FLOW, GRID, START, 3.0, step=0.25, checkpoint=keep, progress=fail)
    (note,) = raised.value.__notes__
    assert note.startswith("the last good state of the run, at time 2, is in ")
    path = Path(note.rpartition(" ")[2])
    assert checkpoint_time(path) == pytest.approx(2.0)
    rest = solve(FLOW, GRID, START, 3.0, step=0.25, checkpoint=Checkpoint(path, minutes=60), resume=True, progress=False)
    assert torch.equal(rest.end, solve(FLOW, GRID, START, 3.0, step=0.25, progress=False).end)
