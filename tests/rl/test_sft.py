"""Fine-tuning on questions with their workings, and reinforcement learning that goes on from it, at test size."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ernest.checkpoint import load_model, save_model
from ernest.config.recipe import Recipe, find_recipe
from ernest.config.rl import RLRecipe, RolloutConfig, TaskConfig, UpdateConfig
from ernest.config.sft import RecordCounts, load_sft_recipe
from ernest.data.examples import encode
from ernest.data.layout import lay_out_example
from ernest.data.records import read_lines
from ernest.rl import sft
from ernest.rl.assess import read_looks
from ernest.rl.loop import reinforce
from ernest.storage import load_tensors
from ernest.training import pretrain
from ernest.world import solutions
from ernest.world.split import HELD_OUT
from ernest.world.world import TASKS
from tests.small import network, tokenizers

FEW = ("records.worked=12", "records.others=0", "records.held_out=4", "sequence.rows=2", "parallel.replicate=1")
QUICK = (
    "training.steps=2",
    "training.save_every=1",
    "training.show_every=0",
    "training.warmup=0",
    "training.bf16=false",
    "sequence.length=512",
)


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "base/model"
    save_model(folder, network(), tokenizers(), {"sequence": {"length": 256}}, torch.ones(6, 8))
    return folder


def test_only_workings_and_answers_carry_loss():
    record = solutions.worked(0, 3)
    (example,) = encode([record], tokenizers())
    layout = lay_out_example(example, tokenizers(), tokenizers().text.encode).layout
    learnt = layout.token_target[(layout.weight > 0) & (layout.token_target >= 0)]
    assert tokenizers().text.decode(learnt[:-1].tolist()) == record.segments[1].data
    assert learnt[-1] == tokenizers().control_tokens.eos


def test_records_are_questions_and_the_worlds_other_tasks_on_their_side_of_the_split(monkeypatch):
    monkeypatch.setattr(sft, "TASKS", tasks := ("text", "speech→text"))
    kept, judged = (list(sft.world_records(5, 2, 0, first)) for first in (0, HELD_OUT))
    for found in (kept, judged):
        assert [record.task for record in found] == ["worked solution"] * 5 + [task for task in tasks for _ in range(2)]
    assert [r.segments[0].data for r in kept[:5]] == [solutions.worked(0, n).segments[0].data for n in range(5)]
    assert not {r.segments[0].data for r in kept[:5]} & {r.segments[0].data for r in judged[:5]}


@pytest.mark.slow
def test_reinforcement_goes_on_from_a_fine_tuning(tmp_path, checkpoint, monkeypatch):
    """The training runs in this process, which has torch already."""
    monkeypatch.setattr(pretrain, "launch", lambda module, arguments, *rest: pretrain.main(Path(arguments[0])))
    run = tmp_path / "sft"
    sft.fine_tune(checkpoint, run, *load_sft_recipe(find_recipe("worked", "sft"), (*FEW, *QUICK)))
    before, after = (load_tensors(folder / "model.safetensors") for folder in (checkpoint, run / "model"))
    assert any(not torch.equal(before[name], after[name]) for name in before)

    recipe = RLRecipe(
        (TaskConfig("worked solution", ("worked solution",), reward="score"),),
        rollout=RolloutConfig(prompts=1, samples=2),
        update=UpdateConfig(steps=1, assess=2, bf16=False),
    )
    out = tmp_path / "rl"
    reinforce(run / "model", run / "no judges", out, recipe)
    (entry,) = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    assert entry["mismatch"] <= 1e-5 if "mismatch" in entry else entry["prompts without signal"] == 1
    assert [look.verifiers.keys() for (look,), _ in read_looks(out)] == [{"worked solution", "worked answer"}] * 2
    load_model(out / "model")


def test_a_run_on_other_records_does_not_go_on(tmp_path, checkpoint, monkeypatch):
    """And one that goes on makes no record anew."""
    monkeypatch.setattr(sft, "train_on_records", lambda run: run.out / "model")
    counts, recipe = RecordCounts(3, 0, 2), Recipe()
    sft.fine_tune(checkpoint, tmp_path / "run", counts, recipe)
    for name, first, count in (("records", 0, 3), ("records/held_out", HELD_OUT, 2)):
        questions = [record.segments[0].data for record in read_lines(tmp_path / "run" / name)]
        assert questions == [solutions.worked(0, first + n).segments[0].data for n in range(count)]
    with monkeypatch.context() as patch:
        patch.setattr(sft, "save_records", None)
        sft.fine_tune(checkpoint, tmp_path / "run", counts, recipe)
    for other in ((replace(counts, worked=4), recipe), (counts, replace(recipe, seed=1))):
        with pytest.raises(ValueError, match="holds a run on other records"):
            sft.fine_tune(checkpoint, tmp_path / "run", *other)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        sft.fine_tune(checkpoint, tmp_path / "full", counts, recipe)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("size=9", "size: the network is that of the checkpoint"),
        ("model.layers=9", "model: the network is that of the checkpoint"),
        ("records.worked=0", r"records\.worked = 0 must be at least 1"),
        ("records.work=9", "worked"),
        ("record.worked=9", "unknown field 'record'; did you mean 'records'"),
        ("training.step=9", "steps"),
    ],
)
def test_wrong_fields_are_one_line(override, message):
    with pytest.raises(ValueError, match=message):
        load_sft_recipe(find_recipe("worked", "sft"), [override])


def test_the_recipe_that_comes_with_ernest_names_tasks_of_the_world():
    counts, recipe = load_sft_recipe(find_recipe("worked", "sft"))
    assert counts == RecordCounts()
    assert recipe.mixture.keys() == {solutions.TASK, *TASKS}
