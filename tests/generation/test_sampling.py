"""Choices from logits."""

import pytest
import torch
import torch.nn.functional as F

from ernest.generation.sampling import Draws, Sampling, Stream, apply_cfg, at_frame, choose_bits, choose_class
from ernest.model import decoding


def draws(sampling: Sampling, rows: int) -> Draws:
    return Draws([sampling] * rows, [Stream(0, row) for row in range(rows)])


def shares(p: list[float], sampling: Sampling, rows: int = 20_000) -> torch.Tensor:
    """Of the classes; a choice's log-probability is that of the share which its class should have."""
    classes, log_p = choose_class(torch.tensor(p).log().expand(rows, -1), draws(sampling, rows))
    found = torch.bincount(classes, minlength=len(p)) / rows
    torch.testing.assert_close(found[classes], log_p.exp(), atol=0.015, rtol=0)
    return found


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
    rows = 20_000
    logits = torch.tensor([2.0, -1.0, 0.5, -3.0]).expand(rows, 1, 4)
    bits, log_p = choose_bits(logits, draws(Sampling(), rows))
    torch.testing.assert_close(bits.float().mean((0, 1)), torch.sigmoid(logits[0, 0]), atol=0.015, rtol=0)
    expected = -F.binary_cross_entropy_with_logits(logits, bits.float(), reduction="none")
    torch.testing.assert_close(log_p, expected)
    greedy, log_p = choose_bits(logits, draws(Sampling(temperature=0.0), rows))
    assert torch.equal(greedy, logits > 0)
    assert not log_p.any()
    settled = choose_bits(logits, draws(Sampling(top_p=0.85), rows))[0].float().mean((0, 1))
    assert settled[[0, 3]].tolist() == [1.0, 0.0]
    assert (settled[[1, 2]] * (1 - settled[[1, 2]])).min() > 0.1


def test_rows_choose_by_samplings_of_their_own():
    samplings = [Sampling(temperature=0.0), Sampling(), Sampling(top_p=0.4), Sampling(temperature=0.1)] * 3000
    some = Draws(samplings, [Stream(5, row) for row in range(len(samplings))])
    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(len(samplings), -1)
    classes, log_p = choose_class(logits, some)
    for n in (0, 2):
        assert (classes[n::4] == 1).all()
        assert not log_p[n::4].any()
    found = torch.bincount(classes[1::4], minlength=3) / 3000
    torch.testing.assert_close(found, torch.tensor([0.2, 0.5, 0.3]), atol=0.03, rtol=0)
    assert (classes[3::4] == 1).float().mean() > 0.95


def test_a_stream_is_that_of_a_seed_and_a_sample_of_any_size():
    seeds = [0, 1, -1, 2**64, 10**40, -(10**40), (0, 1), (1, 0), (2, 3)]
    firsts = [Stream(seed, sample).random((1,))[0] for seed in seeds for sample in range(3)]
    assert len(set(firsts)) == 3 * len(seeds)
    assert Stream(10**40, 2).random((1,)) == Stream(10**40, 2).random((1,))


def test_guidance_pushes_away_from_the_free_half():
    own, free = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 3.0]])
    assert apply_cfg(own, free, draws(Sampling(guidance=2.0), 1)).tolist() == [[2.0, 0.0]]


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", -0.1), ("top_p", 0.0), ("top_p", 1.1), ("guidance", -1.0), ("temperature", float("nan"))]
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


@pytest.mark.skipif(decoding._library() is None, reason="no C++ compiler")
def test_a_kernel_chooses_as_pytorch_does(monkeypatch):
    logits = torch.randn(400, 37, generator=torch.Generator().manual_seed(0)) * 3
    logits[::3, 5:20] = -torch.inf
    samplings = [Sampling(t, p) for t in (0.0, 0.3, 1.0, 4.0) for p in (1.0, 0.9, 0.5, 0.01)] * 25
    by_kernel = choose_class(logits, Draws(samplings, [Stream(1, row) for row in range(400)]))
    own = decoding.log_probs(logits, by_kernel[0])
    monkeypatch.setattr(decoding, "_library", lambda: None)
    by_torch = choose_class(logits, Draws(samplings, [Stream(1, row) for row in range(400)]))
    assert torch.equal(by_kernel[0], by_torch[0])
    torch.testing.assert_close(by_kernel[1], by_torch[1])
    torch.testing.assert_close(own, decoding.log_probs(logits, by_torch[0]))
