"""The int8 form of the native executor spelled out in torch: codes and their sums exactly, the rest in single precision."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.lcnet import PPLCNet, fold
from ernest.lcnet.network import SqueezeExcite


@dataclass(frozen=True)
class Form:
    """What differs between instruction sets: from how many inputs on a layer is in 8 bits, whether the other products are
    in bf16 (else in fp32), and whether pixels are quantised in the arithmetic of halves."""

    fewest: int
    bf16: bool
    halves: bool

    def narrow(self, x: Tensor) -> Tensor:
        return x.bfloat16().float() if self.bf16 else x

    def codes(self) -> Callable[[Tensor, float], tuple[Tensor, Tensor]]:
        return pixel_codes_in_halves if self.halves else pixel_codes


def emulated(network: PPLCNet, images: Tensor, form: Form) -> Tensor:
    """Logits."""
    deployed = fold(network)
    floor = floor_of(network.architecture.activation)
    with torch.no_grad():
        x = _half(_stem(deployed.stem, images, form))
        for stage in deployed.stages:
            for block in stage.children():
                out = x
                for layer in block.children():
                    out = _layer(layer, out, floor, form)
                x = _half(_half(out) + x) if block.shortcut else _half(out)
        x = x.mean((2, 3))
        if network.architecture.head_width:
            linear, activation = deployed.head.wide.children()
            x = activation(connected(x, linear.weight, linear.bias))
        return connected(x, deployed.head.classifier.weight, deployed.head.classifier.bias)


def _stem(stem: nn.Sequential, images: Tensor, form: Form) -> Tensor:
    """With tile registers it is a product in bf16 too, unless the images have more than four channels."""
    if not form.halves or images.shape[1] > 4:
        return stem(images)
    convolution, activation = stem
    weight = form.narrow(convolution.weight)
    return activation(F.conv2d(form.narrow(images), weight, convolution.bias, convolution.stride, convolution.padding))


def _layer(layer: nn.Module, x: Tensor, floor: float, form: Form) -> Tensor:
    if isinstance(layer, SqueezeExcite):
        reduce, relu, expand, gate = layer.gate
        weights = [convolution.weight.bfloat16().float() for convolution in (reduce, expand)]
        middle = relu(F.conv2d(form.narrow(x.mean((2, 3), keepdim=True)), weights[0], reduce.bias))
        return x * gate(F.conv2d(form.narrow(middle), weights[1], expand.bias))
    convolution, activation = layer.children()
    if convolution.groups > 1:
        return layer(x)
    if convolution.in_channels < form.fewest:
        return activation(F.conv2d(form.narrow(x), form.narrow(convolution.weight), convolution.bias))
    pixels = x.movedim(1, -1)
    codes, scale = form.codes()(pixels.reshape(-1, x.shape[1]), floor)
    y = product(codes, scale, convolution.weight.flatten(1), convolution.bias, floor)
    return activation(y.reshape(*pixels.shape[:-1], -1).movedim(-1, 1))


def floor_of(activation: str) -> float:
    return 0.375 if activation == "h-swish" else 0.0


def product(codes: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, floor: float) -> Tensor:
    """Coded pixels `[P, inputs]` times a matrix `[outputs, inputs]` plus bias, before the activation."""
    weights, unit = weight_codes(weight)
    sums = (codes.double() @ weights.double().T).float()
    return fused(sums * scale[:, None], unit, bias - floor * unit * weights.sum(1))


def pixel_codes(pixels: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Codes from 0 to 255 and the scale of every pixel `[P, inputs]`: pixels ~ scale * codes - floor."""
    span = (pixels.amax(1).clamp(min=0) + floor).clamp(min=1e-20)
    gain = torch.full_like(span, 255) / span  # torch's 255 / span multiplies by a reciprocal, which is rounded once more
    return fused(pixels, gain[:, None], (gain * floor)[:, None]).round(), span * torch.tensor(1 / 255)


def pixel_codes_in_halves(pixels: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """The same, where pixels, gains and products are halves."""
    pixels = _half(pixels)
    gain = _half((255 / (pixels.amax(1).clamp(min=0) + floor)).clamp(max=65504))
    values = _half(pixels.double() * gain[:, None].double() + _half(gain * floor)[:, None].double())
    return values.round().clamp(0, 255), 1 / gain


def weight_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes from -127 to 127 and the scale of every output."""
    unit = weight.abs().amax(1).clamp(min=1e-20) / 127
    return (weight / unit[:, None]).round(), unit


def connected(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Rows `[N, inputs]`, in codes of 16 bits between their least and largest value, times weights of 8 bits."""
    low = x.amin(1, keepdim=True)
    span = (x.amax(1, keepdim=True) - low).clamp(min=1e-20)
    codes = ((x - low) * (65535 / span)).round().clamp(0, 65535)
    weights, unit = weight_codes(weight)
    sums = (codes.double() @ weights.double().T).float()
    return sums * (span / 65535) * unit + unit * weights.sum(1) * low + (0 if bias is None else bias)


def fused(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """a * b + c, rounded once."""
    return (a.double() * b.double() + c.double()).float()


def _half(x: Tensor) -> Tensor:
    return x.half().float()
