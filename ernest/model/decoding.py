"""Runs blocks on new positions of cached rows: by compiled kernels, several layers in one call, on a CPU.

`PlainBlocks` is the twin, which does the work where there is no compiler, on other devices and in half precision.
Kernels compute in float32 and one thread, and what comes out for a row is the same bits whatever rows are beside it.

Shapes: P positions of all rows together, D width, k experts of a position.
"""

import ctypes
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from ernest.config.sizes import BLOCK
from ernest.config.tables import ModelConfig
from ernest.device import HOST, ask_large_pages, autocast
from ernest.model.backbone import Block, Routing
from ernest.model.cache import Cache, LayerCache, Places
from ernest.model.experts import RouterOutput
from ernest.model.native import load
from ernest.model.norm import RMSNorm
from ernest.model.submodel import SubModels
from ernest.sequence.positions import pair_frequencies

Hook = Callable[[int, Tensor], Tensor]
Run = Callable[[Tensor, Tensor, Tensor, Routing, Hook, list[LayerCache]], tuple[Tensor, RouterOutput]]
"""`Ernest.trunk`, or what has its arguments."""


@cache
def _library() -> ctypes.CDLL | None:
    loaded = load("decoding")
    if loaded is None:
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    loaded.choose.argtypes = (number, number, *(pointer,) * 6)
    loaded.log_shares.argtypes = (number, number, *(pointer,) * 3)
    loaded.pack.argtypes = (number, number, pointer, pointer)
    loaded.multiply_states.argtypes = (*(number,) * 4, *(pointer,) * 3)
    loaded.draft.argtypes = (pointer, ctypes.c_float, pointer, pointer, number, *(pointer,) * 3, number, pointer)
    loaded.decode.argtypes = (pointer, ctypes.c_float, pointer, *(number,) * 4, *(pointer,) * 4)
    loaded.write_texts.argtypes = (
        pointer, pointer, ctypes.c_float, *(pointer,) * 4, number, *(pointer,) * 3, number, pointer, pointer, number,
        ctypes.c_float, number,
    )  # fmt: skip
    return loaded


def room(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Memory that a kernel writes to, whatever torch's default type and device."""
    return torch.empty(shape, dtype=dtype, device=HOST)


def usable(part: nn.Module, config: ModelConfig) -> bool:
    """Whether the kernels take a part of a network: its type, its place and its widths."""
    plain = all(p.dtype == torch.float32 and p.is_cpu for p in part.parameters())
    wide = not any(size % BLOCK for size in (config.width, config.expert_width, config.head_dim))
    return plain and wide and _library() is not None


def choose_classes(logits: Tensor, temperature: np.ndarray, top_p: np.ndarray, draws: np.ndarray) -> tuple[Tensor, Tensor] | None:
    """A class of each row of `[R, classes]` and its log-probability under the policy, by a kernel; None where there is none."""
    library = _library()
    if library is None or not logits.is_cpu or logits.dtype != torch.float32:
        return None
    logits = logits.contiguous()
    settings = [np.ascontiguousarray(values, np.float64) for values in (temperature, top_p, draws)]
    chosen, log_p = room(len(logits), dtype=torch.long), room(len(logits))
    library.choose(
        *logits.shape, logits.data_ptr(), *(values.ctypes.data for values in settings), chosen.data_ptr(), log_p.data_ptr()
    )
    return chosen, log_p


def log_probs(logits: Tensor, chosen: Tensor) -> Tensor:
    """log softmax of `[R, classes]` at the chosen class of each row."""
    library = _library()
    if library is None or not logits.is_cpu or logits.dtype != torch.float32:
        return logits.float().log_softmax(-1).gather(1, chosen[:, None])[:, 0]
    logits, found = logits.contiguous(), room(len(logits))
    library.log_shares(*logits.shape, logits.data_ptr(), chosen.contiguous().data_ptr(), found.data_ptr())
    return found


def versions(parameters: Iterable[Tensor]) -> tuple[tuple[int, int], ...]:
    """What changes where a weight does."""
    return tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in parameters)


def pack(weight: Tensor) -> Tensor:
    """A weight `[columns, terms]` in panels of columns, as kernels read it."""
    library = _library()
    assert library is not None
    columns, terms = weight.shape
    packed = room(-(-columns // BLOCK) * BLOCK * terms)
    library.pack(columns, terms, weight.contiguous().data_ptr(), packed.data_ptr())
    return packed


class CompiledLinear:
    """A linear layer without bias by a kernel: a row of results is the same bits whatever rows are beside it."""

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer
        self._versions: tuple[tuple[int, int], ...] = ()

    def refresh(self) -> None:
        """Packs the weight, if it is another than before."""
        if (found := versions([self.layer.weight])) != self._versions:
            self._versions, self.packed = found, pack(self.layer.weight)

    def __call__(self, x: Tensor) -> Tensor:
        """`[..., terms]` to `[..., columns]`."""
        library = _library()
        assert library is not None
        (columns, terms), x = self.layer.weight.shape, x.contiguous()
        padded = -(-columns // BLOCK) * BLOCK
        result = room(*x.shape[:-1], padded)
        rows = x.numel() // terms
        library.multiply_states(rows, columns, padded, terms, x.data_ptr(), self.packed.data_ptr(), result.data_ptr())
        return result[..., :columns]


class PlainBlocks:
    """The same by the modules themselves."""

    def __init__(self, run: Run, bf16: bool) -> None:
        self.run, self.bf16 = run, bf16

    def refresh(self) -> None:
        """Modules read their weights each time."""

    def __call__(
        self, x: Tensor, position: np.ndarray, places: Places, cache: Cache, submodels: SubModels | None, hook: Hook | None
    ) -> tuple[Tensor, Tensor]:
        """As of `CompiledBlocks`; rows are filled up to a rectangle."""
        rows, longest = len(places.counts), int(places.counts.max())
        flat = (np.arange(longest) < places.counts[:, None]).ravel().nonzero()[0]
        index = torch.from_numpy(flat).to(x.device)
        wide = x.new_zeros(rows * longest, x.shape[1]).index_copy_(0, index, x).unflatten(0, (rows, longest))
        where = np.zeros((rows * longest, 3))
        where[flat] = position
        caches, mask = cache.layers(places)
        where = torch.from_numpy(where).to(x.device).unflatten(0, (rows, longest))
        with autocast(x.device, self.bf16):
            hidden, routed = self.run(wide, where, mask, Routing(submodels), hook or (lambda layer, x: x), caches)
        return hidden.float().flatten(0, 1)[index], routed.expert_ids.flatten(1, 2)[:, index]


class CompiledBlocks:
    """Blocks of a network of sizes `config` as kernels read them, and the norm behind the last, if any. Weights that change later
    are read anew where `refresh` is called. `first_hook` is the first layer with something to do behind it."""

    def __init__(self, blocks: Sequence[nn.Module], config: ModelConfig, norm: RMSNorm | None, first_hook: int = 0) -> None:
        self.blocks = [block for block in blocks if isinstance(block, Block)]
        self.config, self.norm, self.first_hook = config, norm, first_hook
        library = _library()
        assert library is not None
        self.library: ctypes.CDLL = library
        axis, frequency = pair_frequencies(config.head_dim, config.rope_base)
        self.axis, self.frequency = axis.cpu(), frequency.cpu()
        modules = (module for block in self.blocks for module in block.modules())
        # Where parameters stand, whichever they are: looking for them takes longer than the first group of a picture may.
        self._places = [(module._parameters, name) for module in modules for name in module._parameters]
        self._versions: tuple[tuple[int, int], ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Packs the weights, if they are others than before."""
        found = versions(part for parts, name in self._places if (part := parts[name]) is not None)
        if found != self._versions:
            self._versions = found
            self._packed: list[Tensor] = []
            self.layers = torch.tensor([self._pointers(block) for block in self.blocks], device=HOST)
            ask_large_pages(part for block in self.blocks for part in (block.moe.w_gate_up, block.moe.w_down))

    def _pointers(self, block: Block) -> list[int]:
        attention, moe = block.attention, block.moe
        norms = [0 if norm is None else norm.weight.data_ptr() for norm in (attention.query_norm, attention.key_norm)]
        kept = block.attention_norm.weight, self._pack(attention.qkv.weight), self._pack(attention.out.weight)
        experts = block.moe_norm.weight, self._pack(moe.router.weight), moe.router.selection_bias, moe.w_gate_up, moe.w_down
        first, qkv, out = (weight.data_ptr() for weight in kept)
        return [first, qkv, *norms, out, *(weight.data_ptr() for weight in experts)]

    def _pack(self, weight: Tensor) -> Tensor:
        self._packed.append(pack(weight))
        return self._packed[-1]

    def sizes(self, cache: Cache) -> np.ndarray:
        """Of the network and a cache."""
        c = self.config
        return np.array([c.width, c.heads, c.kv_heads, c.head_dim, c.experts, c.expert_width, *cache.size])

    def parts(self, cache: Cache, limits: "Limits") -> np.ndarray:
        """Pointers to weights, cache and limits."""
        norm = 0 if self.norm is None else self.norm.weight.data_ptr()
        kept = [cache.keys.data_ptr(), cache.values.data_ptr(), limits.most, *limits.pointers(), len(self.blocks)]
        return np.array([self.layers.data_ptr(), norm, self.frequency.data_ptr(), self.axis.data_ptr(), *kept])

    def __call__(
        self, x: Tensor, position: np.ndarray, places: Places, cache: Cache, submodels: SubModels | None, hook: Hook | None
    ) -> tuple[Tensor, Tensor]:
        """Hidden states `[P, D]` of inputs `x`, which are spoiled, at (t, h, w) `position` `[P, 3]`, and the experts
        `[layers, P, k]`, -1 for none. `hook` is called after each layer that has an audio head, with `x` `[1, P, D]`."""
        layers = len(self.blocks)
        most = self.config.top_k if submodels is None else submodels.most
        experts = torch.full((layers, len(x), most), -1, device=HOST)
        call = _Call(self, places.table(), np.ascontiguousarray(position, np.float64), cache, submodels, experts)
        start = 0
        if hook is not None:
            for layer in range(self.first_hook, layers):
                x = hook(layer, call.run(x, start, layer + 1, last=False)[None])[0]
                start = layer + 1
        return call.run(x, start, layers, last=True), experts


class Limits:
    """What sub-models leave of the layers for the rows of a call, as kernels read it; `most` experts of a position."""

    def __init__(self, config: ModelConfig, submodels: SubModels | None) -> None:
        runs = allowed = top_k = None
        if submodels is not None:
            runs, allowed, top_k = _runs(submodels.running, len(submodels.sizes)), submodels.experts, submodels.top_k
            allowed = None if allowed is None else allowed.contiguous()
        self.most = config.top_k if submodels is None else submodels.most
        self._kept = runs, allowed, top_k

    def pointers(self) -> list[int]:
        return [0 if limit is None else limit.data_ptr() for limit in self._kept]


class _Call:
    """What stays the same while the layers of one step run in parts."""

    def __init__(
        self,
        blocks: CompiledBlocks,
        table: np.ndarray,
        position: np.ndarray,
        cache: Cache,
        submodels: SubModels | None,
        experts: Tensor,
    ) -> None:
        self.limits = Limits(blocks.config, submodels)
        self.blocks, self.kept = blocks, (table, position, experts)
        self.sizes, self.parts = blocks.sizes(cache), blocks.parts(cache, self.limits)

    def run(self, x: Tensor, start: int, stop: int, last: bool) -> Tensor:
        """Layers from `start` to `stop`, and the norm behind the `last`."""
        blocks, (table, position, experts) = self.blocks, self.kept
        x = x.contiguous()
        blocks.library.decode(
            self.sizes.ctypes.data, blocks.config.norm_eps, self.parts.ctypes.data, start, stop, last, len(x),
            x.data_ptr(), position.ctypes.data, table.ctypes.data, experts.data_ptr(),
        )  # fmt: skip
        return x


@lru_cache(maxsize=64)
def _runs(running: tuple[tuple[int, ...] | None, ...], rows: int) -> Tensor | None:
    """Which rows run which layers, `[rows, layers]`; None where all run all."""
    if not any(some is not None for some in running):
        return None
    runs = torch.ones(rows, len(running), dtype=torch.uint8, device=HOST)
    for layer, some in enumerate(running):
        if some is not None:
            runs[:, layer] = 0
            runs[list(some), layer] = 1
    return runs
