"""Both decoders on PP-LCNet: what they cost, sizes, folding, what they can see."""

from dataclasses import replace

import pytest
import torch

from ernest.lcnet import Architecture, cost, fold, parameters
from ernest.lcnet.heads import Segmenter, SegmenterArchitecture
from tests.lcnet.networks import with_statistics

COSTS = {
    ("deeplab", 0.5): (1_094_835, 1.09, 5.8),
    ("deeplab", 1.0): (2_177_763, 2.18, 7.2),
    ("liteseg", 0.5): (1_247_792, 1.25, 1.7),
    ("liteseg", 1.0): (2_570_592, 2.57, 3.7),
}
"""Parameters, the same in millions, and multiply-adds at 1024 x 512 (G), for the 19 classes of Cityscapes."""

DECODERS = ("deeplab", "liteseg")


def small(decoder: str, seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    architecture = SegmenterArchitecture(classes=3, backbone=Architecture(scale=0.25), decoder=decoder)
    return with_statistics(Segmenter(architecture), size=192)


@pytest.mark.parametrize(("decoder", "scale"), COSTS)
def test_both_decoders_cost_what_they_should(decoder: str, scale: float) -> None:
    segmenter = Segmenter(SegmenterArchitecture(backbone=Architecture(scale=scale), decoder=decoder))
    count = parameters(segmenter)
    found = (count, round(count / 1e6, 2), round(cost(segmenter, 512, 1024).multiply_adds / 1e9, 1))
    assert found == COSTS[decoder, scale]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("size", [(64, 64), (96, 160), (33, 47), (1, 100)])
def test_any_size_comes_out_as_it_went_in(decoder: str, size: tuple[int, int]) -> None:
    segmenter = small(decoder)
    with torch.no_grad():
        assert segmenter(torch.rand(2, 3, *size)).shape == (2, 3, *size)
    mask = segmenter.segment(torch.rand(2, 3, *size))
    assert mask.shape == (2, *size)
    assert mask.dtype == torch.int64


@pytest.mark.parametrize("decoder", DECODERS)
def test_padding_is_what_a_larger_picture_with_zeros_would_be(decoder: str) -> None:
    segmenter = small(decoder)
    whole = torch.zeros(1, 3, 64, 96)
    whole[..., :40, :70] = torch.randn(1, 3, 40, 70)
    with torch.no_grad():
        torch.testing.assert_close(segmenter(whole[..., :40, :70]), segmenter(whole)[..., :40, :70])


@pytest.mark.parametrize("decoder", DECODERS)
def test_folding_keeps_the_logits(decoder: str) -> None:
    segmenter = small(decoder, 1).double()
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        before, after = segmenter(images), fold(segmenter)(images)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fold(segmenter).modules())
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_parameter_learns(decoder: str) -> None:
    segmenter = small(decoder, 2).train()
    # Padding of the dilated kernels hides most of their weights on small maps: 18 cells and more need 608 pixels.
    segmenter(torch.rand(2, 3, 608, 608)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in segmenter.parameters())


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_class_can_depend_on_the_other_end_of_the_picture(decoder: str) -> None:
    """Both decoders pool the coarsest map as a whole; without that, context ends at the rim of the kernels."""
    segmenter = small(decoder, 3)
    images = torch.randn(1, 3, 64, 1024)
    other = images.clone()
    other[..., -64:] = 3 * torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert (segmenter(images) - segmenter(other))[..., :64].abs().max() > 1e-3


def test_what_makes_no_segmenter_is_told_by_its_field() -> None:
    architecture = SegmenterArchitecture()
    with pytest.raises(ValueError, match=r"classes: expected at least 2, .*, got 1"):
        replace(architecture, classes=1)
    with pytest.raises(ValueError, match="decoder: expected one of liteseg, deeplab, got unet"):
        replace(architecture, decoder="unet")
    with pytest.raises(ValueError, match="strides: expected feature maps at strides 2, 4, 8, 16, 32"):
        Segmenter(replace(architecture, backbone=Architecture(strides=(1, 1, 2, 2, 2, 2))))
    with pytest.raises(ValueError, match=r"images: expected \[N, 3, H, W\], got \[1, 4, 32, 32\]"):
        small("liteseg")(torch.zeros(1, 4, 32, 32))
