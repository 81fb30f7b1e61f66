"""Parameters, bytes and floating-point operations, counted from the sizes alone, without torch.

Letters: D width, H width of an expert, N experts, k of them per position, S positions of a row.
"""

from dataclasses import replace

from ernest.config.tables import ModelConfig
from ernest.config.tokenizer_spec import TokenizerSpec
from ernest.model.submodel import SubModel


def active_parameters(config: ModelConfig, submodel: SubModel | None = None) -> int:
    """Parameters that one position passes through in the backbone: every running layer with k experts, and the final norm.

    Embeddings and heads are left out: a position uses one kind of each, and every sub-model has them all.
    """
    config = reduced(config, submodel)
    return config.layers * (_shared(config) + config.top_k * _expert(config)) + config.width


def total_parameters(config: ModelConfig, spec: TokenizerSpec, submodel: SubModel | None = None) -> int:
    """Parameters of a checkpoint for generation: all layers and experts, embeddings, encoder and heads.

    The head of the token after next serves training alone and is not counted.
    """
    config = reduced(config, submodel)
    backbone = config.layers * (_shared(config) + config.experts * _expert(config)) + config.width
    return backbone + _inputs(config, spec) + _encoder(config, spec) + _heads(config, spec)


def trained_parameters(config: ModelConfig, spec: TokenizerSpec) -> int:
    """Parameters of a state of training: those of `total_parameters` and the head of the token after next (`MTPHead`)."""
    dense = replace(config, experts=1, top_k=1, expert_width=2 * config.expert_width)
    head = 2 * config.width + 2 * config.width**2 + _shared(dense) + _expert(dense)
    return total_parameters(config, spec) + config.multi_token * head


def training_flops(config: ModelConfig, length: int) -> int:
    """Floating-point operations of the backbone for one position, forward and backward, in rows of `length` positions.

    A product with a matrix costs 2 operations per entry forward and 4 backward. Attention takes each query against all S keys of
    its row, 4 S D operations forward and 8 S D backward; the mask is not taken off, since the products are computed.
    """
    matrices = _matrices(config) + config.top_k * _expert(config)
    return config.layers * (6 * matrices + 12 * length * config.width)


def cache_bytes(config: ModelConfig, length: int, bytes_per_number: int, submodel: SubModel | None = None) -> int:
    """Bytes of the keys and values of every running layer, for a row of `length` positions."""
    config = reduced(config, submodel)
    return config.layers * length * 2 * config.kv_heads * config.head_dim * bytes_per_number


def token_bytes(config: ModelConfig, length: int, bytes_per_number: int, submodel: SubModel | None = None) -> int:
    """Bytes that the backbone reads from memory for one more position of a row of `length`: active weights and its cache."""
    weights = active_parameters(config, submodel) * bytes_per_number
    return weights + cache_bytes(config, length, bytes_per_number, submodel)


def reduced(config: ModelConfig, submodel: SubModel | None) -> ModelConfig:
    """The sizes of a sub-model."""
    if submodel is None:
        return config
    return replace(config, layers=len(submodel.layers), experts=len(submodel.experts[0]), top_k=submodel.top_k)


def _matrices(config: ModelConfig) -> int:
    """Attention and router of a layer."""
    projections = (2 * config.heads + 2 * config.kv_heads) * config.head_dim
    return config.width * (projections + config.experts)


def _shared(config: ModelConfig) -> int:
    """A layer without its experts."""
    return _matrices(config) + 2 * config.width + (2 * config.head_dim if config.qk_norm else 0)


def _expert(config: ModelConfig) -> int:
    return 3 * config.width * config.expert_width


def _inputs(config: ModelConfig, spec: TokenizerSpec) -> int:
    """Tokens, codes, cells with their scale, whole frames, voices."""
    height, width = spec.scales[-1]
    tables = spec.vocabulary + spec.levels * (spec.codes + 1) + len(spec.scales)
    linear = (2 * spec.bits + 1) + (spec.bits * height * width + 1) + (spec.voice + 1 if spec.voice else 0)
    return config.width * (tables + linear)


def _encoder(config: ModelConfig, spec: TokenizerSpec) -> int:
    """ViT blocks and the merger, which both attend at the ViT's width d."""
    d, patches = config.vit_width, spec.grid[0] * spec.grid[1]
    norm, attention, mlp = 2 * d, 4 * d * (d + 1), 2 * d * (d + 1) + d * (2 * d + 1)
    embedding = (3 * spec.patch**2 + 1) * d + patches * d
    merger = (spec.features + 1) * d + d + norm + attention + (d + 1) * config.width  # its gate is d numbers
    return embedding + config.vit_layers * (2 * norm + attention + mlp) + merger


def _heads(config: ModelConfig, spec: TokenizerSpec) -> int:
    """Tokens, bits of a cell, and for every level of the codec a norm and its codes."""
    codes = spec.levels * (config.width + config.width * (spec.codes + 1))
    return config.width * spec.vocabulary + (config.width + 1) * spec.bits + codes
