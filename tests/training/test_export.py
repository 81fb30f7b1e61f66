"""The state of a run under way becomes the folder of a model; at the end of a training it is the run's own."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from ernest.checkpoint import load_learnt, load_model
from ernest.config.recipe import to_tree
from ernest.storage import save_tensors
from ernest.training.export import export_checkpoint
from ernest.training.loop import train
from ernest.training.run_settings import START
from tests.small import network, recipe, tokenizers


def test_a_state_becomes_a_checkpoint(examples_folder, store, tmp_path):
    """Of a run whose rows grow before its last step: the model knows prompts as long as the longest."""
    settings, run = recipe(rows=2, steps=2, decay_share=0.5), tmp_path / "run"
    settings = replace(settings, sequence=replace(settings.sequence, grows_to=(240,)))
    shutil.copytree(examples_folder, run / "examples")
    tokenizers().save(run / "tokenizers")
    (run / "recipe.json").write_text(json.dumps(to_tree(settings)))
    with pytest.raises(ValueError, match=r"run holds no state of a training"):
        export_checkpoint(run, tmp_path / "model")
    trained = train(settings, store, tokenizers(), run)
    assert export_checkpoint(run, tmp_path / "model") == 2
    model, brought = load_model(tmp_path / "model")
    assert brought.text.merges == tokenizers().text.merges
    assert load_learnt(tmp_path / "model").positions == 240
    for name, value in trained.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_a_state_of_adapters_becomes_a_checkpoint_of_all_weights(examples_folder, store, tmp_path):
    settings, run = recipe(rows=1, steps=2), tmp_path / "run"
    settings = replace(settings, training=replace(settings.training, adapter_rank=2, bias_speed=0.0))
    shutil.copytree(examples_folder, run / "examples")
    tokenizers().save(run / "tokenizers")
    (run / "recipe.json").write_text(json.dumps(to_tree(settings)))
    begin_with = run / START / "model.safetensors"
    begin_with.parent.mkdir()
    torch.manual_seed(5)
    save_tensors(begin_with, network().state_dict())
    trained = train(settings, store, tokenizers(), run, begin_with=begin_with)
    assert export_checkpoint(run, tmp_path / "model") == 2
    model, _ = load_model(tmp_path / "model")
    for name, value in trained.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
