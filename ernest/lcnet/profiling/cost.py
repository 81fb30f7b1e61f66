"""Counts parameters and multiply-adds of a network, plainly and in the way of the published tables."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ernest.lcnet.network import Head, PPLCNet, SqueezeExcite


@dataclass(frozen=True)
class Cost:
    """Operations for one image: multiply-adds of convolutions and linear layers, and the cheaper operations around them.

    `normalised` counts the elements that batch normalisation writes, `pooled` the sums of global average pooling (one
    for each element and one division a channel), `biases` the additions of biases.
    """

    multiply_adds: int
    normalised: int
    pooled: int
    biases: int

    @property
    def published(self) -> int:
        """The column FLOPs of arXiv 2109.15099, Table 2: a multiply-add is one, a normalised element two."""
        return self.multiply_adds + 2 * self.normalised + self.pooled

    @property
    def paddle(self) -> int:
        """What `paddle.flops` prints today: no pooling, but the biases of squeeze-and-excite."""
        return self.multiply_adds + 2 * self.normalised + self.biases


def parameters(network: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def published_parameters(network: nn.Module) -> int:
    """Parameters as the published tables count them: with the running mean and variance of batch normalisation."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    return parameters(network) + sum(2 * norm.num_features for norm in norms)


def cost(network: nn.Module, height: int = 224, width: int = 224) -> Cost:
    """The cost of one image of this size in a PP-LCNet, or in a network built on one, counted by layer while a copy runs."""
    sums = dict.fromkeys(("multiply_adds", "normalised", "pooled", "biases"), 0)

    def count(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            sums["multiply_adds"] += out[0].numel() * module.weight[0].numel()
            sums["biases"] += out[0].numel() if isinstance(module, nn.Conv2d) and module.bias is not None else 0
        elif isinstance(module, nn.BatchNorm2d):
            sums["normalised"] += out[0].numel()
        elif isinstance(module, SqueezeExcite | Head):
            sums["pooled"] += inputs[0][0].numel() + inputs[0].shape[1]

    twin = deepcopy(network).eval()
    for module in twin.modules():
        module.register_forward_hook(count)
    channels = next(module.architecture.in_channels for module in twin.modules() if isinstance(module, PPLCNet))
    with torch.no_grad():
        twin(next(twin.parameters()).new_zeros(1, channels, height, width))
    return Cost(**sums)
