"""Uni-RoPE (rows 5a and 5b of the specification)."""

import pytest
import torch

from ernest.sequence.positions import rotary_angles, rotate
from tests.references.rotary import rotate_by_index


@pytest.mark.parametrize("head_dim", [16, 64, 128])
def test_text_alone_is_ordinary_rotary_embedding(head_dim):
    index = torch.arange(300)
    x = torch.randn(300, head_dim, generator=torch.Generator().manual_seed(0))
    turned = rotate(x, *rotary_angles(index[:, None].expand(-1, 3), head_dim, 1e6))
    assert (turned - rotate_by_index(x, index, 1e6)).abs().max() <= 1e-6


def test_time_takes_the_slow_pairs_and_the_plane_alternates():
    def moved(axis: int) -> list[int]:
        place = torch.zeros(1, 3)
        place[0, axis] = 1.0
        return (rotary_angles(place, 64, 1e6)[1][0] != 0).nonzero()[:, 0].tolist()

    assert moved(0) == list(range(22, 32))
    assert moved(1) == list(range(0, 22, 2))
    assert moved(2) == list(range(1, 22, 2))


@pytest.mark.parametrize("offset", [(37, 37, 37), (500.5, -3, 12)])
def test_products_depend_on_differences_of_places(offset):
    generator = torch.Generator().manual_seed(1)
    q, k = torch.randn(2, 50, 64, generator=generator)
    place = torch.randint(0, 60, (50, 3), generator=generator).double()

    def products(places):
        cos, sin = rotary_angles(places, 64, 1e6)
        return rotate(q, cos, sin) @ rotate(k, cos, sin).T

    assert (products(place) - products(place + torch.tensor(offset))).abs().max() <= 1e-4
    assert (products(place) - products(place * 2)).abs().max() > 1.0
