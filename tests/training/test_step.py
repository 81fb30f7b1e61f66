"""Gradients as one tensor, what a step leaves behind, and what it refuses."""

import pytest
import torch

from ernest.data.collate import collate
from ernest.training.distributed import gradient_norm, sum_gradients
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


@pytest.mark.parametrize("clip", [0.5, 1e9])
def test_an_update_is_adamws_own_with_gradients_clipped_before(clip):
    """The norm that is told is the one before; nothing of the gradients is left."""
    ours, theirs = network(), network()
    optimizer, plain = (make_optimizer(model, recipe().training) for model in (ours, theirs))
    for _ in range(3):
        for model in (ours, theirs):
            for number, parameter in enumerate(model.parameters()):
                parameter.grad = torch.full_like(parameter, number % 3 - 1.0)
        wanted = float(torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip))
        for group in plain.param_groups:
            group["lr"] = 1e-3
        plain.step()
        sum_gradients(ours)
        assert gradient_norm(ours) == pytest.approx(wanted)
        update(optimizer, gradient_norm(ours), rate=1e-3, clip=clip)
        assert all(parameter.grad is None for parameter in ours.parameters())
    for found, right in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-6)


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
