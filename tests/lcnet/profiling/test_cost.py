"""Both PP-LCNets against the published numbers, and what the switches of the ablation cost."""

from dataclasses import replace

import pytest

from ernest.lcnet import PP_LCNET, PUBLISHED, Architecture, PPLCNet, cost, fold, parameters, published_parameters, rewire

FIRST = {
    "PPLCNet_x0_25": (1_521_184, 1.52, 16.773, 18.25, 18_235_056),
    "PPLCNet_x0_35": (1_643_090, 1.65, 27.358, 29.46, 29_434_978),
    "PPLCNet_x0_5": (1_879_576, 1.89, 44.731, 47.28, 47_252_832),
    "PPLCNet_x0_75": (2_357_008, 2.37, 94.786, 98.82, 98_769_936),
    "PPLCNet_x1_0": (2_952_520, 2.96, 155.700, 160.81, 160_744_128),
    "PPLCNet_x1_5": (4_499_832, 4.52, 334.188, 341.85, 341_753_888),
    "PPLCNet_x2_0": (6_521_512, 6.54, 580.195, 590.41, 590_282_112),
    "PPLCNet_x2_5": (9_017_560, 9.04, 893.720, 906.49, 906_328_800),
}
"""Parameters and the published column (M), multiply-adds and the published column (M), the count of `paddle.flops`."""

SECOND = {
    "PPLCNetV2_small": (4_128_552, 4_087_896, 280.3),
    "PPLCNetV2_base": (6_687_208, 6_616_104, 593.9),
    "PPLCNetV2_large": (10_542_120, 10_432_120, 1082.1),
}
"""Parameters as trained and as deployed, multiply-adds as deployed (M)."""


def test_eleven_networks_are_published() -> None:
    assert set(PUBLISHED) == {*FIRST, *SECOND}


@pytest.mark.parametrize("name", FIRST)
def test_the_first_version_costs_what_its_tables_say(name: str) -> None:
    network = PPLCNet(PUBLISHED[name])
    count = cost(network)
    found = (parameters(network), round(published_parameters(network) / 1e6, 2))
    found += (round(count.multiply_adds / 1e6, 3), round(count.published / 1e6, 2), count.paddle)
    assert found == FIRST[name]


@pytest.mark.parametrize("name", SECOND)
def test_the_second_version_costs_what_it_should_trained_and_deployed(name: str) -> None:
    network = PPLCNet(PUBLISHED[name])
    deployed = fold(network)
    assert (parameters(network), parameters(deployed), round(cost(deployed).multiply_adds / 1e6, 1)) == SECOND[name]


def test_the_switches_of_the_ablation() -> None:
    half = Architecture(scale=0.5)

    def size(**changes: object) -> int:
        return parameters(PPLCNet(replace(half, **changes)))

    everywhere, nowhere = [True] * 13, [False] * 13
    assert size(stages=rewire(PP_LCNET, squeeze=[False] * 11 + [True] * 2)) == size() == 1_879_576
    assert size(activation="relu") == size()
    assert round(size(head_width=0) / 1e6, 2) == 0.53
    # Two layers of a quarter of the width with biases: at x0.5 the last two blocks hold 128 and 256 channels.
    assert size() - size(stages=rewire(PP_LCNET, squeeze=nowhere)) == sum(2 * c * (c // 4) + c + c // 4 for c in (128, 256))
    assert size(stages=rewire(PP_LCNET, squeeze=everywhere)) > size()
    # 3x3 instead of 5x5 saves 16 weights a channel: five blocks of 128 (and one that widens it) and one of 256.
    assert size() - size(stages=rewire(PP_LCNET, kernels=[3] * 13)) == 16 * (6 * 128 + 256)
    assert size(head_bias=True) - size() == 1280
    with pytest.raises(ValueError, match="squeeze: expected one value for each of the 13 blocks, got 14"):
        rewire(PP_LCNET, squeeze=[True] * 14)


def test_the_count_follows_the_size_of_the_image() -> None:
    network = PPLCNet(Architecture(scale=0.25, head_width=0, classes=2))
    assert cost(network, 64, 96).multiply_adds == pytest.approx(1.5 * cost(network, 64, 64).multiply_adds, rel=0.01)
