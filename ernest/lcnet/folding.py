"""Folding for deployment: batch normalisation into the convolutions, parallel depthwise branches into one convolution."""

from copy import deepcopy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.lcnet.inference import without_helpers
from ernest.lcnet.network import ParallelDepthwise

Network = TypeVar("Network", bound=nn.Module)


@without_helpers()
def fold(network: Network) -> Network:
    """Returns a copy for inference with the same outputs to round-off and about half the operators; `network` is not changed.

    Every convolution with its batch normalisation becomes one convolution with a bias, with the running statistics of
    now; every group of parallel depthwise branches becomes one depthwise convolution (PP-LCNetV2).
    """
    copy = deepcopy(network).eval().requires_grad_(False)
    _fold_inside(copy)
    return copy


def _fold_inside(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, ParallelDepthwise):
            setattr(module, name, nn.Sequential(_merged(child), child.activation))
        elif isinstance(child, nn.Sequential) and len(child) > 1 and isinstance(child[1], nn.BatchNorm2d):
            setattr(module, name, nn.Sequential(_convolution(*_together(child)), *list(child)[2:]))
        else:
            _fold_inside(child)


@torch.no_grad()
def _together(chain: nn.Module) -> tuple[nn.Conv2d, Tensor, Tensor]:
    """The convolution that a chain begins with, and the kernel and the bias that it has with its normalisation."""
    convolution, norm = chain.get_submodule("0"), chain.get_submodule("1")
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    if convolution.weight.is_meta:  # a network without values: to compute none, torch would import its compiler for seconds
        return convolution, convolution.weight, norm.bias
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    gain = norm.weight / torch.sqrt(variance + norm.eps)
    return convolution, convolution.weight * gain[:, None, None, None], norm.bias - mean * gain


def _merged(branches: ParallelDepthwise) -> nn.Conv2d:
    """The sum of depthwise convolutions of different sides: kernels padded with zeros to the largest, and added."""
    first, weight, bias = _together(branches.branches[0])
    side = first.kernel_size[0]
    for branch in () if weight.is_meta else branches.branches[1:]:
        other, kernel, shift = _together(branch)
        weight = weight + F.pad(kernel, [(side - other.kernel_size[0]) // 2] * 4)
        bias = bias + shift
    return _convolution(first, weight, bias)


def _convolution(like: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution of the same kind with these values."""
    convolution = deepcopy(like)
    convolution.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    convolution.bias = nn.Parameter(bias, requires_grad=False)
    return convolution
