"""Says how many pictures a training step can take at once in a given memory."""

import torch
from torch import Tensor, nn

from ernest.lcnet.training.losses import Pair, student

FRACTION = 3
"""A training may take a third of the memory for what it keeps of the pictures of a step; pictures themselves take a quarter."""


def pictures_at_once(network: nn.Module, sides: tuple[int, int], channels: int, memory: int) -> int:
    """How many pictures can go through a training step together: each keeps what all layers make of it, and its gradient."""
    numbers = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal numbers
        numbers += output.numel() if isinstance(output, Tensor) else 0

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    training = network.training
    with torch.inference_mode():
        student(network.eval())(torch.zeros(1, channels, *sides))
    network.train(training)
    for hook in hooks:
        hook.remove()
    copies = 2 if isinstance(network, Pair) else 1
    return max(2, memory // FRACTION // (2 * 4 * copies * numbers))
