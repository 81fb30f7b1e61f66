"""The deployed form gives the same outputs as the trained one."""

import pytest
import torch
from torch import nn

from ernest.lcnet import PUBLISHED, Architecture, PPLCNet, fold, small_images
from ernest.lcnet.network import ParallelDepthwise


def trained_a_little(architecture: Architecture) -> PPLCNet:
    """A network whose normalisation has seen pictures and has something to say about them, with logits of order one."""
    torch.manual_seed(0)
    network = PPLCNet(architecture)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.7, 1.3)
        nn.init.uniform_(norm.bias, -0.1, 0.1)
        norm.momentum = None
    nn.init.normal_(network.head.classifier.weight, std=0.5)
    with torch.no_grad():
        network.train()(torch.randn(4, architecture.in_channels, 64, 64))
        for norm in norms:
            norm.running_var.mul_(1.1).add_(1e-4)
    return network.eval()


@pytest.mark.parametrize("name", PUBLISHED)
def test_folding_changes_no_output(name: str) -> None:
    """Exactly in double precision; in single, to 2e-4 of the largest logit, which round-off in a deep network can reach."""
    network = trained_a_little(PUBLISHED[name])
    images = torch.randn(2, 3, 64, 64)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    deployed = fold(network)
    with torch.no_grad():
        expected, found = network(images), deployed(images)
        assert (expected[0] - expected[1]).abs().max() > 0.01
        assert (found - expected).abs().max() <= 2e-4 * expected.abs().max().clamp(min=1)
        wide, deep = network.double(), images.double()
        assert (fold(wide)(deep) - wide(deep)).abs().max() <= 1e-11
        network.float()
        for one, other in zip(deployed.features(images), network.features(images), strict=True):
            assert torch.allclose(one, other, atol=1e-3, rtol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d | ParallelDepthwise) for module in deployed.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_folding_draws_no_random_numbers_and_may_be_repeated() -> None:
    network = trained_a_little(small_images(classes=10))
    state = torch.get_rng_state()
    twice = fold(fold(network))
    assert torch.equal(state, torch.get_rng_state())
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(twice(images), network(images), atol=1e-4)
