"""Rounding to E4M3 in blocks against a search through all its numbers, and products on what was rounded."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ernest.config.parallel import ParallelConfig
from ernest.model.fp8 import BLOCK, RoundedLinear, round_blocks, round_products, rounded
from ernest.training.loop import train
from tests.model.test_experts import loop, pool, tokens
from tests.small import network, recipe, tokenizers

NUMBERS = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).double()
NUMBERS = NUMBERS[NUMBERS.isfinite()]


def search(x: Tensor) -> Tensor:
    """How far each number of a block lies from the nearest that E4M3 holds, at the least power of two at which all fit."""
    exponent = next(n for n in range(-160, 140) if x.abs().max() <= 448 * 2.0**n)
    return (x.double()[:, None] - NUMBERS * 2.0**exponent).abs().amin(dim=1)


@given(st.lists(st.floats(-(2.0**30), 2.0**30, width=32), min_size=1, max_size=BLOCK), st.integers(-60, 60))
def test_every_number_becomes_the_nearest(values, exponent):
    x = torch.tensor(values) * 2.0**exponent
    x[x.abs() < 2.0**-100] = 0.0
    assert torch.equal((round_blocks(x).double() - x.double()).abs(), search(x))
    assert torch.equal(round_blocks(round_blocks(x)), round_blocks(x))


def test_edges():
    assert round_blocks(torch.tensor([448.0, 17.0, 0.0])).tolist() == [448.0, 16.0, 0.0]
    assert round_blocks(torch.tensor([449.0, 1.0])).tolist() == [448.0, 1.0]
    assert not round_blocks(torch.zeros(3, 40)).any()
    assert round_blocks(torch.tensor([2.0**-126, 2.0**-149])).tolist() == [2.0**-126, 0.0]
    assert round_blocks(torch.zeros(0, 40)).shape == (0, 40)


def test_blocks_have_scales_of_their_own_along_the_sum():
    """A large number harms those of its block alone, wherever the dimension is, and whatever the length."""
    x = torch.full((3, 2 * BLOCK + 5), 1.1e-3)
    x[:, BLOCK] = 1e6
    made = round_blocks(x)
    assert (made[:, :BLOCK] > 0).all()
    assert not made[:, BLOCK + 1 : 2 * BLOCK].any()
    assert (made[:, 2 * BLOCK :] > 0).all()
    assert torch.equal(round_blocks(x.T, 0), made.T)
    assert torch.equal(round_blocks(x.bfloat16()).float(), round_blocks(x.bfloat16().float()))  # bfloat16 holds what E4M3 does


def test_gradients_pass_straight_through_and_meet_what_was_multiplied():
    x, layer = tokens(7).requires_grad_(), RoundedLinear(32, 24, bias=False)
    layer(x).square().sum().backward()
    y = F.linear(round_blocks(x.detach()), round_blocks(layer.weight.detach()))
    assert torch.equal(x.grad, (2 * y) @ round_blocks(layer.weight.detach()))
    torch.testing.assert_close(layer.weight.grad, (2 * y).T @ round_blocks(x.detach()))


@pytest.mark.parametrize("grad", [True, False])
def test_experts_are_the_definition_on_rounded_operands(grad):
    experts, x = pool(), tokens()
    experts.operand = rounded
    gate, chosen = experts.router(x)
    with torch.set_grad_enabled(grad):
        y, _ = experts(x)
        inner = F.silu
    weights = round_blocks(experts.w_gate_up, 1), round_blocks(experts.w_down, 1)
    wanted = torch.zeros_like(x)
    for token in range(len(x)):
        for place, expert in enumerate(chosen[token].tolist()):
            a, b = (round_blocks(x[token]) @ weights[0][expert]).chunk(2)
            wanted[token] += round_blocks(inner(a) * b * gate[token, place]) @ weights[1][expert]
    torch.testing.assert_close(y, wanted, atol=1e-5, rtol=1e-4)
    assert (y - loop(x, gate, chosen, experts.w_gate_up, experts.w_down)).abs().max() > 1e-3


def test_without_rounding_the_path_of_rounded_experts_is_the_usual_one():
    plain, other, x = pool(), pool(), tokens()
    other.operand = lambda operand, dim: operand
    for experts in (plain, other):
        experts(x)[0].square().sum().backward()
    for (name, one), two in zip(plain.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, msg=name)


def test_a_network_keeps_its_names_and_rounds_its_trunk_alone():
    plain = network()
    made = copy.deepcopy(plain)
    round_products(made.backbone)
    assert {n: p.shape for n, p in made.state_dict().items()} == {n: p.shape for n, p in plain.state_dict().items()}
    changed = {name for name, part in made.named_modules() if isinstance(part, RoundedLinear)}
    assert changed == {f"backbone.blocks.{n}.attention.{part}" for n in range(6) for part in ("qkv", "out")}
    assert all(block.moe.operand is rounded for block in made.backbone.blocks)


@pytest.mark.parametrize("fp8", [False, True])
def test_a_run_rounds_where_the_recipe_says_so(fp8, store, tmp_path):
    made = train(recipe(rows=1, steps=1, fp8=fp8), store, tokenizers(), tmp_path)
    assert all(isinstance(block.attention.qkv, RoundedLinear) == fp8 for block in made.backbone.blocks)


def test_parts_of_matrices_are_not_rounded():
    with pytest.raises(ValueError, match=r"training\.fp8: blocks are rounded of whole matrices, and .*parallel\.shard = 2"):
        replace(recipe(fp8=True), parallel=ParallelConfig(shard=2))
