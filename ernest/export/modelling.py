"""The network as a model of transformers: the modules are those of `ernest.model`, and only the experts' pool is the library's.

`generate` makes texts, from texts, pictures, videos and sounds; `make` makes all else, by the engine of `ernest.generation`.
"""

# pyright: reportMissingImports=false

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.integrations.moe import use_experts_implementation
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.deprecation import deprecate_kwarg
from transformers.utils.generic import can_return_tuple

from ernest.checkpoint import tokenizer_spec
from ernest.config.media import MediaSpec
from ernest.data.examples import EncodedSegment
from ernest.device import compute_dtype, without_weights
from ernest.export.columns import NO_COLUMN, CachedLayer, columns_so_far, three_coordinates
from ernest.export.config import ErnestConfig, make_config, network_sizes
from ernest.export.media import EmbeddedMedia, Media
from ernest.export.text import WholeText
from ernest.generation.engine import Engine
from ernest.generation.sampling import Sampling
from ernest.generation.text_states import TextStates
from ernest.model.backbone import Block, Routing
from ernest.model.cache import LayerCache
from ernest.model.dispatch import LocalDispatch
from ernest.model.experts import Experts, RouterOutput
from ernest.model.network import Ernest
from ernest.overrides import build
from ernest.sequence.mask import allowed
from ernest.sequence.record import Kind
from ernest.tokenizers.audio import AudioConfig, AudioTokenizer
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig


# The library finds out by this line's own text, in this very file, that the implementation of experts can be chosen.
@use_experts_implementation(is_transposed=True)
class ErnestExperts(nn.Module):
    """The matrices of all experts: `gate_up_proj` `[experts, width, 2 hidden]` with gate and up side by side, `down_proj`
    `[experts, hidden, width]`. Other implementations than "eager" are the library's own."""

    def __init__(self, config: ErnestConfig, pool: Experts) -> None:
        super().__init__()
        self.num_experts = len(pool.w_down)
        self.dispatch = LocalDispatch(self.num_experts)
        self.gate_up_proj, self.down_proj = pool.w_gate_up, pool.w_down
        self.act_fn = F.silu

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """What `ernest.model.experts` computes, `[tokens, width]`."""
        rows = self.dispatch(hidden_states.to(compute_dtype(hidden_states)), top_k_weights, top_k_index)
        return self.dispatch.combine(Experts.compute(cast(Experts, self), *rows), rows[-1])

    @property
    def w_gate_up(self) -> nn.Parameter:
        """As `Experts` calls it."""
        return self.gate_up_proj

    @property
    def w_down(self) -> nn.Parameter:
        """As `Experts` calls it."""
        return self.down_proj


class RoutedExperts(nn.Module):
    """The place of `Experts` in a block: its router, and the library's pool."""

    def __init__(self, config: ErnestConfig, pool: Experts) -> None:
        super().__init__()
        self.router = pool.router
        self.experts = ErnestExperts(config, pool)

    def forward(self, x_TD: Tensor, *restrictions: Any) -> tuple[Tensor, RouterOutput]:
        _, *rest = restrictions or (None,)  # which tokens are counted: none are
        gate_Tk, expert_Tk = self.router(x_TD, *rest)
        return self.experts(x_TD, expert_Tk, gate_Tk), RouterOutput(expert_Tk, None)


class ErnestForCausalLM(PreTrainedModel, GenerationMixin):
    """Ernest with its tokenizers of pictures and sounds, and with the merges of its text tokenizer."""

    config_class = ErnestConfig
    config: ErnestConfig
    _no_split_modules = ["Block"]  # noqa: RUF012
    _supports_sdpa = True
    # Scores of routers decide, and codes of sounds are the nearest of many: half precision would change both.
    _keep_in_fp32_modules_strict = ["router", "vision_tokenizer", "audio_tokenizer", "expert_importance"]  # noqa: RUF012

    text_merges: Tensor
    expert_importance: Tensor

    def __init__(self, config: ErnestConfig) -> None:
        super().__init__(config)
        self._is_made = False
        self.network = Ernest(*network_sizes(config))
        for block in (*self.network.backbone.blocks, *([self.network.mtp.block] if self.network.mtp else [])):
            assert isinstance(block, Block)
            block.moe = cast(Experts, RoutedExperts(config, block.moe))
        self.vision_tokenizer = VisionTokenizer(build(VisionTokenizerConfig, config.vision_tokenizer, "vision_tokenizer"))
        self.audio_tokenizer = AudioTokenizer(build(AudioConfig, config.audio_tokenizer, "audio_tokenizer"))
        self.register_buffer("text_merges", torch.zeros(config.merges, 2, dtype=torch.int32))
        self.register_buffer("expert_importance", torch.ones(config.num_hidden_layers, config.num_experts))
        self.post_init()
        self._is_made = True

    # -------------------------------------------------------------- what the library asks

    def initialize_weights(self) -> None:
        """The constructor has drawn all weights. Raises ValueError where a folder that was loaded lacks some."""
        named = [*self.named_parameters(), *self.named_buffers()]
        lacking = [name for name, value in named if not getattr(value, "_is_hf_initialized", False)]
        if self._is_made and lacking:
            raise ValueError(f"{self.config.name_or_path}: damaged: it lacks {lacking[0]} and {len(lacking) - 1} more tensors")

    def train(self, mode: bool = True) -> "ErnestForCausalLM":
        """The tokenizers of pictures and sounds are never trained here."""
        super().train(mode)
        for tokenizer in (self.vision_tokenizer, self.audio_tokenizer):
            tokenizer.eval().requires_grad_(False)
        return self

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of text tokens."""
        return self.network.token_embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Puts another embedding of text tokens in place."""
        self.network.token_embedding = cast(nn.Embedding, value)

    def get_output_embeddings(self) -> nn.Module:
        """The head of text tokens."""
        return self.network.text_head

    @staticmethod
    def create_masks_for_generate(*args: object, attention_mask: Tensor | None = None, **kwargs: object) -> Tensor | None:
        """The mask as it is: `forward` makes its own of it."""
        return attention_mask

    def _get_logits_processor(
        self, generation_config: GenerationConfig, input_ids_seq_length: int | None = None, *args: Any, **kwargs: Any
    ) -> LogitsProcessorList:
        """The library's, behind the one that keeps texts whole."""
        usual = super()._get_logits_processor(  # pyright: ignore[reportAttributeAccessIssue]
            generation_config, input_ids_seq_length, *args, **kwargs
        )
        states = TextStates(self._text_tokenizer().pieces)
        longest = cast(int, generation_config.max_length)
        return LogitsProcessorList([WholeText(states, TextTokenizer.eos, longest), *usual])

    # -------------------------------------------------------------- the network

    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        group_ids: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        input_values: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits of text tokens `[rows, positions, vocabulary]`.

        `attention_mask` `[rows, columns]` tells padding, of all columns that the cache will hold; `position_ids` `[rows,
        positions]`, or (t, h, w) `[3, rows, positions]`; `group_ids` `[rows, columns]` are which columns see each other, in
        rising order, and what comes behind them is one group each. `output_hidden_states` gives what goes into the first layer,
        and what comes out of each, the last under the final norm. The rest is what `ErnestProcessor` makes of media.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("forward: give input_ids or inputs_embeds")
            media = Media(pixel_values, pixel_values_videos, input_values)
            inputs_embeds = EmbeddedMedia(self.network, self.vision_tokenizer, self.audio_tokenizer)(
                input_ids, mm_token_type_ids, media
            )
        rows, count, _ = inputs_embeds.shape
        if cache is None and (self.config.use_cache if use_cache is None else use_cache):
            cache = DynamicCache(config=self.config)
        begin = 0 if cache is None else int(cache.get_seq_length())
        document, group = columns_so_far(attention_mask, group_ids, rows, begin + count, inputs_embeds.device)
        if position_ids is None:
            position_ids = ((document == 0).long().cumsum(1) - 1)[:, begin:]
        here = slice(begin, begin + count)
        asking = document[:, here], group[:, here]
        if cache is not None:  # one of fixed size has columns to come
            missing = cache.get_mask_sizes(count, 0)[0] - begin - count
            document, group = F.pad(document, (0, missing), value=NO_COLUMN), F.pad(group, (0, missing))
        layers = None if cache is None else [CachedLayer(cache, n) for n in range(self.config.num_hidden_layers)]
        states = [inputs_embeds]
        shown = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        hidden, _ = self.network.trunk(
            inputs_embeds,
            three_coordinates(position_ids, rows),
            allowed(*asking, document, group),
            Routing(),
            (lambda layer, x: _noted(states, x)) if shown else (lambda layer, x: x),
            cast(list[LayerCache] | None, layers),
        )
        kept = hidden[:, slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep]
        logits = self.network.text_head(kept.flatten(0, 1)).unflatten(0, kept.shape[:2])
        loss = None if labels is None else self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **kwargs)
        states[-1] = hidden
        return CausalLMOutputWithPast(loss=loss, logits=logits, cache=cache, hidden_states=tuple(states) if shown else None)

    # -------------------------------------------------------------- pictures, videos and sounds

    def engine(self, **options: Any) -> Engine:
        """Ernest's own engine on these weights, in float32, with its options: every kind in one batch, several kinds in one
        answer, and what `make` does not offer."""
        return Engine(self.to_network(), self.tokenizers(), **options)

    def make(self, prompts: Sequence[str], to: Kind, sampling: Sampling | None = None, seed: int = 0) -> "list[Any]":
        """What the words of each prompt ask for: `to` "image" gives uint8 `[height, width, 3]` each, "video" uint8 `[frames,
        height, width, 3]`, "audio" float32 `[samples]` at the rate of its codec, "text" a string. Prompt n draws by `(seed, n)`,
        and `sampling` None is the usual one of the kind: what `ernest generate` makes, this makes."""
        engine = self.engine()
        makers = {"text": engine.texts, "image": engine.pictures, "video": engine.videos, "audio": engine.sounds}
        if to not in makers:
            raise ValueError(f"to = {to!r}: expected one of {', '.join(makers)}")
        return makers[to]([(EncodedSegment("text", prompt, False),) for prompt in prompts], sampling, seed)

    # -------------------------------------------------------------- from and to a checkpoint

    def to_network(self) -> Ernest:
        """The network alone, in float32: it shares the memory of weights that are."""
        with without_weights():
            network = Ernest(*network_sizes(self.config))
        state = {_ours(name): value.float() for name, value in self.network.state_dict().items()}
        network.load_state_dict(state, assign=True)
        return network.eval().requires_grad_(False)

    def tokenizers(self) -> Tokenizers:
        """All three tokenizers."""
        media = build(MediaSpec, self.config.media or {}, "media")
        return Tokenizers(self._text_tokenizer(), self.vision_tokenizer, self.audio_tokenizer, media)

    def _text_tokenizer(self) -> TextTokenizer:
        return TextTokenizer(self.text_merges.tolist())


def from_network(model: Ernest, tokenizers: Tokenizers, importance: Tensor, positions: int) -> ErnestForCausalLM:
    """The model of transformers that shares the weights of a network and its tokenizers."""
    merges = torch.tensor(tokenizers.text.merges, dtype=torch.int32).reshape(-1, 2)
    vision, audio = tokenizers.vision, tokenizers.audio
    spec, media = tokenizer_spec(tokenizers), tokenizers.media
    config = make_config(model.config, spec, vision.config, audio.config, media, len(merges), positions)
    with without_weights():
        made = ErnestForCausalLM(config)
    parts: Mapping[str, Mapping[str, Tensor]] = {
        "network.": {_theirs(name): value for name, value in model.state_dict().items()},
        "vision_tokenizer.": vision.state_dict(),
        "audio_tokenizer.": audio.state_dict(),
        "": {"text_merges": merges, "expert_importance": importance},
    }
    made.load_state_dict({begin + name: value for begin, part in parts.items() for name, value in part.items()}, assign=True)
    made.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=tokenizers.media.longest_text,
        pad_token_id=TextTokenizer.pad,
        bos_token_id=TextTokenizer.sep,
        eos_token_id=TextTokenizer.eos,
    )
    return made.eval()


def _noted(states: list[Tensor], x: Tensor) -> Tensor:
    states.append(x)
    return x


_POOL = {"moe.w_gate_up": "moe.experts.gate_up_proj", "moe.w_down": "moe.experts.down_proj"}


def _theirs(name: str) -> str:
    """A name of `Ernest`'s state as this model has it."""
    for ours, theirs in _POOL.items():
        name = name.replace(ours, theirs)
    return name


def _ours(name: str) -> str:
    for ours, theirs in _POOL.items():
        name = name.replace(theirs, ours)
    return name
