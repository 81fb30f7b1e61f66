"""Batch normalisation with the activation behind it as one compiled kernel each way, for trainings on a CPU.

It is the twin of `nn.BatchNorm2d` and an activation, which do the work everywhere else and say what is right. In a training of
PP-LCNet these wait for memory: here two passes over a map each way do, and of what they make nothing is kept for the way back.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ernest.lcnet.native import build
from ernest.lcnet.network import norm_and_activation, one_after_the_other

SOURCE = "normalise.cpp"
ACTIVATIONS: dict[type[nn.Module] | None, int] = {None: 0, nn.ReLU: 1, nn.Hardswish: 2}
"""As the kernel numbers them."""


@contextmanager
def fused_norms() -> Iterator[None]:
    """Within, PP-LCNet's norms take the kernel wherever that can do the work; its sums are rounded otherwise than PyTorch's."""
    before = norm_and_activation.set(_normalise)
    try:
        yield
    finally:
        norm_and_activation.reset(before)


def _normalise(x: Tensor, norm: nn.Module, activation: nn.Module | None = None) -> Tensor:
    if _fits(x, norm, activation):
        return _Normalise.apply(x, norm.weight, norm.bias, norm, ACTIVATIONS[type(activation) if activation else None])
    return one_after_the_other(x, norm, activation)


def _fits(x: Tensor, norm: nn.Module, activation: nn.Module | None) -> bool:
    """In training, with numbers that the kernel reads and channels innermost. What is wrong with a single place the norm says."""
    return (
        type(norm) is nn.BatchNorm2d
        and norm.training
        and all(one is not None for one in (norm.weight, norm.running_mean, norm.momentum))
        and norm.weight.dtype == torch.float32
        and (type(activation) if activation else None) in ACTIVATIONS
        and x.is_cpu
        and x.dtype in (torch.float32, torch.bfloat16)
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > x.shape[1]
        and _library() is not None
    )


@cache
def _library() -> ctypes.CDLL | None:
    try:
        return build.library(build.available()[0], SOURCE)
    except build.BuildError:
        return None


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d, activation: int) -> Tensor:
        y = torch.empty_like(x)
        mean, variance, deviation = weight.new_empty(3, len(weight))
        _call("normalise", x, activation, x, weight, bias, ctypes.c_float(norm.eps), y, mean, variance, deviation)
        _remember(norm, mean, variance, x.numel() // len(weight))
        ctx.save_for_backward(x, weight, bias, mean, deviation)
        ctx.activation = activation
        return y

    @staticmethod
    def backward(ctx: Any, y_grad: Tensor):  # type: ignore[override]
        x, weight, bias, mean, deviation = ctx.saved_tensors
        x_grad, weight_grad, bias_grad = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
        y_grad = y_grad.contiguous(memory_format=torch.channels_last)
        _call("normalise_back", x, ctx.activation, x, y_grad, weight, bias, mean, deviation, x_grad, weight_grad, bias_grad)
        return x_grad, weight_grad, bias_grad, None, None


def _remember(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, places: int) -> None:
    """Moves the running statistics a step towards those of a batch, as BatchNorm2d does: with Bessel's correction."""
    kept, spread, count, momentum = norm.running_mean, norm.running_var, norm.num_batches_tracked, norm.momentum
    assert kept is not None
    assert spread is not None
    assert count is not None
    assert momentum is not None
    count += 1
    kept.lerp_(mean, momentum)
    spread.lerp_(variance * (places / (places - 1)), momentum)


def _call(name: str, x: Tensor, activation: int, *arguments: "Tensor | ctypes.c_float") -> None:
    """Runs a kernel on maps like `x`, whose tensors outlive the call."""
    channels = x.shape[1]
    sizes = (torch.get_num_threads(), int(x.dtype == torch.bfloat16), x.numel() // channels, channels, activation)
    values = [ctypes.c_void_p(one.data_ptr()) if isinstance(one, Tensor) else one for one in arguments]
    getattr(_library(), name)(*map(ctypes.c_int64, sizes), *values)
