"""Packed rows as the tensors of a batch: inputs and targets of every modality, with the bits of made pictures corrupted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.config.tables import SequenceConfig
from ernest.data.corruption import RowCorruption, draw_flips, misheard, near_codes
from ernest.data.examples import EncodedSegment
from ernest.data.layout import PackedExample
from ernest.device import HOST
from ernest.sequence.batch import Batch, Cells, CellTargets, Codes, MTPTargets, Patches, Voices
from ernest.sequence.bucketing import round_up
from ernest.sequence.groups import CELL, CLIP, CODE, PATCH, TEXT, VOICE, Layout
from ernest.sequence.history import hide_frames
from ernest.tokenizers.bitwise_quantiser import BitHistory, MultiScaleBits
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.vision import to_frames


def collate(
    rows: Sequence[Sequence[PackedExample]],
    length: int,
    tokenizers: Tokenizers,
    corruption: SequenceConfig | None = None,
    seeds: Sequence[int] = (),
    features: Callable[[np.ndarray], Tensor] | None = None,
) -> Batch:
    """Packed rows as tensors. With `corruption`, the history of row r is corrupted as that asks, by draws from `seeds[r]`.

    `features` says what the vision tokenizer's would be of frames uint8 `[N, height, width, 3]`, which are asked for without it.
    """
    grid = _Grid(len(rows), length)
    content = _Content(tokenizers, features or (lambda frames: tokenizers.vision.features(to_frames(frames))))
    for r, row in enumerate(rows):
        draws = RowCorruption.seeded(corruption, seeds[r]) if corruption is not None else None
        start = 0
        for number, packed in enumerate(row):
            grid.write(r, start, number, packed.layout)
            content.add(r * length + start, packed, draws)
            start += len(packed.layout)
    return grid.batch(content)


class _Grid:
    """The arrays over all positions."""

    def __init__(self, rows: int, length: int) -> None:
        self.token_id = np.zeros((rows, length), np.int64)
        self.document = np.full((rows, length), -1)
        self.group = np.zeros((rows, length), np.int64)
        self.position = np.zeros((rows, length, 3))
        self.token_target = np.full((rows, length), -1)

    def write(self, row: int, start: int, number: int, layout: Layout) -> None:
        span = slice(start, start + len(layout))
        text = layout.source == TEXT
        self.token_id[row, span] = np.where(text, layout.content, 0)
        self.document[row, span] = number
        self.group[row, span] = layout.group
        self.position[row, span] = layout.position
        self.token_target[row, span] = np.where(layout.weight > 0, layout.token_target, -1)

    def batch(self, content: "_Content") -> Batch:
        token_id, document, group = (torch.from_numpy(a) for a in (self.token_id, self.document, self.group))
        position, target = torch.from_numpy(self.position), torch.from_numpy(self.token_target)
        index = torch.from_numpy(np.flatnonzero(self.token_target >= 0))
        return Batch(token_id, document, group, position, target, index, *content.tensors(), self.mtp())

    def mtp(self) -> MTPTargets:
        """Text positions whose target is followed by another text target of the same document."""
        follows = (self.token_target >= 0) & (self.document >= 0)
        ahead = follows[:, :-1] & follows[:, 1:] & (self.document[:, :-1] == self.document[:, 1:])
        ahead &= self.group[:, :-1] + 1 == self.group[:, 1:]
        # The next position holds the token itself, not a cell or a code.
        ahead &= self.token_id[:, 1:] == self.token_target[:, :-1]
        columns = [np.flatnonzero(row) for row in ahead]
        widest = round_up(max(map(len, columns)))
        index = np.full((len(columns), widest), -1)
        for row, indices in enumerate(columns):
            index[row, : len(indices)] = indices
        read = np.maximum(index, 0)
        token_id = np.take_along_axis(np.maximum(self.token_target, 0), read, axis=1)
        target = np.where(
            index >= 0, np.take_along_axis(self.token_target, np.minimum(read + 1, self.token_target.shape[1] - 1), axis=1), -1
        )
        return MTPTargets(*map(torch.from_numpy, (index, token_id, target, np.flatnonzero(target >= 0))))


class _Content:
    """What positions carry besides text tokens: noted document by document, and made at once for all."""

    def __init__(self, tokenizers: Tokenizers, features: Callable[[np.ndarray], Tensor]) -> None:
        self.tokenizers, self.features = tokenizers, features
        self.latents: list[np.ndarray] = []
        self.flips: list[Tensor] = []
        self.hidden: list[Tensor] = []
        self.cells: list[np.ndarray] = []
        self.cell_targets: list[tuple[np.ndarray, np.ndarray]] = []
        self.pixels: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {1: [], CLIP: []}
        self.codes: list[tuple[np.ndarray, np.ndarray]] = []
        self.code_targets: list[tuple[np.ndarray, np.ndarray]] = []
        self.voices: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, offset: int, packed: PackedExample, draws: RowCorruption | None) -> None:
        layout, segments = packed.layout, packed.example.segments
        made = [segment for segment in segments if segment.form == "latent"]
        if made:
            self._add_cells(offset, layout, made, draws)
        given = [segment for segment in segments if segment.form == "pixels"]
        if given:
            self._add_patches(offset + np.flatnonzero(layout.source == PATCH), given)
        sounds = [segment for segment in segments if segment.form == "codes"]
        if sounds:
            end = np.full((1, sounds[0].data.shape[1]), self.tokenizers.audio.config.codebook, np.int16)
            values = np.concatenate([part for segment in sounds for part in (self._codes(segment, draws), end)])
            self.codes.append((offset + np.flatnonzero(layout.source == CODE), values))
            index = np.flatnonzero((layout.code_target >= 0) & (layout.weight > 0))
            self.code_targets.append((offset + index, values[layout.code_target[index]]))
        voices = [segment.data for segment in segments if segment.form == "voice"]
        if voices:
            self.voices.append((offset + np.flatnonzero(layout.source == VOICE), np.concatenate(voices)))

    def _codes(self, segment: EncodedSegment, draws: RowCorruption | None) -> np.ndarray:
        """Those of a sound; in training, of another hearing of it, some are misheard."""
        if draws is None or not segment.other:
            return segment.data
        return misheard(segment.data, near_codes(self.tokenizers.audio.quantiser.codebooks), draws.codes)

    def _add_cells(self, offset: int, layout: Layout, segments: Sequence[EncodedSegment], draws: RowCorruption | None) -> None:
        quantiser = self.tokenizers.vision.quantiser
        first = sum(map(len, self.latents)) * quantiser.cells
        for segment in segments:
            self.latents.append(np.asarray(segment.data))
            if draws is not None and draws.config.flips:
                self.flips.append(draw_flips(quantiser, len(segment.data), draws.config, draws.flips))
            if draws is not None and draws.config.frame_mask_rate:
                self.hidden.append(draws.hidden(len(segment.data)))
        self.cells.append(offset + np.flatnonzero(layout.source == CELL))
        predicts = np.flatnonzero((layout.cell_target >= 0) & (layout.weight > 0))
        self.cell_targets.append((offset + predicts, first + layout.cell_target[predicts]))

    def _add_patches(self, index: np.ndarray, segments: Sequence[EncodedSegment]) -> None:
        rows, columns = self.tokenizers.vision.grid
        merged = rows // 2 * (columns // 2)
        start = 0
        for segment in segments:
            first, rest = segment.data[:1], segment.data[1:]
            if len(rest) % CLIP:  # the last clip is filled up with its last frame
                rest = np.concatenate([rest, np.repeat(rest[-1:], -len(rest) % CLIP, axis=0)])
            for frames in (first, *np.split(rest, len(rest) // CLIP)) if len(rest) else (first,):
                self.pixels[len(frames)].append((index[start : start + merged], frames))
                start += merged

    def tensors(self) -> tuple[Cells, CellTargets, Patches, Patches, Codes, Codes, Voices]:
        """As `Batch` lists them."""
        levels = self.tokenizers.audio.config.levels
        codes = _codes(self.codes, levels), _codes(self.code_targets, levels)
        return *self._cells(), self._patches(1), self._patches(4), *codes, self._voices()

    def _cells(self) -> tuple[Cells, CellTargets]:
        quantiser = self.tokenizers.vision.quantiser
        if not self.latents:
            none, few, (height, width) = nothing(dtype=torch.long), nothing(quantiser.bits), quantiser.sizes[-1]
            cells = Cells(none, torch.cat([few, few], 1), none, none, nothing(quantiser.bits * height * width))
            return cells, CellTargets(none, few, none, nothing())
        rows = scale_rows(self.latents, quantiser, torch.cat(self.flips) if self.flips else None)
        index = torch.from_numpy(np.concatenate(self.cells))
        predicts, target = (torch.from_numpy(np.concatenate(column)) for column in zip(*self.cell_targets, strict=True))
        cell = target % quantiser.cells
        of_scale, weight = scale_numbers(quantiser.sizes)[cell], scale_weights(quantiser.sizes)[cell]
        cells = Cells(index, rows.value, rows.scale, index[rows.scale == 0], rows.frame)
        if self.hidden and (hidden := torch.cat(self.hidden)).any():
            cells = hide_frames(cells, hidden)
        return cells, CellTargets(predicts, rows.bits[target], of_scale, weight)

    def _voices(self) -> Voices:
        if not self.voices:
            numbers = 0 if self.tokenizers.voice is None else self.tokenizers.voice.config.numbers
            return Voices(nothing(dtype=torch.long), nothing(numbers))
        index, value = (np.concatenate(column) for column in zip(*self.voices, strict=True))
        return Voices(torch.from_numpy(index), torch.from_numpy(value).float())

    @torch.no_grad()
    def _patches(self, frames: int) -> Patches:
        vision, clips = self.tokenizers.vision, self.pixels[frames]
        if not clips:
            features = nothing(frames, vision.feature_channels, *vision.grid)
            return Patches(nothing(dtype=torch.long), nothing(frames, 3, *vision.config.frame), features)
        pixels = np.concatenate([clip for _, clip in clips])
        index = torch.from_numpy(np.concatenate([index for index, _ in clips]))
        return Patches(index, *(part.unflatten(0, (len(clips), frames)) for part in (to_frames(pixels), self.features(pixels))))


@dataclass(frozen=True)
class ScaleRows:
    """Made segments as the rows of their cells, in the order of their layouts: inputs `value` `[frames * cells, 2 bits]` with
    their `scale` (0 is SΣ), the finished frames `frame` `[frames, bits * height * width]`, target `bits`
    `[frames * cells, bits]`."""

    value: Tensor
    scale: Tensor
    frame: Tensor
    bits: Tensor


@torch.no_grad()
def scale_rows(latents: Sequence[np.ndarray], quantiser: MultiScaleBits, flips: Tensor | None = None) -> ScaleRows:
    """Inputs and targets of next-frame-and-scale prediction of segments `[frames, bits, height, width]`, with self-corrected
    `flips` `[all frames, cells, bits]` of the history (§2.2.3)."""
    latent = torch.from_numpy(np.concatenate(latents)).float()
    return rows_of_history(quantiser.history(latent, flips), [len(frames) for frames in latents], quantiser)


@torch.no_grad()
def rows_of_history(history: BitHistory, lengths: Sequence[int], quantiser: MultiScaleBits) -> ScaleRows:
    """The same of segments of `lengths` frames whose bits are known, one behind the other."""
    starts = np.cumsum(lengths) - lengths
    (height, width), *_ = quantiser.sizes
    previous = torch.cat([torch.zeros_like(history.total[:1]), history.total[:-1]])
    previous[torch.from_numpy(starts)] = 0.0  # a segment has no frame before its first
    previous_scales = pyramid(quantiser, previous)
    finished = torch.cat([quantiser.down(history.total, 0).flatten(2).transpose(1, 2)] * 2, dim=2)
    finished[..., quantiser.bits :] = 0.0
    skip = height * width
    value = torch.cat([torch.cat([history.inputs, previous_scales], dim=2)[:, skip:], finished], dim=1)
    scale = F.pad(scale_numbers(quantiser.sizes)[skip:], (0, 1))
    return ScaleRows(
        value.flatten(0, 1), scale.repeat(len(history.total)), history.total.flatten(1), history.bits.flatten(0, 1).float()
    )


def nothing(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """What no position carries, `[0, *size]`, whatever torch's default type and device."""
    return torch.zeros(0, *size, dtype=dtype, device=HOST)


def pyramid(quantiser: MultiScaleBits, total: Tensor) -> Tensor:
    """The average of `total` at every scale, `[frames, cells, bits]`."""
    return torch.cat([quantiser.down(total, k).flatten(2).transpose(1, 2) for k in range(len(quantiser.sizes))], dim=1)


@lru_cache
def scale_numbers(sizes: tuple[tuple[int, int], ...]) -> Tensor:
    """The scale of each cell of a frame."""
    return torch.tensor([k for k, (h, w) in enumerate(sizes) for _ in range(h * w)], device=HOST)


@lru_cache
def scale_weights(sizes: tuple[tuple[int, int], ...]) -> Tensor:
    """Loss weight of each cell of a frame, proportional to sqrt(A_K / A_k) and summing to 1, so that the weight of a scale grows
    with its side and not with its area (§2.2.3; formula of Infinity)."""
    area = torch.tensor([h * w for h, w in sizes], dtype=torch.float32, device=HOST)
    weight = (area[-1] / area).sqrt()[scale_numbers(sizes)]
    return weight / weight.sum()


def _codes(parts: list[tuple[np.ndarray, np.ndarray]], levels: int) -> Codes:
    if not parts:
        return Codes(nothing(dtype=torch.long), nothing(levels, dtype=torch.long))
    index, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Codes(torch.from_numpy(index), torch.from_numpy(value.astype(np.int64)))
