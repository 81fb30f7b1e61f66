"""The sizes of an exported model as transformers' configuration, under the names that its tools look for."""

# pyright: reportMissingImports=false

from dataclasses import asdict
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from ernest.config.media import MediaSpec
from ernest.config.tables import ModelConfig
from ernest.config.tokenizer_spec import TokenizerSpec
from ernest.overrides import build
from ernest.tokenizers.audio import AudioConfig
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import VisionTokenizerConfig

NAMES = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "experts": "num_experts",
    "top_k": "num_experts_per_tok",
    "expert_width": "moe_intermediate_size",
    "rope_base": "rope_base",
    "norm_eps": "rms_norm_eps",
    "qk_norm": "qk_norm",
    "vit_width": "vit_width",
    "vit_layers": "vit_layers",
    "multi_token": "multi_token",
    "frame_window": "frame_window",
}
"""Fields of `ModelConfig`, and what transformers calls them."""


class ErnestConfig(PreTrainedConfig):
    """Sizes of the network and of the tokenizers of pictures and sounds that come with it.

    `tokenizer_spec`, `vision_tokenizer`, `audio_tokenizer` and `media` are the fields of `TokenizerSpec`,
    `VisionTokenizerConfig`, `AudioConfig` and `MediaSpec`; `merges` counts those of the text tokenizer.
    `max_position_embeddings` is the longest document of the training: the rotary embedding itself has no end.
    """

    model_type = "ernest"
    keys_to_ignore_at_inference: ClassVar = ["cache"]

    num_hidden_layers: int = ModelConfig.layers
    hidden_size: int = ModelConfig.width
    num_attention_heads: int = ModelConfig.heads
    num_key_value_heads: int = ModelConfig.kv_heads
    num_experts: int = ModelConfig.experts
    num_experts_per_tok: int = ModelConfig.top_k
    moe_intermediate_size: int = ModelConfig.expert_width
    rope_base: float = ModelConfig.rope_base
    rms_norm_eps: float = ModelConfig.norm_eps
    qk_norm: bool = ModelConfig.qk_norm
    vit_width: int = ModelConfig.vit_width
    vit_layers: int = ModelConfig.vit_layers
    multi_token: bool = ModelConfig.multi_token
    frame_window: int = ModelConfig.frame_window
    vocab_size: int = 700
    merges: int = 434
    tokenizer_spec: dict[str, Any] | None = None
    vision_tokenizer: dict[str, Any] | None = None
    audio_tokenizer: dict[str, Any] | None = None
    media: dict[str, Any] | None = None
    max_position_embeddings: int = 256
    tie_word_embeddings: bool = False
    use_cache: bool = True
    pad_token_id: int | None = TextTokenizer.pad
    bos_token_id: int | None = TextTokenizer.sep
    eos_token_id: int | None = TextTokenizer.eos


def make_config(
    model: ModelConfig,
    spec: TokenizerSpec,
    vision: VisionTokenizerConfig,
    audio: AudioConfig,
    media: MediaSpec,
    merges: int,
    positions: int,
) -> ErnestConfig:
    """The configuration of a network and its tokenizers."""
    fields: dict[str, Any] = {theirs: getattr(model, ours) for ours, theirs in NAMES.items()}
    fields |= {"tokenizer_spec": asdict(spec), "vision_tokenizer": asdict(vision), "audio_tokenizer": asdict(audio)}
    fields |= {"media": asdict(media)}
    fields |= {"vocab_size": spec.vocabulary, "merges": merges, "max_position_embeddings": positions}
    return ErnestConfig(**fields, dtype="float32")


def network_sizes(config: ErnestConfig) -> tuple[ModelConfig, TokenizerSpec]:
    """What `Ernest` is made from. Raises ValueError, which names the field, for what is missing or cannot be."""
    sizes = {ours: getattr(config, theirs) for ours, theirs in NAMES.items()}
    return build(ModelConfig, sizes, "config.json"), build(TokenizerSpec, config.tokenizer_spec, "tokenizer_spec")
