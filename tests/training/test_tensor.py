"""What the processes of a tensor mesh compute of a block adds up to what one process computes, and so do its gradients."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ernest.config.parallel import ParallelConfig
from ernest.device import autocast
from ernest.model.attention import visible
from ernest.model.backbone import Block
from ernest.sequence.positions import rotary_angles
from ernest.training import loop, makers
from ernest.training.cuts import held_parameters
from ernest.training.parallelize import parallelize
from ernest.training.sharding import parts_of
from tests.small import CONFIG, network, recipe, tokenizers
from tests.training.test_build import one_of

ROWS, LENGTH = 2, 24
BARS = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 3e-2}


def attend(block: Block, x: Tensor) -> Tensor:
    position = torch.arange(LENGTH).expand(ROWS, LENGTH)
    angles = rotary_angles(position[..., None].expand(-1, -1, 3), CONFIG.head_dim, CONFIG.rope_base, x.dtype)
    return block.attention(x, angles, visible(position // 10, position, x))


def choose(block: Block, x: Tensor) -> Tensor:
    return block.moe(x.flatten(0, 1))[0]


def results(part: Callable[[Block, Tensor], Tensor], block: Block, kind: str) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The output, and gradients of the input and of all parameters by name."""
    torch.manual_seed(1)
    x = torch.randn(ROWS, LENGTH, CONFIG.width, dtype=block.moe_norm.weight.dtype).requires_grad_()
    with autocast(enabled=kind == "bfloat16"):
        y = part(block, x)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    assert x.grad is not None
    return y.detach(), x.grad, {name: own.grad for name, own in block.named_parameters() if own.grad is not None}


@pytest.mark.parametrize("kind", BARS)
@pytest.mark.parametrize("part", [attend, choose])
def test_parts_add_up_to_the_whole(part, kind):
    """No process being there but this one, what it would have from others is left out of its sums."""
    dtype = torch.float64 if kind == "float64" else torch.float32
    y, x_grad, grads = results(part, network().to(dtype).train().backbone.blocks[1], kind)
    y_sum, x_sum, sums = (
        torch.zeros_like(y),
        torch.zeros_like(x_grad),
        {name: torch.zeros_like(one) for name, one in grads.items()},
    )
    for rank in range(2):
        with one_of(rank, 2):
            model = parallelize(network().to(dtype).train(), ParallelConfig(tensor=2))
            block = model.backbone.blocks[1]
            assert isinstance(block, Block)
            own_y, own_x, own_grads = results(part, block, kind)
            for piece, held in parts_of(block, own_grads.items()).items():
                sums[piece.partition("@")[0]][held.place.slices()] += held.own
        y_sum += own_y
        x_sum += own_x
    close(y_sum, y, BARS[kind])
    close(x_sum, x_grad, BARS[kind])
    for name, grad in grads.items():
        close(sums[name], grad, BARS[kind])


def close(found: Tensor, right: Tensor, bar: float) -> None:
    assert float((found - right).abs().max()) <= bar * float(right.abs().max())


def test_all_but_heads_and_hidden_columns_is_whole():
    with one_of(1, 2):
        model = parallelize(network(), ParallelConfig(tensor=2))
        held = held_parameters(model)
    names = {name.partition("blocks.")[2].partition(".")[2] or name for name in held}
    assert names == {"attention.qkv.weight", "attention.out.weight", "moe.w_gate_up", "moe.w_down"} | {
        f"mtp.block.{name}" for name in ("attention.qkv.weight", "attention.out.weight", "moe.w_gate_up", "moe.w_down")
    }
    whole = dict(network().named_parameters())
    for name, own in model.named_parameters():
        assert own.numel() * (2 if name in held else 1) == whole[name].numel()


@pytest.mark.parametrize(("rank", "rows"), [(1, (0, 2)), (2, (1, 2))])
def test_neighbours_take_the_same_rows(rank, rows, store, tmp_path, monkeypatch):
    asked = []

    def plan(*arguments):
        asked.append(arguments[-2:])
        raise InterruptedError

    monkeypatch.setattr(makers, "plan", plan)
    settings = replace(recipe(rows=2), parallel=ParallelConfig(replicate=2, tensor=2))
    with one_of(rank, 4), pytest.raises(InterruptedError):
        loop.train(settings, store, tokenizers(), tmp_path, rank, 4)
    assert asked == [rows]
