"""Gradients as one tensor, what a step leaves behind, and what it refuses."""

import pytest
import torch

from ernest.data.collate import collate
from ernest.training.distributed import sum_gradients
from ernest.training.loss import LossBalancer
from ernest.training.optimizer import make_optimizer, update
from ernest.training.schedule import ScheduleValues
from ernest.training.step import StepState, balance, step
from tests.small import CONFIG, documents, network, placed, recipe, tokenizers


def batch():
    return collate([[placed(document)] for document in documents()], 100, tokenizers())


def test_a_missing_gradient_is_named():
    model = network()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    model.bit_head.bias.grad = None
    with pytest.raises(RuntimeError, match=r"^bit_head\.bias has no gradient"):
        sum_gradients(model)


def test_gradients_are_views_of_what_comes_back():
    """So that clipping the one scales all; the norm that is told is the one before."""
    model = network()
    optimizer = make_optimizer(model, recipe().training)
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, number % 3 - 1.0)
    wanted = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    flat = sum_gradients(model)
    assert torch.equal(flat, wanted)
    held = [parameter.grad for parameter in model.parameters()]
    norm = update(optimizer, flat, rate=1e-3, clip=0.5)
    assert norm == pytest.approx(float(wanted.norm()))
    assert float(torch.cat([gradient.flatten() for gradient in held]).norm()) == pytest.approx(0.5, rel=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_step_learns_balances_and_observes():
    """Twelve steps on one batch: losses fall, the running means follow, and biases stay within their speed."""
    model = network(biased=False).train()
    config = recipe().training
    state = StepState(make_optimizer(model, config), LossBalancer({}), config.clip, bf16=False)
    told = [step(model, batch(), None, state, ScheduleValues(2e-3, 1e-3, 0.3)) for _ in range(12)]
    assert all(told[-1][name] < told[0][name] for name in ("text", "mtp", "vision", "audio"))
    assert told[0]["positions"] == int(batch().valid.sum())
    assert set(state.balancer.running) == {"text", "vision", "audio"}
    for block in model.backbone.blocks:
        assert 0 < block.moe.router.selection_bias.abs().max() <= 12e-3 + 1e-7


def test_each_router_is_moved_by_its_own_loads():
    model = network(biased=False)
    load = torch.zeros(CONFIG.layers, 2, CONFIG.experts)
    for layer in range(CONFIG.layers):
        load[layer, 0, layer] = 5.0  # chosen, where nothing was expected
        load[layer, 1, layer + 1] = 5.0
    balance(model, load, 0.25)
    for layer, block in enumerate(model.backbone.blocks):
        wanted = torch.zeros(CONFIG.experts)
        wanted[layer], wanted[layer + 1] = -0.25, 0.25
        assert torch.equal(block.moe.router.selection_bias, wanted)
