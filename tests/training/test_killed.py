"""A killed run is dead: no process of it is left, and the run that goes on gives bit for bit what the unbroken run gives."""

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ernest.checkpoint import load_model
from ernest.config.parallel import ParallelConfig
from ernest.config.recipe import from_tree, to_tree
from ernest.storage import own_folder
from ernest.training import pretrain
from ernest.training.loop import MEASURED
from ernest.training.parts import Part, Place, read_parts
from ernest.training.resume import state_files
from tests.forked import Forked, launch_here
from tests.small import network, recipe, tokenizers

REPOSITORY = Path(__file__).parents[2]
COMMAND = "import sys; from ernest.training.launch import launch; launch('ernest.training.pretrain', [sys.argv[1]], 2)"
Started = subprocess.Popen | Forked
VICTIMS = "parent", "worker", "group"
EVERY = 3
"""Steps between saves."""


@pytest.fixture
def run(examples_folder, tmp_path) -> Path:
    """The folder of a run of two processes that saves every third step."""
    return planned(tmp_path / "run", examples_folder)


@pytest.fixture(scope="module")
def unbroken(examples_folder, tmp_path_factory) -> Path:
    """The same run, at its end, of processes that began as those of users do."""
    folder = planned(tmp_path_factory.mktemp("unbroken") / "run", examples_folder)
    assert start(folder).wait() == 0
    return folder


def planned(folder: Path, examples: Path) -> Path:
    shutil.copytree(examples, folder / "examples")
    tokenizers().save(folder / "tokenizers")
    plan_steps(folder, 24)
    return folder


def plan_steps(run: Path, steps: int, parallel: ParallelConfig | None = None) -> None:
    parallel = parallel or ParallelConfig(replicate=2)
    settings = recipe(rows=parallel.asked, steps=steps, save_every=EVERY)
    (run / "recipe.json").write_text(json.dumps(to_tree(replace(settings, parallel=parallel))))


def start(run: Path) -> subprocess.Popen:
    """A parent that launches the workers, in a process group of its own."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = from_tree(json.loads((run / "recipe.json").read_text())).parallel.asked
    command = [sys.executable, "-c", COMMAND.replace(", 2)", f", {processes})"), str(run)]
    return subprocess.Popen(command, env=environment, start_new_session=True, **quiet)


def start_forked(run: Path) -> Forked:
    """The same for two workers, which begin at once."""
    return Forked(launch_here, "ernest.training.pretrain", [str(run)], 2)


def members(leader: int) -> list[int]:
    """Living processes of the session that the process `leader` began."""
    return [process for process, (_, session) in living().items() if session == leader]


def living() -> dict[int, tuple[int, int]]:
    """Parent and session of every living process."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, _, session = entry.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has just ended
            continue
        if state != "Z":
            found[int(entry.parent.name)] = int(parent), int(session)
    return found


def wait_until(true, seconds: float = 60.0) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.005)
    return true()


def steps(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def outcome(run: Path) -> tuple[list[dict], dict[str, torch.Tensor]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    model, _ = load_model(run / "model")
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in lines], model.state_dict()


def check_kills(run: Path, unbroken: Path, kills: int, start: Callable[[Path], Started]) -> None:
    draw = random.Random(0)
    in_time = 0
    for kill in range(kills):
        parent = start(run)
        reached = steps(run) + draw.randint(0, 2)
        while steps(run) < reached and parent.poll() is None:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.3))
        workers = [member for member in members(parent.pid) if member != parent.pid]
        in_time += bool(workers)
        end(parent, VICTIMS[kill % 3], workers, draw)
    assert in_time >= 0.8 * kills
    check_outcome(run, unbroken, start)


def end(parent: Started, victim: str, workers: list[int], draw: random.Random) -> None:
    """Kills a run's parent, one of its workers or all of its processes, and waits until none is left."""
    with suppress(ProcessLookupError):  # the run has just ended
        if victim == "group":
            os.killpg(parent.pid, signal.SIGKILL)
        elif victim == "worker" and workers:
            os.kill(draw.choice(workers), signal.SIGKILL)
        else:
            parent.kill()
    parent.wait()
    assert wait_until(lambda: not members(parent.pid), 60), f"processes are left after the {victim} was killed"


def check_outcome(run: Path, unbroken: Path, start: Callable[[Path], Started]) -> None:
    """Bit for bit: what a run has logged and learnt when it has gone on to its end is what the unbroken one has."""
    assert start(run).wait() == 0
    (lines, weights), (expected_lines, expected) = outcome(run), outcome(unbroken)
    assert lines == expected_lines
    for name, value in expected.items():
        assert torch.equal(weights[name], value), name


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_run_killed_twice_is_the_unbroken_run(run, unbroken):
    check_kills(run, unbroken, 2, start_forked)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_run_killed_twenty_times_is_the_unbroken_run(run, tmp_path):
    plan_steps(run, 8 * 20)  # so many that few of the kills come too late
    unbroken = tmp_path / "unbroken"
    shutil.copytree(run, unbroken)
    assert start(unbroken).wait() == 0
    check_kills(run, unbroken, 20, start)


def saved(run: Path) -> int:
    """The steps of the newest state on disk, all of whose files are whole; 0 without one."""
    states = sorted(run.glob("step-*"))
    if not states:
        return 0
    progress = json.loads((states[-1] / "progress.json").read_text())
    parameters = {name: value.shape for name, value in network().named_parameters()}
    moments = {f"{name}/{key}": shape for name, shape in parameters.items() for key in ("exp_avg", "exp_avg_sq")}
    wanted = (
        {name: value.shape for name, value in network().state_dict().items()},
        moments | {f"{n}/step": () for n in parameters},
    )
    for kind, shapes in zip(("model", "optimizer"), wanted, strict=True):
        parts = {name: Part(torch.empty(shape), Place.of_whole(shape)) for name, shape in shapes.items()}
        read_parts(state_files(states[-1], kind), parts)
    assert states[-1].name == f"step-{progress['step']:07d}"
    return progress["step"]


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(("shard", "expert"), [(1, 2), (2, 1), (2, 2)])
def test_a_model_in_parts_that_is_killed_loses_nothing_behind_its_last_save(shard, expert, run, tmp_path):
    """One process or all, at random moments and in the middle of saves; after each, the files are whole."""
    kills, parallel = 6, ParallelConfig(shard=shard, expert=expert)
    plan_steps(run, 4 * EVERY * kills, parallel)
    unbroken = tmp_path / "unbroken"
    shutil.copytree(run, unbroken)
    assert start(unbroken).wait() == 0
    draw, in_saves = random.Random(1), 0
    for kill in range(kills):
        parent, before = start(run), steps(run)
        while steps(run) < before + draw.randint(1, EVERY) and parent.poll() is None:
            time.sleep(0.005)
        if kill % 2:
            wait_until(lambda parent=parent: is_saving(run) or parent.poll() is not None)
        else:
            time.sleep(draw.uniform(0, 0.3))
        workers = [member for member in members(parent.pid) if member != parent.pid]
        assert len(workers) == parallel.asked, "the run had ended before"
        done, saving = steps(run), is_saving(run)
        end(parent, VICTIMS[draw.randint(1, 2)], workers, draw)
        in_saves += saving
        assert saved(run) >= (done - 1) // EVERY * EVERY  # the last step's may have been under way
    assert in_saves
    check_outcome(run, unbroken, start)


def is_saving(run: Path) -> bool:
    return any(run.glob(".aside-step-*"))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_launcher_starts_killed_processes_again(run, tmp_path):
    """PyTorch's ends the other processes and starts all anew; the run goes on from its last save."""
    plan_steps(run, 8 * EVERY, ParallelConfig(expert=2))
    unbroken = tmp_path / "unbroken"
    shutil.copytree(run, unbroken)
    assert start(unbroken).wait() == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "3"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    parent = subprocess.Popen([*torchrun, "-m", "ernest.training.pretrain", str(run)], env=environment)
    for kill in range(2):
        reached = steps(run) + EVERY + 1
        assert wait_until(lambda reached=reached: steps(run) >= reached, 200)
        victim = children(parent.pid)[kill]
        os.kill(victim, signal.SIGKILL)
        assert wait_until(lambda victim=victim: victim not in children(parent.pid))
        assert saved(run) >= EVERY
    assert parent.wait() == 0
    check_outcome(run, unbroken, start)


def children(parent: int) -> list[int]:
    """Living processes that the process `parent` has started, the first before the others."""
    return sorted(process for process, (above, _) in living().items() if above == parent)


def test_a_run_in_use_is_refused_in_one_line(run, monkeypatch):
    """The second process waits for the first to let go, and then says who has the folder."""
    monkeypatch.setattr(pretrain, "PATIENCE", 0.3)
    begun = time.monotonic()
    said = f"^{re.escape(str(run))} is in use by process {os.getpid()} on [^\n]*$"
    with own_folder(run, "writer"), pytest.raises(ValueError, match=said):
        pretrain.main(run)
    assert time.monotonic() - begun > 0.3
    assert not (run / "metrics.jsonl").exists()


def launch_without_room(run: Path, said: Path) -> None:
    """The limit of a file's size stands for a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    launch_here("ernest.training.pretrain", [str(run)], 2, said)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_full_disk_is_one_line_and_the_run_goes_on_with_room(run, unbroken, tmp_path):
    """The run that goes on is the unbroken one."""
    assert Forked(launch_without_room, run, tmp_path / "said").wait() == 1
    said = (tmp_path / "said").read_text().splitlines()[-1]
    assert re.fullmatch(rf"OSError: {run}/\S*model\.safetensors: could not be written .*MB needed, .*MB free; make room.*", said)
    check_outcome(run, unbroken, start_forked)
