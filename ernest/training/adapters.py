"""Adapters of low rank (Hu et al. 2021): a checkpoint's matrices stay, and small factors of a change to each are learnt.

    W = W0 + up down,    dL/dup = dL/dW downᵀ,    dL/ddown = upᵀ dL/dW

The change is added to the network's own matrices after every step, so that everything else runs as ever; at the end of a
training nothing is left to merge.
"""

import math

import torch
from torch import nn

from ernest.model.network import Ernest


class Adapters(nn.Module):
    """Factors `up` `[..., rows, rank]` and `down` `[..., rank, columns]` for every matrix of the network's layers and of its
    encoder, each expert's included. Routers, embeddings, heads and norms stay as they are."""

    def __init__(self, network: Ernest, rank: int) -> None:
        super().__init__()
        self.network = network
        self.names = [name for name, weight in network.named_parameters() if weight.dim() >= 2 and _is_adapted(name)]
        self.up, self.down = nn.ParameterList(), nn.ParameterList()
        for number, name in enumerate(self.names):
            weight = network.get_parameter(name)
            *experts, rows, columns = weight.shape
            kept = min(rank, rows, columns)
            self.register_buffer(f"base{number}", weight.detach().clone())
            self.up.append(nn.Parameter(weight.new_zeros(*experts, rows, kept)))
            self.down.append(nn.Parameter(weight.new_empty(*experts, kept, columns).normal_(std=1 / math.sqrt(columns))))

    def trained(self) -> nn.Module:
        """The factors alone, for the optimizer."""
        return nn.ModuleList([self.up, self.down])

    def take_gradients(self) -> None:
        """Sets the gradients of the factors from those of the matrices, which are gone afterwards, as are all of the network."""
        for name, up, down in zip(self.names, self.up, self.down, strict=True):
            gradient = self.network.get_parameter(name).grad
            assert gradient is not None
            up.grad, down.grad = gradient @ down.detach().mT, up.detach().mT @ gradient
        self.network.zero_grad(set_to_none=True)

    @torch.no_grad()
    def apply_change(self) -> None:
        """Writes W0 + up down into the network."""
        for number, (name, up, down) in enumerate(zip(self.names, self.up, self.down, strict=True)):
            torch.add(self.get_buffer(f"base{number}"), up @ down, out=self.network.get_parameter(name).data)


def _is_adapted(name: str) -> bool:
    return name.startswith(("backbone.", "encoder.")) and "router" not in name
