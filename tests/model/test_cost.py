"""Counts from the sizes agree with a network on the meta device and with the operations PyTorch counts."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ernest.config.tables import ModelConfig
from ernest.config.tokenizer_spec import TokenizerSpec
from ernest.model.attention import Attention
from ernest.model.cache import Cache
from ernest.model.cost import (
    active_parameters,
    cache_bytes,
    reduced,
    token_bytes,
    total_parameters,
    trained_parameters,
    training_flops,
)
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel, full

INTERFACE = TokenizerSpec(
    vocabulary=300, bits=16, scales=((1, 1), (2, 2), (4, 4)), levels=4, codes=256, patch=4, grid=(8, 8), features=48
)
CONFIGS = [ModelConfig(), ModelConfig(layers=6, width=128, heads=2, kv_heads=1, experts=12, top_k=3, qk_norm=False, vit_layers=1)]


def submodel(config: ModelConfig) -> SubModel:
    """Fewer layers, half the experts, one per position."""
    half = tuple(range(0, config.experts, 2))
    return SubModel((0, *range(2, config.layers)), (half,) * config.layers, 1)


@pytest.mark.parametrize("config", CONFIGS)
def test_total_is_the_networks_size(config):
    for part in (full(config), submodel(config)):
        with torch.device("meta"):
            model = Ernest(replace(reduced(config, part), multi_token=False), INTERFACE)
        assert total_parameters(config, INTERFACE, part) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("config", [*CONFIGS, replace(CONFIGS[0], multi_token=False)])
def test_what_is_trained_is_all_of_the_network(config):
    with torch.device("meta"):
        model = Ernest(config, INTERFACE)
    assert trained_parameters(config, INTERFACE) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("config", CONFIGS)
def test_active_leaves_out_the_experts_that_are_not_chosen(config):
    for part in (full(config), submodel(config)):
        small = reduced(config, part)
        with torch.device("meta"):
            model = Ernest(small, INTERFACE)
        backbone = sum(p.numel() for p in (*model.backbone.parameters(), *model.final_norm.parameters()))
        idle = sum(
            p.numel() * (small.experts - small.top_k) // small.experts
            for block in model.backbone.blocks
            for p in (block.moe.w_gate_up, block.moe.w_down)
        )
        assert active_parameters(config, part) == backbone - idle


def test_half_size_submodel_of_the_demo():
    """About 54 % active, about 36 % total (ERNIE 5.0 §6.4.2)."""
    config = ModelConfig()
    half = SubModel((0, 4, 5, 6, 7), (tuple(range(24)),) * 8, 1)
    active = active_parameters(config, half) / active_parameters(config)
    total = total_parameters(config, INTERFACE, half) / total_parameters(config, INTERFACE)
    assert active == pytest.approx(0.54, abs=0.03)
    assert total == pytest.approx(0.36, abs=0.02)


def test_operations_of_the_forward_pass():
    """The counter of PyTorch sees attention and router; experts are two products per matrix of the chosen."""
    config, length = ModelConfig(), 64
    with torch.device("meta"):
        attention, x = Attention(config), torch.zeros(1, length, config.width)
        angles = torch.zeros(1, length, config.head_dim // 2), torch.zeros(1, length, config.head_dim // 2)
        mask = torch.ones(1, length, length, dtype=torch.bool)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            attention(x, angles, mask)
    outside = 2 * config.width * (config.experts + config.top_k * 3 * config.expert_width)
    layer = counter.get_total_flops() / length + outside
    assert training_flops(config, length) == 3 * config.layers * layer


def test_bytes_of_a_cache_are_those_of_its_tensors():
    config = CONFIGS[1]
    for part in (full(config), submodel(config)):
        cache = Cache(reduced(config, part), torch.device("meta"), torch.bfloat16, slots=1, columns=64)
        held = cache.keys.nbytes + cache.values.nbytes
        assert cache_bytes(config, 64, 2, part) == held
        assert token_bytes(config, 64, 2, part) == held + 2 * active_parameters(config, part)


def test_costs_are_counted_without_torch():
    code = "import sys, ernest.model.cost, ernest.model.submodel; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
