"""Given pictures, videos and sounds among text tokens: what the processor hands to the model, and its embedding."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.model.network import Ernest
from ernest.sequence.batch import Patches
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.vision import VisionTokenizer

WORD, STILL, CLIP, SOUND = 0, 1, 2, 3
"""Types of a position: a text token; a merged patch of one frame, of four frames; a codec frame."""


@dataclass(frozen=True)
class Media:
    """What rows are given, in the order of their positions, filled up with zeros.

    `pixel_values` `[rows, frames, 1, 3, height, width]` in [0, 1] are pictures and first frames of videos, `pixel_values_videos`
    `[rows, clips, 4, 3, height, width]` the further frames of videos by four; `input_values` `[rows, samples]` are sounds behind
    each other, each a whole number of codec frames long.
    """

    pixel_values: Tensor | None = None
    pixel_values_videos: Tensor | None = None
    input_values: Tensor | None = None


class EmbeddedMedia:
    """Embeds token ids and media with a network and its tokenizers."""

    def __init__(self, network: Ernest, vision: VisionTokenizer, audio: AudioTokenizer) -> None:
        self.network, self.vision, self.audio = network, vision, audio

    def __call__(self, input_ids: Tensor, types: Tensor | None, media: Media) -> Tensor:
        """`[rows, positions, width]`. Raises ValueError where positions and media do not agree."""
        x = self.network.token_embedding(input_ids)
        if types is None or not types.any():
            return x
        x = (x * (types == WORD)[..., None]).flatten(0, 1)
        for kind, pixels in ((STILL, media.pixel_values), (CLIP, media.pixel_values_videos)):
            if (types == kind).any():
                x = self._add_patches(x, types == kind, pixels)
        if (types == SOUND).any():
            x = self._add_sounds(x, types == SOUND, media.input_values)
        return x.unflatten(0, input_ids.shape)

    def _add_patches(self, x: Tensor, here: Tensor, pixels: Tensor | None) -> Tensor:
        rows, columns = self.network.spec.merged_grid
        counts = here.sum(dim=1) // (rows * columns)
        if pixels is None or pixels.shape[1] < int(counts.max()):
            raise ValueError(f"pictures: the rows have places for {counts.tolist()}, and fewer are given")
        given = pixels[torch.arange(pixels.shape[1], device=pixels.device) < counts[:, None]]
        with torch.no_grad():
            features = self.vision.features(given.flatten(0, 1).float()).unflatten(0, given.shape[:2])
        index = here.flatten().nonzero()[:, 0]
        tokens = self.network.encoder(Patches(index, given.to(x.dtype), features.to(x.dtype)))
        return x.index_add(0, index, tokens.to(x.dtype))

    def _add_sounds(self, x: Tensor, here: Tensor, waves: Tensor | None) -> Tensor:
        if waves is None:
            raise ValueError("sounds: the rows have places for some, and none is given")
        end = torch.full((1, self.audio.config.levels), self.audio.config.codebook)
        codes = []
        for row, wave in zip(_runs(here), waves.float().cpu(), strict=True):
            samples = self.audio.config.samples
            parts = wave.split([*(samples * frames for frames in row), len(wave) - samples * sum(row)])[: len(row)]
            for code in self.audio.encode([part.numpy() for part in parts]):
                codes += [code, end]
        index = here.flatten().nonzero()[:, 0]
        return x.index_add(0, index, self.network.audio.embed(torch.cat(codes).to(x.device)).to(x.dtype))


def _runs(here: Tensor) -> list[list[int]]:
    """Codec frames of each sound of each row: a run of positions holds one more, the end."""
    edges = torch.nn.functional.pad(here.int(), (1, 1)).diff(dim=1)
    begins, ends = ((edges == sign).nonzero() for sign in (1, -1))
    runs: list[list[int]] = [[] for _ in here]
    for (row, begin), (_, stop) in zip(begins.tolist(), ends.tolist(), strict=True):
        runs[row].append(stop - begin - 1)
    return runs
