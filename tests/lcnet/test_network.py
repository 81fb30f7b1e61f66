"""PP-LCNet as a network: features, strides, sizes, colours, and nothing shared."""

import threading
from dataclasses import replace

import pytest
import torch

from ernest.lcnet import PUBLISHED, STRIDES_32, STRIDES_64, Architecture, Block, PPLCNet, small_images


@pytest.mark.parametrize("name", PUBLISHED)
def test_feature_maps_have_the_stated_channels_and_strides(name: str) -> None:
    network = PPLCNet(replace(PUBLISHED[name], classes=2)).eval()
    with torch.no_grad():
        maps = network.features(torch.zeros(1, 3, 33, 47))
    assert tuple(one.shape[1] for one in maps) == network.feature_channels
    for stride, one in zip((2, 4, 8, 16, 32), maps, strict=True):
        assert one.shape[2:] == (-(-33 // stride), -(-47 // stride))


def test_channels_are_multiples_of_eight_and_never_a_tenth_too_few() -> None:
    assert PPLCNet(Architecture(scale=0.25)).feature_channels == (8, 16, 32, 64, 128)
    assert PPLCNet(Architecture(scale=0.35)).feature_channels == (16, 24, 48, 88, 176)


def test_strides_are_data_and_may_differ_by_direction() -> None:
    network = PPLCNet(Architecture(scale=0.25, strides=(2, (2, 1), (2, 1), (2, 1), (2, 1), (2, 1)))).eval()
    assert network.features(torch.zeros(1, 3, 80, 160))[-1].shape[2:] == (2, 80)
    for wrong in ((2, 2), (2, 1, 2, 2, 2, 0)):
        with pytest.raises(ValueError, match="strides: expected one for the stem and one for each of the 5 stages"):
            Architecture(strides=wrong)


@pytest.mark.parametrize(("strides", "side"), [(STRIDES_32, 32), (STRIDES_64, 64)])
def test_presets_keep_a_map_of_four_by_four(strides: tuple, side: int) -> None:
    network = PPLCNet(Architecture(scale=0.25, strides=strides, in_channels=1, classes=10)).eval()
    assert network.features(torch.zeros(1, 1, side, side))[-1].shape[2:] == (4, 4)


def test_small_images_keep_a_map_of_four_by_four() -> None:
    network = PPLCNet(small_images(classes=10)).eval()
    images = torch.rand(3, 3, 32, 32)
    assert network.features(images)[-1].shape[2:] == (4, 4)
    assert network(images).shape == (3, 10)


def test_the_names_of_small_judges_stay() -> None:
    names = set(PPLCNet(small_images(classes=10)).state_dict())
    assert {"stem.0.weight", "stem.1.running_var", "stages.0.0.0.0.weight", "stages.3.1.1.gate.0.bias"} <= names
    assert {"stages.3.1.1.gate.2.weight", "stages.4.0.2.0.weight", "head.classifier.bias"} <= names
    assert len(names) == 112


def test_two_networks_share_nothing() -> None:
    """Building one network, with whatever strides, changes no other: PaddleClas edits its table in place."""
    torch.manual_seed(0)
    first = PPLCNet(Architecture(scale=0.25)).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = first(images)
        second = PPLCNet(Architecture(scale=0.25, strides=(2, (2, 1), (2, 1), (2, 1), (2, 1), (2, 1)))).eval()
        second(images)
        assert torch.equal(first(images), before)
    pointers = {p.data_ptr() for p in first.parameters()}
    assert pointers.isdisjoint(p.data_ptr() for p in second.parameters())
    assert PPLCNet(Architecture(scale=0.25)).architecture.strides == (2, 1, 2, 2, 2, 2)
    with pytest.raises(TypeError):
        PUBLISHED["PPLCNet_x1_0"] = Architecture()


def test_two_threads_disturb_no_output() -> None:
    torch.manual_seed(0)
    network = PPLCNet(Architecture(scale=0.25, classes=4)).eval()
    images = [torch.rand(1, 3, 32 + 8 * (i % 5), 40) for i in range(20)]
    with torch.no_grad():
        expected = [network(image) for image in images]
    found: dict[tuple[int, int], torch.Tensor] = {}

    def classify(thread: int) -> None:
        with torch.no_grad():
            for number, image in enumerate(images):
                found[thread, number] = network(image)

    threads = [threading.Thread(target=classify, args=(thread,)) for thread in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[thread, number], expected[number]) for thread in range(2) for number in range(20))


def test_every_parameter_learns_in_both_versions() -> None:
    for name in ("PPLCNet_x0_25", "PPLCNetV2_small"):
        network = PPLCNet(replace(PUBLISHED[name], classes=3))
        network(torch.rand(4, 3, 64, 64)).square().sum().backward()
        assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("classes", 0), ("scale", -1.0), ("stem", 0), ("in_channels", 0), ("head_width", -1), ("dropout", 1.0)],
        *[("activation", "tanh"), ("gate", "softmax")],
    ],
)
def test_what_makes_no_network_is_told_by_its_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .*, got {value}"):
        Architecture(**{field: value})


def test_wrong_blocks_and_images_are_told() -> None:
    with pytest.raises(ValueError, match="kernel: expected an odd side, got 4"):
        Block(4, 8)
    with pytest.raises(ValueError, match="channels: expected a positive number, got 0"):
        Block(3, 0)
    network = PPLCNet(small_images(classes=2))
    with pytest.raises(ValueError, match=r"images: expected \[N, 3, H, W\], got \[2, 1, 32, 32\]"):
        network(torch.zeros(2, 1, 32, 32))
