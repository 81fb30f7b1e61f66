"""Convolutions by kernels against PyTorch's in double precision: results and gradients, and the same bits in several threads."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.device import threads
from ernest.model import native
from ernest.model.convolution_native import convolve

pytestmark = pytest.mark.skipif(not (native.usable() and native.has_tiles()), reason="no tiles of bfloat16")

CASES = (
    (5, 48, 64, 8, False, False),
    (3, 16, 128, 4, True, False),
    (9, 64, 64, 8, True, True),
    (2, 32, 32, 5, True, True),
    (1, 64, 32, 20, False, True),
)
"""Images, inputs, outputs, side, whether silu comes first, whether something is added."""


def tensors(count: int, inputs: int, outputs: int, side: int, added: bool) -> list[Tensor]:
    """Images, matrix, bias, the residual, and the gradient of the result."""
    generator = torch.Generator().manual_seed(0)
    shapes = (count, inputs, side, side), (outputs, inputs, 3, 3), (outputs,), (count, outputs, side, side)
    x, weight, bias, residual = (torch.randn(shape, generator=generator) for shape in shapes)
    return [x, weight * inputs**-0.5, bias, *([residual] if added else []), torch.randn(shapes[-1], generator=generator)]


def through(kernels: bool, silu: bool, given: list[Tensor]) -> list[Tensor]:
    """The result, and the gradients of all that is given."""
    *leaves, grad = given
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    residual = leaves[3] if len(leaves) == 4 else None
    if kernels:
        with torch.autocast("cpu", torch.bfloat16):
            y = convolve(leaves[0], leaves[1], leaves[2], silu, residual)
        assert y is not None
    else:
        y = F.conv2d(F.silu(leaves[0]) if silu else leaves[0], leaves[1], leaves[2], padding=1)
        y = y if residual is None else y + residual
    y.backward(grad)
    return [y.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


@pytest.mark.parametrize(("count", "inputs", "outputs", "side", "silu", "added"), CASES)
def test_it_is_the_convolution_to_the_rounding_of_its_products(count, inputs, outputs, side, silu, added):
    given = tensors(count, inputs, outputs, side, added)
    wanted = through(False, silu, [one.double() for one in given])
    found = through(True, silu, given)
    assert len(found) == len(wanted) == 4 + added
    for number, (one, right) in enumerate(zip(found, wanted, strict=True)):
        assert (one - right).norm() <= 4e-3 * right.norm(), number


@pytest.mark.parametrize(("count", "inputs", "outputs", "side", "silu", "added"), CASES)
def test_several_threads_give_the_bits_of_one(count, inputs, outputs, side, silu, added):
    given = tensors(count, inputs, outputs, side, added)
    with threads(1):
        alone = through(True, silu, given)
    with threads(3):
        together = through(True, silu, given)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_what_it_cannot_take_is_left_to_others():
    x, weight, bias, _ = tensors(2, 32, 32, 4, False)
    x.requires_grad_()
    assert convolve(x, weight, bias, False, None) is None  # no products of bfloat16 are asked for
    with torch.autocast("cpu", torch.bfloat16):
        assert convolve(x, weight[:, :, :1, :1].contiguous(), bias, False, None) is None
        assert convolve(x, weight[:20], bias[:20], False, None) is None
        with torch.no_grad():
            assert convolve(x, weight, bias, False, None) is None
