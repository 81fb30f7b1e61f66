"""The decoding engine: prompts in, one made segment out, group by group, for text, pictures, video and sound."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.config.media import MediaSpec
from ernest.data.collate import pyramid
from ernest.data.examples import EncodedSegment
from ernest.generation.decoder import Decoder, Hook, plan_row
from ernest.generation.sampling import DEFAULTS, Sampling, apply_cfg, at_frame, choose_bits, choose_class
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel, SubModels, stack
from ernest.sequence.batch import Cells
from ernest.sequence.groups import CodeTokens, ScaleTokens, TextTokens
from ernest.sequence.record import Kind
from ernest.tokenizers.audio import SAMPLES
from ernest.tokenizers.bitwise_quantiser import MultiScaleBits
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.vision import to_pixels


@dataclass(frozen=True)
class MaxLengths:
    """The longest answer of each kind."""

    tokens: int = 48
    frames: int = MediaSpec.frames
    codec_frames: int = round(MediaSpec.longest_answer * MediaSpec.sample_rate / SAMPLES)


@dataclass(frozen=True)
class Generation:
    """What came out. `values`, one per prompt: token ids; latent sums float `[frames, bits, rows, columns]`; codes
    `[frames, levels]`. `log_likelihood` `[prompts]` of the choices under the model itself, at temperature 1, unguided. `bits`,
    bool `[frames, cells, bits]` for each picture or video, are the choices that its sums were made from."""

    values: list[Any]
    log_likelihood: Tensor
    bits: list[Tensor] = field(default_factory=list)


class Engine:
    """Generation with a network, or with a sub-model of it; `bf16` runs the trunk in half precision."""

    def __init__(
        self,
        model: Ernest,
        tokenizers: Tokenizers,
        submodel: SubModel | None = None,
        max_lengths: MaxLengths | None = None,
        bf16: bool = False,
    ) -> None:
        self.model, self.tokenizers, self.submodel, self.bf16 = model.eval(), tokenizers, submodel, bf16
        self.max_lengths = max_lengths or MaxLengths()

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Sequence[EncodedSegment]],
        kind: Kind,
        sampling: Sampling | None = None,
        seed: int = 0,
        first_frames: Tensor | None = None,
        rows: int = 100,
    ) -> Generation:
        """Answers prompts of given segments with one segment of `kind`, `rows` prompts at a time.

        `first_frames`, latents `[prompts, frames, bits, rows, columns]`, are the beginning of videos to be continued.
        """
        sampling = sampling or DEFAULTS[kind]
        generator = torch.Generator().manual_seed(seed)
        values: list[Any] = []
        bits: list[Tensor] = []
        likelihoods = []
        for start in range(0, len(prompts), rows):
            span = slice(start, start + rows)
            beginning = None if first_frames is None else first_frames[span]
            programs = _Programs(self, prompts[span], kind, sampling, generator, beginning)
            part, likelihood = getattr(programs, {"text": "text", "audio": "audio"}.get(kind, "vision"))()
            values += part
            bits += programs.bits
            likelihoods.append(likelihood)
        return Generation(values, torch.cat(likelihoods), bits)

    def submodels(self, rows: int) -> SubModels | None:
        """The engine's sub-model for each of `rows` rows of a teacher-forced batch."""
        return None if self.submodel is None else stack([self.submodel] * rows, self.model.config)

    def texts(self, prompts: Sequence[Sequence[EncodedSegment]], sampling: Sampling | None = None, seed: int = 0) -> list[str]:
        """Texts, one per prompt."""
        return [self.tokenizers.text.decode(ids) for ids in self.generate(prompts, "text", sampling, seed).values]

    def pictures(
        self, prompts: Sequence[Sequence[EncodedSegment]], sampling: Sampling | None = None, seed: int = 0
    ) -> np.ndarray:
        """uint8 `[prompts, height, width, 3]`."""
        return self.draw(self.generate(prompts, "image", sampling, seed).values)[:, 0]

    def videos(
        self,
        prompts: Sequence[Sequence[EncodedSegment]],
        sampling: Sampling | None = None,
        seed: int = 0,
        first: Tensor | None = None,
    ) -> np.ndarray:
        """uint8 `[prompts, frames, height, width, 3]`."""
        return self.draw(self.generate(prompts, "video", sampling, seed, first).values)

    def sounds(
        self, prompts: Sequence[Sequence[EncodedSegment]], sampling: Sampling | None = None, seed: int = 0
    ) -> list[np.ndarray]:
        """float32 `[samples]` each; a prompt that was answered by nothing gives one codec frame of silence."""
        codes = self.generate(prompts, "audio", sampling, seed).values
        waves = iter(self.tokenizers.audio.decode([part for part in codes if len(part)]))
        return [next(waves) if len(part) else np.zeros(SAMPLES, np.float32) for part in codes]

    @torch.inference_mode()
    def draw(self, sums: Sequence[Tensor]) -> np.ndarray:
        """Decodes sums of scales to pictures: uint8 `[sums, frames, height, width, 3]`."""
        decoded = torch.cat([self.tokenizers.vision.decode(part) for part in torch.stack(list(sums)).flatten(0, 1).split(256)])
        return to_pixels(decoded).unflatten(0, (len(sums), -1)).numpy()


class _Programs:
    """The decoding programs of text, vision and audio, each for one batch of prompts: the groups of a made segment, one by
    one."""

    def __init__(
        self,
        engine: Engine,
        prompts: Sequence[Sequence[EncodedSegment]],
        kind: Kind,
        sampling: Sampling,
        generator: torch.Generator,
        first_frames: Tensor | None,
    ) -> None:
        self.model, self.tokenizers, self.max_lengths = engine.model, engine.tokenizers, engine.max_lengths
        self.kind, self.sampling, self.generator, self.first_frames = kind, sampling, generator, first_frames
        self.count = len(prompts)
        made, tail = self._longest_segment()
        plans = [plan_row(segments, made, tail, self.tokenizers, drop_condition=False) for segments in prompts]
        if sampling.guidance:
            plans += [plan_row(segments, made, tail, self.tokenizers, drop_condition=True) for segments in prompts]
        self.decoder = Decoder(self.model, self.tokenizers, plans, engine.submodel, engine.bf16)
        self.likelihood = torch.zeros(self.count)
        self.bits: list[Tensor] = []

    def _longest_segment(self) -> tuple[TextTokens | CodeTokens | ScaleTokens, int]:
        """A made segment of the greatest length and the number of positions that follow the prompt."""
        max_lengths, sizes = self.max_lengths, self.tokenizers.vision.quantiser.sizes
        if self.kind == "text":
            return TextTokens((self.tokenizers.text.null,) * max_lengths.tokens), max_lengths.tokens
        if self.kind == "audio":
            return CodeTokens(max_lengths.codec_frames), max_lengths.codec_frames + 1
        made = ScaleTokens(max_lengths.frames if self.kind == "video" else 1, sizes, self.kind == "video")
        return made, made.frames * made.cells + 1

    def text(self) -> tuple[list[list[int]], Tensor]:
        eos = self.tokenizers.text.eos
        hidden = self.decoder.prefill(_nothing)
        live = torch.ones(self.count, dtype=torch.bool)
        answers: list[list[int]] = [[] for _ in range(self.count)]
        for step in range(self.max_lengths.tokens):
            logits = self.model.text_head(hidden)
            token_ids = choose_class(apply_cfg(logits, self.sampling), self.sampling, self.generator)
            self._record_log_prob(F.log_softmax(logits[: self.count].float(), dim=-1).gather(1, token_ids[:, None])[:, 0], live)
            live = live & (token_ids != eos)
            for row in live.nonzero()[:, 0].tolist():
                answers[row].append(int(token_ids[row]))
            if not live.any() or step + 1 == self.max_lengths.tokens:
                break
            x = self.model.token_embedding(self._both(token_ids))[:, None]
            hidden = self.decoder.advance(x, _nothing)[:, 0]
        return answers, self.likelihood

    def vision(self) -> tuple[list[Tensor], Tensor]:
        quantiser = self.tokenizers.vision.quantiser
        frames = self.max_lengths.frames if self.kind == "video" else 1
        hidden = self.decoder.prefill(_nothing)[:, None]
        finished: list[Tensor] = []
        all_bits: list[Tensor] = []
        previous = torch.zeros(self.count, self.tokenizers.vision.config.bits, *quantiser.sizes[-1])
        for frame in range(frames):
            is_known = self.first_frames is not None and frame < self.first_frames.shape[1]
            known = quantiser.history(self.first_frames[:, frame].float()) if is_known and self.first_frames is not None else None
            beside = pyramid(quantiser, previous)
            total = torch.zeros_like(previous)
            start = 0
            for k, (h, w) in enumerate(quantiser.sizes):
                if k:
                    value = torch.cat([_at_scale(quantiser, total, k), beside[:, start : start + h * w]], dim=2)
                    hidden = self.decoder.advance(self._cells(value, k), _nothing)
                bits = self._choose_bits(hidden, frame) if known is None else known.bits[:, start : start + h * w]
                total = total + quantiser.lookup(bits, k)
                all_bits.append(bits)
                start += h * w
            finished.append(total)
            previous = total
            if frame + 1 < frames:
                mean = _at_scale(quantiser, total, 0)
                hidden = self.decoder.advance(self._cells(torch.cat([mean, torch.zeros_like(mean)], 2), 0, total), _nothing)
        self.bits = list(torch.cat(all_bits, dim=1).unflatten(1, (frames, -1)))
        return list(torch.stack(finished, dim=1)), self.likelihood

    def audio(self) -> tuple[list[Tensor], Tensor]:
        levels, end = self.tokenizers.audio.config.levels, self.tokenizers.audio.config.codebook
        live = torch.ones(self.count, dtype=torch.bool)
        answers: list[list[Tensor]] = [[] for _ in range(self.count)]
        codes = torch.zeros(self.count, levels, dtype=torch.long)

        def choose(level: int, logits: Tensor) -> Tensor:
            """The end is decided by the first level; the other levels follow it."""
            guided = apply_cfg(logits, self.sampling).clone()
            if level:
                guided[:, end] = -torch.inf
            code = choose_class(guided, self.sampling, self.generator)
            if level:
                code = torch.where(codes[:, 0] == end, end, code)
            codes[:, level] = code
            self._record_log_prob(F.log_softmax(logits[: self.count].float(), dim=-1).gather(1, code[:, None])[:, 0], live)
            return self._both(code)

        def hook(at: Tensor) -> Hook:
            return lambda layer, x: self.model.audio.step(layer, x, at, choose)

        self.decoder.prefill(hook(self.decoder.last))
        every = torch.arange(self.decoder.rows)
        for step in range(self.max_lengths.codec_frames):
            live = live & (codes[:, 0] != end)
            for row in live.nonzero()[:, 0].tolist():
                answers[row].append(codes[row].clone())
            if not live.any() or step + 1 == self.max_lengths.codec_frames:
                break
            x = self.model.audio.embed(self._both(codes))[:, None]
            self.decoder.advance(x, hook(every))
        nothing = torch.zeros(0, levels, dtype=torch.long)
        return [torch.stack(frames) if frames else nothing for frames in answers], self.likelihood

    def _choose_bits(self, hidden: Tensor, frame: int) -> Tensor:
        logits = self.model.bit_head(hidden)
        bits = choose_bits(apply_cfg(logits, self.sampling), at_frame(self.sampling, frame), self.generator)
        own = logits[: self.count].float()
        self._record_log_prob(-F.binary_cross_entropy_with_logits(own, bits.float(), reduction="none").sum((1, 2)))
        return bits

    def _cells(self, value: Tensor, scale: int, frame: Tensor | None = None) -> Tensor:
        """Inputs `[rows, cells, width]` of one scale, or of SΣ where finished `frame`s are given."""
        value = self._both(value)
        rows, cells, _ = value.shape
        at = torch.arange(rows * cells)
        frames = torch.zeros(0, self.model.frame_projection.in_features) if frame is None else self._both(frame).flatten(1)
        inputs = Cells(at, value.flatten(0, 1), torch.full((rows * cells,), scale), at[: len(frames)], frames)
        return self.model.embed_cells(inputs, torch.zeros(rows * cells, self.model.config.width)).view(rows, cells, -1)

    def _both(self, values: Tensor) -> Tensor:
        """The same for the conditioned and the unconditioned rows."""
        return torch.cat([values, values]) if self.sampling.guidance else values

    def _record_log_prob(self, log_p: Tensor, live: Tensor | None = None) -> None:
        self.likelihood += log_p if live is None else log_p * live


def _nothing(layer: int, x: Tensor) -> Tensor:
    return x


def _at_scale(quantiser: MultiScaleBits, total: Tensor, k: int) -> Tensor:
    return quantiser.down(total, k).flatten(2).transpose(1, 2)
