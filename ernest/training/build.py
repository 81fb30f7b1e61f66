"""Builds the network of a run with random weights: of one that lies in parts each process makes its own, to the same bits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ernest.config.parallel import ParallelConfig
from ernest.config.tables import ModelConfig
from ernest.config.tokenizer_spec import TokenizerSpec
from ernest.device import HOST, without_weights
from ernest.model.network import Ernest
from ernest.training.parallelize import parallelize
from ernest.training.parts import Part, tensor_name
from ernest.training.sharding import parts_of


def build_network(config: ModelConfig, spec: TokenizerSpec, parallel: ParallelConfig, device: str = HOST) -> Ernest:
    """A network to be trained, as `parallel` deals it out, with the weights that one process draws at the same seed.

    Beside its own part a process has one whole tensor at a time in memory, of which it keeps what is its own.
    """
    if parallel.keeps_whole:
        return parallelize(Ernest(config, spec).train(), parallel)
    with without_weights():
        model = Ernest(config, spec)
    parallelize(model.train(), parallel, device)
    model.to_empty(device=device)
    known = {name: id(parameter) for name, parameter in model.named_parameters()}
    own: dict[int, list[Part]] = {}
    for piece, part in parts_of(model, model.named_parameters()).items():
        own.setdefault(known[tensor_name(piece)], []).append(part)
    with _DrawWhole(own):
        model.init_weights()
    return model


DRAWS: tuple[Callable[..., Tensor], ...] = (
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.kaiming_uniform_,
    Tensor.normal_,
    Tensor.uniform_,
)


class _DrawWhole(TorchFunctionMode):
    """Draws that fill a tensor are made whole, since what a generator gives next depends on how much it is asked for; `parts` by
    the identity of their tensors."""

    def __init__(self, parts: Mapping[int, Sequence[Part]]) -> None:
        super().__init__()
        self.parts = parts

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        filled = args[0] if args else kwargs.get("tensor")
        parts = self.parts.get(id(filled)) if func in DRAWS else None
        if parts is None:
            return func(*args, **kwargs)
        own = parts[0].own
        whole = torch.empty(parts[0].place.shape, dtype=own.dtype, device=own.device)
        func(whole, *args[1:], **{name: value for name, value in kwargs.items() if name != "tensor"})
        with torch.no_grad():
            for part in parts:
                part.own.copy_(whole[part.place.slices()])
        return filled
