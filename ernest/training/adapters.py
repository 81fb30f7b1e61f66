"""Adapters of low rank (Hu et al. 2021): a checkpoint's matrices stay, and small factors of a change to each are learnt.

    W = W0 + up down,    dL/dup = dL/dW downᵀ,    dL/ddown = upᵀ dL/dW

The change is added to the network's own matrices after every step, so that everything else runs as ever; at the end of a
training nothing is left to merge.
"""

import math
from functools import partial

import torch
from torch import Tensor, nn

from ernest.config.recipe import Recipe
from ernest.config.tokenizer_spec import TokenizerSpec
from ernest.model.network import Ernest


class Adapters:
    """Factors `up` `[..., rows, rank]` and `down` `[..., rank, columns]` for every matrix of the network's layers and of its
    encoder, each expert's included. Routers, embeddings, heads and norms stay as they are.

    `factors` is what an optimizer trains, processes sum gradients of, and a run keeps; the gradient of a matrix is gone as soon
    as theirs is known.
    """

    def __init__(self, network: Ernest, rank: int) -> None:
        self.matrices = adapted_matrices(network)
        self.base = [weight.detach().clone() for weight in self.matrices.values()]
        self.up, self.down = nn.ParameterList(), nn.ParameterList()
        network.requires_grad_(False)
        for weight in self.matrices.values():
            *experts, rows, columns = weight.shape
            kept = min(rank, rows, columns)
            self.up.append(nn.Parameter(weight.new_zeros(*experts, rows, kept)))
            self.down.append(nn.Parameter(weight.new_empty(*experts, kept, columns).normal_(std=1 / math.sqrt(columns))))
            weight.requires_grad_(True).register_post_accumulate_grad_hook(partial(_pass_on, self.up[-1], self.down[-1]))
        self.factors = nn.ModuleDict({"up": self.up, "down": self.down})

    @torch.no_grad()
    def apply_change(self) -> None:
        """Writes W0 + up down into the network."""
        for weight, base, up, down in zip(self.matrices.values(), self.base, self.up, self.down, strict=True):
            torch.add(base, up @ down, out=weight)


def adapted_matrices(network: Ernest) -> dict[str, nn.Parameter]:
    """The matrices that adapters change, by name."""
    return {
        name: weight
        for name, weight in network.named_parameters()
        if weight.dim() >= 2 and name.startswith(("backbone.", "encoder.")) and "router" not in name
    }


def factor_count(recipe: Recipe, spec: TokenizerSpec) -> int:
    """Numbers in the factors of a recipe's adapters."""
    with torch.device("meta"):
        shapes = [weight.shape for weight in adapted_matrices(Ernest(recipe.model, spec)).values()]
    rank = recipe.training.adapter_rank
    return sum(math.prod(experts) * min(rank, rows, columns) * (rows + columns) for *experts, rows, columns in shapes)


def _pass_on(up: nn.Parameter, down: nn.Parameter, weight: Tensor) -> None:
    """Adds the gradient of a matrix to those of its factors."""
    gradient = weight.grad
    assert gradient is not None
    for factor, part in ((up, gradient @ down.detach().mT), (down, up.detach().mT @ gradient)):
        factor.grad = part if factor.grad is None else factor.grad + part
    weight.grad = None
