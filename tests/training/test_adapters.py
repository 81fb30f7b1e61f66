"""Adapters of low rank: the right gradients, a change of that rank and of nothing else, and a run that goes on bit for bit."""

from dataclasses import replace

import pytest
import torch

from ernest.config.recipe import Recipe, SequenceConfig, TrainingConfig
from ernest.storage import load_tensors, save_tensors
from ernest.training.adapters import Adapters
from ernest.training.loop import train
from tests.small import CONFIG, network, tokenizers

RECIPE = Recipe(
    model=CONFIG,
    sequence=SequenceConfig(rows=2, length=120),
    training=TrainingConfig(steps=4, warmup=1, learning_rate=1e-2, save_every=2, show_every=0, adapter_rank=2, bias_speed=0.0),
)


def test_gradients_are_those_of_the_product():
    torch.manual_seed(0)
    model = network().train().requires_grad_(True)
    adapters = Adapters(model, 3)
    name = next(name for name in adapters.names if name.endswith("w_gate_up"))
    number = adapters.names.index(name)
    up, down = adapters.up[number], adapters.down[number]
    assert up.shape[-1] == down.shape[-2] == 3
    with torch.no_grad():
        up.normal_()
    wanted = torch.randn_like(model.get_parameter(name))
    ((adapters.get_buffer(f"base{number}") + up @ down) * wanted).sum().backward()
    expected = up.grad, down.grad
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model.get_parameter(name).grad = wanted
    adapters.take_gradients()
    assert up.grad is not None
    torch.testing.assert_close((up.grad, down.grad), expected)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.fixture
def start(tmp_path):
    torch.manual_seed(5)
    save_tensors(tmp_path / "start.safetensors", network().state_dict())
    return tmp_path / "start.safetensors"


def test_a_run_changes_matrices_by_a_low_rank_and_nothing_else(store, tmp_path, start):
    before = load_tensors(start)
    after = train(RECIPE, store, tokenizers(), tmp_path / "run", begin_with=start).state_dict()
    assert after.keys() == before.keys()
    changed = 0
    for name, weight in after.items():
        if torch.equal(weight, before[name]):
            continue
        changed += 1
        ranks = torch.linalg.matrix_rank((weight - before[name]).double(), rtol=1e-3)
        assert int(ranks.max()) <= 2, name
        assert "router" not in name
        assert name.startswith(("backbone.", "encoder."))
    assert changed > 10


def test_cut_and_resumed_is_bitwise_the_unbroken_run(store, tmp_path, start):
    whole = train(RECIPE, store, tokenizers(), tmp_path / "whole", begin_with=start).state_dict()

    def stop(step: int, *_: object) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, store, tokenizers(), tmp_path / "cut", on_step=stop, begin_with=start)
    assert (tmp_path / "cut/step-0000002").is_dir()
    resumed = train(RECIPE, store, tokenizers(), tmp_path / "cut", begin_with=start).state_dict()
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())


def test_all_weights_are_trained_without_a_rank(store, tmp_path, start):
    full = replace(RECIPE, training=replace(RECIPE.training, adapter_rank=0))
    before, after = load_tensors(start), train(full, store, tokenizers(), tmp_path / "run", begin_with=start).state_dict()
    assert not torch.equal(after["text_head.weight"], before["text_head.weight"])
