"""The tables of a recipe, `[model]`, `[elastic]`, `[sequence]`, `[training]`, `[world]` and `[tokenizers]`: every field with its
default, and what a table asks of its own fields. `[media]` and `[parallel]` have files of their own."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from ernest.config.media import BITS
from ernest.overrides import check_least, check_positive

SMALLEST_VOCABULARY = 266
"""Ids of the control tokens and of all bytes, to which a text tokenizer adds what it learns."""


@dataclass(frozen=True)
class ModelConfig:
    """One decoder over all modalities. The report discloses no sizes; these are the demo's."""

    layers: int = 8
    width: int = 256
    heads: int = 4
    kv_heads: int = 2
    experts: int = 48
    top_k: int = 2
    expert_width: int = 64
    rope_base: float = 1e6
    norm_eps: float = 1e-5
    qk_norm: bool = True
    vit_width: int = 64
    vit_layers: int = 2
    multi_token: bool = True
    frame_window: int = 0
    """Frames before it that a frame of a made film attends to (VideoAR, eq. 9); 0 is all. Latents, with a temporal stride."""

    def __post_init__(self) -> None:
        check_least(self, "model", layers=1, width=1, heads=1, kv_heads=1, experts=1, expert_width=1, vit_width=1)
        if self.vit_width % 4:
            raise ValueError(f"model.vit_width = {self.vit_width} must be a multiple of 4, the heads of the patch merger")
        if self.vit_layers < 0:
            raise ValueError(f"model.vit_layers = {self.vit_layers} must not be negative")
        if self.frame_window < 0:
            raise ValueError(f"model.frame_window = {self.frame_window} must be 0, for all frames, or how many are seen")
        check_positive(self, "model", "rope_base", "norm_eps")
        for name in ("width", "expert_width"):
            if getattr(self, name) % 8:
                raise ValueError(
                    f"model.{name} = {getattr(self, name)} must be a multiple of 8, the 16 bytes of bfloat16 products"
                )
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"model.width = {self.width} must be an even multiple of model.heads = {self.heads}")
        if self.heads % self.kv_heads:
            raise ValueError(f"model.heads = {self.heads} must be a multiple of model.kv_heads = {self.kv_heads}")
        if not 1 <= self.top_k <= self.experts:
            raise ValueError(f"model.top_k = {self.top_k} must lie between 1 and model.experts = {self.experts}")

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True)
class ElasticConfig:
    """Draws per packed row, independent in the three dimensions; the report's 75 / 80 / 80 %."""

    full_depth: float = 0.75
    full_width: float = 0.80
    full_sparsity: float = 0.80

    def __post_init__(self) -> None:
        for name, share in vars(self).items():
            if not 0 <= share <= 1:
                raise ValueError(f"elastic.{name} = {share} must lie between 0 and 1")


@dataclass(frozen=True)
class SequenceConfig:
    """Rows of a step and how examples are drawn into them."""

    rows: int = 32
    length: int = 256
    grows_to: tuple[int, ...] = ()
    """Lengths of rows in mid-training, while the rate falls, each for an equal part of it; a step then has as many rows as keep
    its positions."""
    bit_flip_rate: float = 0.2
    """Bits of the history are flipped at a rate drawn from U(0, bit_flip_rate) per frame and scale (ERNIE 5.0 §2.2.3)."""
    bit_flip_growth: float = 0.0
    """How much both ends of that range rise from each frame of a film to the next, up to 1/2 (VideoAR, eq. 8)."""
    bit_flip_inheritance: bool = False
    """The rate of a frame's first scale is drawn from that of the last scale of the frame before on."""
    frame_mask_rate: float = 0.0
    """Share of the frames of made films that later ones of their film do not see (VideoAR, eq. 9)."""
    bpe_dropout: float = 0.1
    condition_dropout: float = 0.1
    """Share of records whose given text is hidden, for guidance."""

    def __post_init__(self) -> None:
        check_least(self, "sequence", rows=1, length=1)
        rates = "bit_flip_rate", "bit_flip_growth", "frame_mask_rate", "bpe_dropout", "condition_dropout"
        for name in rates:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"sequence.{name} = {getattr(self, name)} must lie between 0 and 1")
        for shorter, longer in pairwise((self.length, *self.grows_to)):
            if longer <= shorter:
                raise ValueError(f"sequence.grows_to: {longer} must be more than {shorter}, the length of the rows before")

    def grown(self) -> "SequenceConfig":
        """With rows of the next length, and as many positions."""
        longer, *rest = self.grows_to
        return replace(self, rows=self.rows * self.length // longer, length=longer, grows_to=tuple(rest))

    @property
    def flips(self) -> bool:
        """Whether bits of the history are flipped at all."""
        return self.bit_flip_rate > 0 or self.bit_flip_growth > 0


@dataclass(frozen=True)
class TrainingConfig:
    """Optimiser and schedule of one run."""

    steps: int = 550
    learning_rate: float = 2e-3
    final_share: float = 0.05
    """Learning rate of the last step as a share of the peak."""
    warmup: int = 40
    ramp: int = 0
    """Steps over which the rows of a step grow from a quarter to all, before the rate falls."""
    decay_share: float = 0.4
    """Share of the steps in which the rate falls: mid-training."""
    weight_decay: float = 0.05
    clip: float = 1.0
    bias_speed: float = 2e-3
    mtp_weight: float = 0.3
    adapter_rank: int = 0
    """Rank of the adapters that are trained instead of the weights, of a run that goes on from a checkpoint; 0 trains all."""
    bf16: bool | None = None
    """Trunk in half precision; where nothing is said, it is used where the processor has it."""
    encode: Literal["before", "drawn"] = "before"
    """When tokenizers turn records into examples: all of them before the training, or each when it is drawn."""
    hearings: int = 8
    """Other hearings of each given sound of one's own that are learnt from as often as the sound itself: faster and higher or
    slower and lower, later, louder or softer, under noise. 0 where pitch, pace, loudness or noise is what is to be told."""
    workers: int = 0
    """Processes that make the batches beside the training, tokenizers included; 0 leaves that to a thread of it."""
    fp8: bool = False
    """Products of the trunk on inputs and weights rounded to 8-bit floats, which is imitated: slower, to see what it costs."""
    even_routing: bool = False
    """Experts take turns, whatever their scores: for measuring speed apart from their balance."""
    save_every: int = 100
    show_every: int = 100
    """Steps between looks at what the model can do so far; 0 is never."""
    tensorboard: bool = False
    """Also write the metrics for TensorBoard, which comes with the extra of that name."""

    def __post_init__(self) -> None:
        check_least(
            self, "training", steps=1, save_every=1, warmup=0, show_every=0, adapter_rank=0, ramp=0, workers=0, hearings=0
        )
        check_positive(self, "training", "learning_rate", "clip")
        for name in ("final_share", "decay_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"training.{name} = {getattr(self, name)} must lie between 0 and 1")

    @property
    def border(self) -> int:
        """Steps before the rate begins to fall."""
        return self.steps - round(self.steps * self.decay_share)


@dataclass(frozen=True)
class WorldConfig:
    """How many records of each kind the embedded world makes, and the records held out for scores."""

    pictures: int = 12000
    clips: int = 9000
    videos: int = 2750
    texts: int = 6000
    held_out: int = 300


@dataclass(frozen=True)
class TokenizerConfig:
    """Size and training steps of tokenizers and judges."""

    vocabulary: int = 700
    teacher_steps: int = 500
    vision_steps: int = 2800
    first_bits: int = 0
    """Bits of a cell of another vision tokenizer, with which the training of the model begins, before it switches to that of all
    bits; 0: there is no other."""
    first_share: float = 0.5
    """Share of the training's steps before the switch."""
    film_steps: int = 1500
    """Of the layers over time that are then put into the vision tokenizer, where `media.temporal_stride` asks for some."""
    audio_steps: int = 1500
    vocoder_steps: int = 0
    """Of the way from codes of sounds back to the waveform, trained behind the codec; 0 leaves that to Griffin and Lim."""
    voice_steps: int = 800
    """Of what knows voices from samples of them, where records have such samples."""
    digit_judge_steps: int = 1300
    family_judge_steps: int = 250
    word_judge_steps: int = 400

    def __post_init__(self) -> None:
        check_least(self, "tokenizers", vocabulary=SMALLEST_VOCABULARY)
        check_least(self, "tokenizers", vision_steps=1, film_steps=1, audio_steps=1, voice_steps=1, vocoder_steps=0)
        if not 0 <= self.first_bits < BITS:
            raise ValueError(f"tokenizers.first_bits = {self.first_bits} must be 0, for no switch, or fewer than {BITS}")
        if not 0 < self.first_share < 1:
            raise ValueError(f"tokenizers.first_share = {self.first_share} must lie between 0 and 1")
