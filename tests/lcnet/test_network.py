"""PP-LCNet against the numbers of its paper."""

import pytest
import torch
from torch import nn

from ernest.lcnet.network import SCALES, Architecture, PPLCNet, published_parameters, small_images

PARAMETERS = (1_521_184, 1_643_090, 1_879_576, 2_357_008, 2_952_520, 4_499_832, 6_521_512, 9_017_560)
PUBLISHED = (1.5, 1.6, 1.9, 2.4, 3.0, 4.5, 6.5, 9.0)
"""Millions, arXiv 2109.15099, Table 2."""


@pytest.mark.parametrize(("scale", "parameters", "published"), list(zip(SCALES, PARAMETERS, PUBLISHED, strict=True)))
def test_parameters_are_those_of_the_paper(scale: float, parameters: int, published: float) -> None:
    with torch.device("meta"):
        network = PPLCNet(Architecture(scale=scale))
    assert sum(p.numel() for p in network.parameters()) == parameters
    # The paper's column counts the running statistics of batch normalisation too.
    assert abs(published_parameters(network) / 1e6 - published) <= 0.051


def test_multiply_adds_of_scale_one() -> None:
    total = 0

    def count(module: nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        total += out[0].numel() * weight[0].numel() if isinstance(module, nn.Conv2d) else weight.numel()

    with torch.device("meta"):
        network = PPLCNet(Architecture()).eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(count)
        network(torch.zeros(1, 3, 224, 224))
    assert round(total / 1e6, 3) == 155.700


@pytest.mark.parametrize("size", [(224, 224), (80, 160), (33, 47)])
def test_feature_maps_have_the_stated_channels_and_strides(size: tuple[int, int]) -> None:
    network = PPLCNet(Architecture(scale=0.25)).eval()
    maps = network.features(torch.zeros(1, 3, *size))
    assert tuple(m.shape[1] for m in maps) == network.feature_channels
    for stride, one in zip((2, 4, 8, 16, 32), maps, strict=True):
        assert one.shape[2:] == tuple(-(-side // stride) for side in size)


def test_strides_are_data_and_may_differ_by_direction() -> None:
    network = PPLCNet(Architecture(scale=0.25, strides=(2, (2, 1), (2, 1), (2, 1), (2, 1), (2, 1)))).eval()
    assert network.features(torch.zeros(1, 3, 80, 160))[-1].shape[2:] == (2, 80)
    with pytest.raises(ValueError, match="strides: expected one for the stem and one for each of the 5 stages"):
        Architecture(strides=(2, 2))


def test_small_images_keep_a_map_of_four_by_four() -> None:
    network = PPLCNet(small_images(classes=10)).eval()
    images = torch.rand(3, 3, 32, 32)
    assert network.features(images)[-1].shape[2:] == (4, 4)
    assert network(images).shape == (3, 10)


def test_two_networks_share_nothing() -> None:
    first, second = PPLCNet(small_images(10)), PPLCNet(Architecture(scale=0.25))
    pointers = {p.data_ptr() for p in first.parameters()}
    assert pointers.isdisjoint(p.data_ptr() for p in second.parameters())
