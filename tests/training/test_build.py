"""Each process makes its own part of a network, with the weights of one process and no more memory than that takes."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor.debug import _clear_sharding_prop_cache
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ernest.checkpoint import tokenizer_spec
from ernest.config.parallel import ParallelConfig
from ernest.model.network import Ernest
from ernest.training.build import build_network
from ernest.training.parts import tensor_name
from ernest.training.sharding import parts_of
from tests.small import CONFIG, tokenizers


@contextmanager
def one_of(rank: int, world: int) -> Iterator[None]:
    """As one of so many processes, none of the others being there: what they would send is made up."""
    dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()
        _clear_sharding_prop_cache()  # which remembers meshes as another process of this one had them


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside and live, and keeps the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and not tensor.is_meta and type(tensor) is torch.Tensor:
                storage = tensor.untyped_storage()
                if storage._cdata not in self.live and storage.nbytes():
                    self.live[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, self.live.pop, storage._cdata, None)
        self.most = max(self.most, sum(self.live.values()))
        return made


@pytest.mark.parametrize("mesh", [(1, 2, 1), (2, 1, 2), (2, 2, 2), (1, 1, 1, 2), (1, 3, 2, 2)])
def test_parts_are_those_of_one_process_to_the_bit(mesh):
    spec, parallel = tokenizer_spec(tokenizers()), ParallelConfig(*mesh)
    torch.manual_seed(3)
    wanted = Ernest(CONFIG, spec).state_dict()
    after = torch.rand(3)
    written = {name: torch.zeros(value.shape) for name, value in wanted.items()}
    for rank in range(parallel.asked):
        with one_of(rank, parallel.asked):
            torch.manual_seed(3)
            model = build_network(CONFIG, spec, parallel)
            assert torch.equal(torch.rand(3), after)
            parts = parts_of(model, model.state_dict().items())
        assert {tensor_name(piece) for piece in parts} == wanted.keys()
        for piece, part in parts.items():
            name = tensor_name(piece)
            assert part.place.shape == wanted[name].shape
            assert torch.equal(part.own, wanted[name][part.place.slices()]), name
            written[name][part.place.slices()] += part.writes
    assert all(times.eq(1).all() for times in written.values())  # each number by one process


@pytest.mark.parametrize("mesh", [(1, 4, 1), (1, 2, 2), (1, 2, 1, 2)])
def test_no_process_holds_the_whole_network(mesh):
    spec, parallel = tokenizer_spec(tokenizers()), ParallelConfig(*mesh)
    whole = [value.nbytes for value in Ernest(CONFIG, spec).parameters()]
    with one_of(1, 4), LiveBytes() as memory:
        model = build_network(CONFIG, spec, parallel)
        own = sum(part.own.nbytes for part in parts_of(model, model.named_parameters()).values())
    assert own < 0.6 * sum(whole)
    assert own <= memory.most <= own + 1.5 * max(whole)
