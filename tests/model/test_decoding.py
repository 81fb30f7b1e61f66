"""The trunk by compiled kernels against the one written in PyTorch: hidden states, experts, and the cache that they leave."""

import numpy as np
import pytest
import torch

from ernest.model import decoding
from ernest.model.backbone import Routing
from ernest.model.cache import COLUMNS, Cache, Places
from ernest.model.decoding import CompiledBlocks
from ernest.model.submodel import SubModel, full, stack
from tests.small import CONFIG, network

pytestmark = pytest.mark.skipif(not decoding.usable(network().backbone, CONFIG), reason="no C++ compiler")
SMALLER = SubModel((0, 3, 4, 5), ((0, 5, 6, 7),) * 6, 1)
SUBMODELS = {"full": None, "some smaller": [full(CONFIG), SMALLER, SMALLER], "fewer experts": [SMALLER, full(CONFIG), SMALLER]}


def compiled(model) -> CompiledBlocks:
    return CompiledBlocks(list(model.backbone.blocks), CONFIG, model.final_norm, model.audio.first_layer)


def groups(rng: np.random.Generator, starts: list[int], counts: list[int]) -> Places:
    """Rows whose positions fall into random groups, each of which sees all of itself."""
    ends = []
    for start, count in zip(starts, counts, strict=True):
        edges = np.unique([*rng.integers(1, count + 1, 3), count])
        ends.append(start + edges[np.searchsorted(edges, np.arange(count), side="right")])
    return Places(np.array([4, 0, 2]), np.array(starts), np.array(counts), np.concatenate(ends))


def by_torch(model, x, position, places, cache, submodels):
    """Rows filled up to a rectangle."""
    rows, longest = len(places.counts), int(places.counts.max())
    valid = np.arange(longest) < places.counts[:, None]
    wide, where = torch.zeros(rows, longest, x.shape[1]), np.zeros((rows, longest, 3))
    wide[torch.from_numpy(valid)], where[valid] = x, position
    caches, mask = cache.layers(places)
    hidden, routed = model.trunk(wide, torch.from_numpy(where), mask, Routing(submodels), lambda layer, x: x, caches)
    return hidden[torch.from_numpy(valid)], routed.expert_ids[:, torch.from_numpy(valid)]


@pytest.mark.parametrize("which", SUBMODELS)
@torch.inference_mode()
def test_three_steps_are_those_without_kernels(which):
    model, rng = network(), np.random.default_rng(0)
    submodels = None if SUBMODELS[which] is None else stack(SUBMODELS[which], CONFIG)
    caches = [Cache(CONFIG, torch.device("cpu"), torch.float32, turns, 5, 80) for turns in (False, True)]
    trunk, starts = compiled(model), [0, 0, 0]
    for counts in ([5, 41, 20], [1, 1, 1], [16, 3, 7]):
        places = groups(rng, starts, counts)
        x = torch.randn(sum(counts), CONFIG.width, generator=torch.Generator().manual_seed(sum(counts)))
        position = rng.integers(0, 99, (sum(counts), 3)) / 2
        wanted, experts = by_torch(model, x, position, places, caches[0], submodels)
        found, chosen = trunk(x.clone(), position, places, caches[1], submodels, None)
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)
        used = chosen >= 0  # a choice without a gate is none
        assert torch.equal(chosen[used], experts[used])
        sizes = [submodel.top_k for submodel in SUBMODELS[which] or [full(CONFIG)] * 3]
        assert used[0].sum() == sum(count * k for count, k in zip(counts, sizes, strict=True))
        starts = [start + count for start, count in zip(starts, counts, strict=True)]
    for row, (slot, length) in enumerate(zip((4, 0, 2), starts, strict=True)):
        layers = [*range(6)] if submodels is None else [*SUBMODELS[which][row].layers]
        turned = caches[1].keys[layers, slot].unflatten(2, (-1, COLUMNS)).flatten(3).unflatten(3, (-1, COLUMNS))
        keys = turned.transpose(3, 4).flatten(2, 3)
        for found, wanted in (
            (keys, caches[0].keys[layers, slot]),
            (caches[1].values[layers, slot], caches[0].values[layers, slot]),
        ):
            torch.testing.assert_close(found[:, :, :length], wanted[:, :, :length], atol=2e-5, rtol=1e-4)


@torch.inference_mode()
def test_a_row_is_the_same_bits_in_any_company():
    model, rng = network(), np.random.default_rng(1)
    trunk = compiled(model)
    places = groups(rng, [0, 0, 0], [30, 9, 17])
    x, position = torch.randn(56, CONFIG.width), rng.integers(0, 99, (56, 3)) / 2
    together, _ = trunk(x.clone(), position, places, Cache(CONFIG, x.device, x.dtype, True, 5, 32), None, None)
    ends = np.split(places.ends, [30, 39])
    for row, (start, stop) in enumerate(((0, 30), (30, 39), (39, 56))):
        alone = Places(np.array([1]), places.starts[:1], places.counts[row : row + 1], ends[row])
        found, _ = trunk(
            x[start:stop].clone(), position[start:stop], alone, Cache(CONFIG, x.device, x.dtype, True, 2, 32), None, None
        )
        assert torch.equal(found, together[start:stop])


def test_weights_that_change_are_read_anew():
    model = network()
    trunk, places = compiled(model), Places(np.array([0]), np.array([0]), np.array([1]), np.array([1]))

    def run() -> torch.Tensor:
        cache = Cache(CONFIG, torch.device("cpu"), torch.float32)
        return trunk(torch.ones(1, CONFIG.width), np.zeros((1, 3)), places, cache, None, None)[0]

    before = run()
    with torch.no_grad():
        model.backbone.blocks[0].attention.out.weight.mul_(-1)
    trunk.refresh()
    changed = run()
    assert not torch.equal(changed, before)
    model.backbone.blocks[0].attention.out.weight = torch.nn.Parameter(-model.backbone.blocks[0].attention.out.weight)
    trunk.refresh()
    assert torch.equal(run(), before)
