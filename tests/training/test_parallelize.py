"""A network whose activations are checkpointed computes the same numbers and keeps less."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from ernest.config.parallel import ParallelConfig
from ernest.data.collate import collate
from ernest.device import autocast
from ernest.model.submodel import draw, stack
from ernest.training.loss import LossBalancer, combine, loss_sums
from ernest.training.parallelize import parallelize
from tests.small import CONFIG, LEVELS, OFTEN_SMALLER, documents, network, placed, tokenizers


def taken(checkpointed: bool, bf16: bool):
    """Gradients by name, the routers' loads and the bytes kept of one forward and backward pass of all kinds of documents, in
    full rows and rows of sub-models."""
    model = parallelize(network().train(), ParallelConfig(checkpoint_activations=checkpointed))
    rows = [[placed(document)] for document in documents()]
    submodels = stack([draw(CONFIG, LEVELS, OFTEN_SMALLER, np.random.default_rng(row)) for row in range(len(rows))], CONFIG)
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with saved_tensors_hooks(keep, lambda x: x), autocast(enabled=bf16):
        batch = collate(rows, 100, tokenizers())
        predictions = model(batch, submodels)
        loss = combine(*loss_sums(predictions, batch), LossBalancer({}), 0.3)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return gradients, predictions.router_output.load, sum(kept.values())


@pytest.mark.parametrize("bf16", [False, True])
def test_checkpointing_changes_no_bit_and_keeps_less(bf16):
    gradients, load, kept = taken(False, bf16)
    again, load_again, kept_again = taken(True, bf16)
    assert gradients.keys() == again.keys()
    for name, gradient in gradients.items():
        assert torch.equal(gradient, again[name]), name
    assert torch.equal(load, load_again)
    assert kept_again < 0.6 * kept


def test_nothing_asked_is_nothing_done():
    model = network()
    assert parallelize(model, ParallelConfig()) is model
    assert all("forward" not in vars(block) for block in model.backbone.blocks)
    parallelize(model, replace(ParallelConfig(), checkpoint_activations=True))
    assert all("forward" in vars(block) for block in model.backbone.blocks)
