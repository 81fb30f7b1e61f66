"""Under a launcher the same recipe runs: the first process prepares, all train, and the losses are those of one process."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ernest.checkpoint import load_model
from ernest.config.parallel import ParallelConfig
from ernest.config.recipe import Recipe, load_recipe
from ernest.data.record_writer import save_records
from ernest.data.store import ExampleStore
from ernest.sequence.record import Record, given, made
from ernest.tokenizers.bundle import Tokenizers
from ernest.training import distributed, group
from ernest.training.distributed import process_group
from ernest.training.group import check_alone, check_group, is_follower, launched_processes, process_count, thread_count
from ernest.training.loop import train

REPOSITORY = Path(__file__).parents[2]
SETTINGS = (
    *("size=5", "model.experts=4", "sequence.rows=3", "sequence.length=64", "training.steps=3", "training.show_every=0"),
    *("training.bf16=false", "tokenizers.vocabulary=280", "tokenizers.vision_steps=2", "tokenizers.audio_steps=2"),
)


@pytest.mark.slow
def test_torchrun_gives_the_losses_of_one_process(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    save_records(
        tmp_path / "data", [Record((given("image", one), made("text", "a red seven")), "image→text") for one in pictures]
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ernest", "train"]
    command = [*launcher, "--data", "data", "--out", "run", "--set", *SETTINGS, "parallel.expert=2"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model: run/model") == 1
    load_model(tmp_path / "run/model")
    shared = losses(tmp_path / "run")
    store, tokenizers = ExampleStore(tmp_path / "run/examples"), Tokenizers.load(tmp_path / "run/tokenizers")
    train(load_recipe(overrides=SETTINGS), store, tokenizers, tmp_path / "one")
    alone = losses(tmp_path / "one")
    assert len(alone) == len(shared) == 3
    for one, two in zip(alone, shared, strict=True):
        assert one["positions"] == two["positions"]
        assert one["text"] == pytest.approx(two["text"], abs=1e-5)


def losses(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_process_knows_who_started_it(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "ERNEST_PARENT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert launched_processes() == 1
    assert not is_follower()
    launched(monkeypatch, 4)
    assert launched_processes() == 4
    assert not is_follower()
    monkeypatch.setenv("RANK", "3")
    assert is_follower()
    monkeypatch.setenv("ERNEST_PARENT", "7")  # our own launcher, whose processes train and nothing else
    assert launched_processes() == 1
    assert not is_follower()


def launched(monkeypatch, world: int) -> None:
    """As a launcher tells its first process."""
    for name, value in {"WORLD_SIZE": world, "RANK": 0, "MASTER_ADDR": "localhost", "MASTER_PORT": 29500}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"RANK": None}, "WORLD_SIZE = 4 is set in the environment, and RANK not: start with torchrun, or unset WORLD_SIZE"),
        ({"MASTER_ADDR": None, "MASTER_PORT": ""}, "and MASTER_ADDR, MASTER_PORT not: start with torchrun"),
        ({"RANK": "4"}, "and RANK is '4': start with torchrun"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE = 'many' in the environment: expected a number of processes"),
    ],
)
def test_what_a_launcher_left_in_the_environment_is_no_group(monkeypatch, changed, message):
    monkeypatch.delenv("ERNEST_PARENT", raising=False)
    launched(monkeypatch, 4)
    for name, value in changed.items():
        monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name)
    with pytest.raises(ValueError, match=message):
        launched_processes()


def test_a_launcher_may_start_one_process(monkeypatch):
    monkeypatch.delenv("ERNEST_PARENT", raising=False)
    launched(monkeypatch, 1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert process_count(Recipe()) == 1
    with pytest.raises(ValueError, match=r"^parallel\.replicate = 2: the launcher has started 1 process$"):
        check_group(replace(Recipe(), parallel=ParallelConfig(replicate=2)))


def test_processes_that_do_not_meet_are_one_line_and_waiting_is_told(monkeypatch, capsys):
    monkeypatch.delenv("ERNEST_PARENT", raising=False)
    launched(monkeypatch, 2)
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(OSError, match=rf"^process 0 of 2 met no others at localhost:{port}: .*\d+"), process_group():
            pass
    monkeypatch.setattr(distributed, "TOLD_AFTER", 0.0)
    told, until = "", time.monotonic() + 60
    with distributed.told_if_long("waiting for [two]"):
        while not told and time.monotonic() < until:
            time.sleep(0.01)
            told = capsys.readouterr().err
    assert told.startswith("waiting for [two]")


def test_a_group_that_does_not_fit_the_recipe_is_refused(monkeypatch):
    monkeypatch.delenv("ERNEST_PARENT", raising=False)
    launched(monkeypatch, 4)
    recipe = Recipe()
    check_group(recipe)
    with pytest.raises(ValueError, match=r"^`ernest rl` is started once, and a launcher has started 4: start it without$"):
        check_alone("ernest rl")
    check_group(replace(recipe, parallel=replace(recipe.parallel, replicate=4)))
    with pytest.raises(ValueError, match=r"^training.workers = 5000 must be at most \d+, the processors of this machine$"):
        check_group(replace(recipe, training=replace(recipe.training, workers=5000)))
    with pytest.raises(ValueError, match=r"^parallel\.replicate = 2: the launcher has started 4 processes$"):
        check_group(replace(recipe, parallel=replace(recipe.parallel, replicate=2)))
    check_group(replace(recipe, parallel=replace(recipe.parallel, shard=2, expert=2)))
    for parallel in (ParallelConfig(replicate=2, expert=4), ParallelConfig(expert=3), ParallelConfig(shard=4, expert=4)):
        with pytest.raises(ValueError, match=rf"^{parallel}: the launcher has started 4 processes$"):
            check_group(replace(recipe, parallel=parallel))
    with pytest.raises(ValueError, match=r"^sequence\.rows = 3: each of the 4 launched processes needs a row of a step$"):
        check_group(replace(recipe, sequence=replace(recipe.sequence, rows=3)))
    shared = replace(recipe, parallel=ParallelConfig(tensor=2))
    check_group(replace(shared, sequence=replace(recipe.sequence, rows=2)))
    with pytest.raises(ValueError, match=r"^sequence\.rows = 1: each 2 of the 4 launched processes need a row of a step$"):
        check_group(replace(shared, sequence=replace(recipe.sequence, rows=1)))


def test_processes_share_the_processors_as_threads(monkeypatch):
    monkeypatch.setattr(group, "count_processors", lambda: 7)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [thread_count(processes) for processes in (1, 2, 3, 7, 8)] == [7, 3, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert thread_count(1) == thread_count(8) == 2
