"""Processes of their own: two give the losses of one, and one that is killed goes on."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ernest.checkpoint import load_model
from ernest.config.parallel import ParallelConfig
from ernest.config.recipe import to_tree
from ernest.storage import load_tensors
from ernest.training import launch
from ernest.training.loop import MEASURED, train
from tests import forked
from tests.small import network, recipe, tokenizers
from tests.training.one_sided import take_step
from tests.training.replica import RECIPE


def losses(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in lines]


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(examples_folder, store, tmp_path):
    shutil.copytree(examples_folder, tmp_path / "examples")
    forked.launch("tests.training.replica", [str(tmp_path)], processes=2)
    two = losses(tmp_path / "unbroken")
    # Cut between two saves and resumed, two processes give bitwise what they gave unbroken.
    assert losses(tmp_path / "cut") == two
    train(RECIPE, store, tokenizers(), tmp_path / "one")
    one = losses(tmp_path / "one")
    assert [line.keys() for line in one] == [line.keys() for line in two]
    for alone, shared in zip(one, two, strict=True):
        assert alone["positions"] == shared["positions"]
        for name in ("text", "mtp", "vision", "audio", "norm"):
            if name in alone:
                assert abs(alone[name] - shared[name]) <= 1e-5 * max(1.0, alone[name]), (alone["step"], name)


def test_a_process_without_pictures_words_and_sounds_goes_along(tmp_path):
    """It waits for nobody and nobody for it: both end with the weights of one process that holds all rows."""
    forked.launch("tests.training.one_sided", [str(tmp_path)], processes=2)
    wanted = take_step([0, 1])
    found = [load_tensors(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    for name, value in wanted.items():
        assert torch.equal(found[0][name], found[1][name]), name
        assert (found[0][name] - value).abs().max() <= 1e-4, name
    moved = network(biased=False).state_dict()
    assert sum(not torch.equal(moved[name], value) for name, value in wanted.items()) > 100


@pytest.mark.slow
def test_a_killed_worker_goes_on(examples_folder, store, tmp_path):
    run = tmp_path / "run"
    settings = recipe(rows=1, steps=20, save_every=4)
    shutil.copytree(examples_folder, run / "examples")
    tokenizers().save(run / "tokenizers")
    (run / "recipe.json").write_text(json.dumps(to_tree(settings)))

    worker = forked.Forked(forked.run_module, ["ernest.training.pretrain", str(run)], dict(os.environ))
    metrics = run / "metrics.jsonl"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (metrics.exists() and metrics.read_text().count("\n") >= 5):
        time.sleep(0.005)
    worker.kill()
    worker.wait()
    assert 5 <= len(losses(run)) < 20
    assert not (run / "model").exists()

    forked.launch("ernest.training.pretrain", [str(run)], processes=1)
    whole = train(settings, store, tokenizers(), tmp_path / "unbroken")
    assert losses(run) == losses(tmp_path / "unbroken")
    model, kept = load_model(run / "model")
    assert kept.text.merges == tokenizers().text.merges
    for name, value in whole.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@pytest.mark.long
def test_makers_beside_two_processes_change_no_bit(examples_folder, tmp_path):
    """Each process has one of its own, which another process starts; they cannot be forked from here."""
    found = []
    for workers in (0, 1):
        run = tmp_path / str(workers)
        shutil.copytree(examples_folder, run / "examples")
        tokenizers().save(run / "tokenizers")
        settings = replace(recipe(rows=4, steps=4, save_every=4, workers=workers), parallel=ParallelConfig(replicate=2))
        (run / "recipe.json").write_text(json.dumps(to_tree(settings)))
        launch.launch("ernest.training.pretrain", [str(run)], processes=2)
        found.append((losses(run), load_tensors(run / "model/model.safetensors")))
    (here, weights), (beside, same) = found
    assert here == beside
    assert all(torch.equal(value, same[name]) for name, value in weights.items())


def test_a_failing_process_is_told():
    with pytest.raises(RuntimeError, match=r"ernest\.nowhere ended with exit status 1"):
        launch.launch("ernest.nowhere", [], processes=1)


@pytest.mark.parametrize(
    ("failing", "reason"), [("fail_late", "OSError: the disk is full"), ("leave_slowly", "RuntimeError: the mistake")]
)
def test_the_cause_is_told_and_not_what_it_tore(tmp_path, failing, reason):
    """A failure of one process ends the others', sometimes before itself."""
    assert forked.Forked(forked.launch_here, "tests.training.torn", [failing], 2, tmp_path / "said").wait() == 1
    assert (tmp_path / "said").read_text().splitlines()[-1] == reason
