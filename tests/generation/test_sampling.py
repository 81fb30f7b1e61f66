"""Choices from logits."""

import pytest
import torch

from ernest.generation.sampling import Sampling, apply_cfg, at_frame, choose_bits, choose_class


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def shares(p: list[float], sampling: Sampling, draws: int = 20_000) -> torch.Tensor:
    logits = torch.tensor(p).log().expand(draws, -1)
    return torch.bincount(choose_class(logits, sampling, generator()), minlength=len(p)) / draws


def test_classes_come_as_often_as_their_probability():
    torch.testing.assert_close(shares([0.5, 0.3, 0.2], Sampling()), torch.tensor([0.5, 0.3, 0.2]), atol=0.015, rtol=0)


def test_temperature_sharpens():
    sharp = torch.tensor([0.25, 0.09, 0.04]) / 0.38
    torch.testing.assert_close(shares([0.5, 0.3, 0.2], Sampling(temperature=0.5)), sharp, atol=0.015, rtol=0)
    assert shares([0.2, 0.5, 0.3], Sampling(temperature=0.0)).tolist() == [0, 1, 0]


@pytest.mark.parametrize(("top_p", "kept"), [(0.45, 1), (0.6, 2), (0.79, 2), (0.95, 3), (1.0, 4)])
def test_top_p_keeps_the_fewest_that_hold_the_share(top_p, kept):
    found = shares([0.04, 0.5, 0.16, 0.3], Sampling(top_p=top_p))
    order = [1, 3, 2, 0]
    assert (found > 0)[order].tolist() == [rank < kept for rank in range(4)]


def test_bits():
    logits = torch.tensor([2.0, -1.0, 0.5, -3.0]).expand(20_000, 4)
    often = choose_bits(logits, Sampling(), generator()).float().mean(0)
    torch.testing.assert_close(often, torch.sigmoid(logits[0]), atol=0.015, rtol=0)
    assert torch.equal(choose_bits(logits, Sampling(temperature=0.0), generator()), logits > 0)
    settled = choose_bits(logits, Sampling(top_p=0.85), generator()).float().mean(0)
    assert settled[[0, 3]].tolist() == [1.0, 0.0]
    assert (settled[[1, 2]] * (1 - settled[[1, 2]])).min() > 0.1


def test_guidance_pushes_away_from_the_free_half():
    logits = torch.tensor([[1.0, 2.0], [0.5, 3.0]])
    assert apply_cfg(logits, Sampling(guidance=2.0)).tolist() == [[2.0, 0.0]]
    assert apply_cfg(logits, Sampling()) is logits


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", -0.1), ("top_p", 0.0), ("top_p", 1.1), ("guidance", -1.0)]
)  # fmt: skip
def test_settings_out_of_range_are_named(field, value):
    with pytest.raises(ValueError, match=f"{field} = {value}"):
        Sampling(**{field: value})


def test_the_opening_temperature_is_for_the_first_frame_alone():
    sampling = Sampling(temperature=0.5, first_frame_temperature=1.2)
    assert at_frame(sampling, 0).temperature == 1.2
    assert at_frame(sampling, 1) is sampling
    assert at_frame(Sampling(temperature=0.5), 0).temperature == 0.5
    with pytest.raises(ValueError, match="first_frame_temperature = -1"):
        Sampling(first_frame_temperature=-1)
