"""Rounded counts leave results alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ernest.sequence.bucketing import BucketedLinear, pad_to_bucket, round_up


@given(st.integers(0, 10**6))
def test_rounding_up_wastes_a_quarter_at_most_beyond_the_grain(count):
    rounded = round_up(count)
    assert rounded >= count
    assert rounded % 16 == 0
    assert rounded - count < max(16, 0.25 * count + 1)
    assert round_up(rounded) == rounded


def test_few_shapes():
    assert len({round_up(count) for count in range(2049)}) <= 26


def test_filling_happens_in_training_alone():
    rows = torch.ones(17, 3, 2)
    assert pad_to_bucket(rows).shape == (32, 3, 2)
    assert pad_to_bucket(rows)[17:].abs().sum() == 0
    with torch.no_grad():
        assert pad_to_bucket(rows) is rows


def test_linear_layer_is_linear_with_the_same_gradients():
    torch.manual_seed(0)
    ours, theirs = BucketedLinear(8, 5), nn.Linear(8, 5)
    theirs.load_state_dict(ours.state_dict())
    for count in (0, 1, 16, 37):
        x = torch.randn(count, 8)
        results = []
        for layer in (ours, theirs):
            layer.zero_grad()
            at = x.clone().requires_grad_()
            y = layer(at)
            (y * torch.arange(5.0)).sum().backward()
            results.append((y.detach(), at.grad, layer.weight.grad, layer.bias.grad))
        for found, wanted in zip(*results, strict=True):
            torch.testing.assert_close(found, wanted)
