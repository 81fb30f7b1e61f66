"""Texts, pictures, videos and sounds as what the exported model is given: `ernest.sequence` lays them out."""

# pyright: reportMissingImports=false

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin

from ernest.config.media import CODE_RATE, MediaSpec
from ernest.data import media
from ernest.data.pictures import still
from ernest.data.sounds import resampled
from ernest.export.media import CLIP, SOUND, STILL, WORD
from ernest.export.text import ErnestTokenizer
from ernest.overrides import build
from ernest.sequence.groups import CODE, PATCH, TEXT, CodeTokens, ControlTokens, Layout, PatchTokens, TextTokens, Tokens, lay_out
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import to_frames

CONTROL = ControlTokens(*(getattr(TextTokenizer, name) for name in ControlTokens.__dataclass_fields__))


class ErnestProcessor(ProcessorMixin):
    """Lays out prompts that `generate` answers with a text: pictures first, then videos, sounds and words. `media` are fields of
    `MediaSpec`, to whose sizes and rates they are brought."""

    def __init__(self, tokenizer: ErnestTokenizer, media: dict[str, Any] | None = None) -> None:
        super().__init__(tokenizer)
        self.media = media or {}

    @property
    def spec(self) -> MediaSpec:
        """The sizes and rates."""
        return build(MediaSpec, self.media, "media")

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        videos: Any = None,
        audio: Any = None,
        sampling_rate: int | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Tensors for `generate`, padded on the left. Each argument holds one thing, or a list with one for each row; a row
        without it has None, and one with several of it a list.

        Pictures are files, Pillow's images or uint8 `[height, width, 3]`, videos files or uint8 `[frames, height, width, 3]`,
        sounds files or float32 `[samples]` of `sampling_rate`, by default the model's. Raises ValueError, which names the row,
        for what cannot be.
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors = {return_tensors!r}: expected 'pt'")
        columns = [_listed(given) for given in (images, videos, audio, text)]
        count = max(map(len, columns))
        if not count:
            raise ValueError("expected pictures, videos, sounds or texts, got none")
        rate = round(self.spec.sample_rate if sampling_rate is None else sampling_rate)
        if rate < 1:
            raise ValueError(f"sampling_rate = {sampling_rate}: expected samples a second")
        if any(len(column) not in (0, count) for column in columns):
            sizes = [len(column) for column in columns]
            raise ValueError(f"expected as many pictures, videos, sounds and texts, row by row, got {sizes}")
        filled = [column or [None] * count for column in columns]
        rows = enumerate(zip(*filled, strict=True))
        return _batch([self._row(n, given, rate) for n, given in rows])

    def _row(self, number: int, given: tuple[Any, ...], rate: int) -> "_Row":
        images, videos, sounds, text = given
        row = _Row()
        try:
            for image in _listed(images):
                self._add(row, self._picture(image)[None], False)
            for video in _listed(videos):
                self._add(row, self._film(video), True)
            for sound in _listed(sounds):
                wave, samples = _wave(sound, rate, self.spec), round(self.spec.sample_rate / CODE_RATE)
                row.waves.append(np.pad(wave, (0, -len(wave) % samples)))
                row.tokens.append(CodeTokens(len(row.waves[-1]) // samples))
            for words in _listed(text):
                row.tokens.append(TextTokens(tuple(self.tokenizer.text.encode(words))))
        except (ValueError, AttributeError, TypeError) as error:
            raise ValueError(f"row {number}: {error}") from error
        return row

    def _add(self, row: "_Row", frames: np.ndarray, is_video: bool) -> None:
        """The first frame alone, the others by four; the last clip is filled up with its last frame."""
        rows, columns = self.spec.merged_grid
        row.tokens.append(PatchTokens(len(frames), (rows, columns), is_video))
        row.stills.append(frames[:1])
        rest = frames[1:]
        if len(rest):
            rest = np.concatenate([rest, np.repeat(rest[-1:], -len(rest) % 4, axis=0)])
            row.clips += np.split(rest, len(rest) // 4)
        merged = rows * columns
        row.types += [STILL] * merged + [CLIP] * (merged * (-(-(len(frames) - 1) // 4)))

    def _picture(self, image: Any) -> np.ndarray:
        if isinstance(image, str | Path):
            return media.read_image(image, self.spec)
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or not image.size:
                raise ValueError(f"a picture: expected uint8 [height, width, 3], got {image.dtype} {list(image.shape)}")
            image = Image.fromarray(image)
        if not isinstance(image, Image.Image):
            raise ValueError(
                f"a picture: expected a file, Pillow's image or uint8 [height, width, 3], got {type(image).__name__}"
            )
        return _seen(image, self.spec.size)

    def _film(self, video: Any) -> np.ndarray:
        if isinstance(video, str | Path):
            return media.read_video(video, spec=self.spec)
        if not isinstance(video, np.ndarray) or video.ndim != 4 or not len(video):
            raise ValueError("a video: expected a file or uint8 [frames, height, width, 3]")
        return np.stack([self._picture(frame) for frame in video])


class _Row:
    """What a row is given: tokens, their media, and the types of the positions that are patches."""

    def __init__(self) -> None:
        self.tokens: list[Tokens] = []
        self.stills: list[np.ndarray] = []
        self.clips: list[np.ndarray] = []
        self.waves: list[np.ndarray] = []
        self.types: list[int] = []

    def layout(self) -> Layout:
        """Up to the position that predicts the first token of a text."""
        begun = TextTokens((TextTokenizer.null,))
        return lay_out([*((tokens, False) for tokens in self.tokens), (begun, True)], CONTROL)

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Ids, types, groups `[positions]` and positions `[positions, 3]`, without the text that begins."""
        layout = self.layout()
        types = np.where(layout.source == CODE, SOUND, WORD)
        types[layout.source == PATCH] = self.types
        ids = np.where(layout.source == TEXT, layout.content, TextTokenizer.pad)
        return ids[:-1], types[:-1], layout.group[:-1], layout.position[:-1]


def _batch(rows: Sequence[_Row]) -> BatchFeature:
    ids, types, groups, positions = zip(*(row.columns() for row in rows), strict=True)
    made = {
        "input_ids": _padded(ids, TextTokenizer.pad),
        "attention_mask": _padded([np.ones(len(row), np.int64) for row in ids], 0),
    }
    if any(row.any() for row in types):
        made |= {
            "mm_token_type_ids": _padded(types, WORD),
            "group_ids": _padded(groups, -1),
            "position_ids": _padded([row.astype(np.int64) for row in positions], 0).movedim(-1, 0),
        }
    for name, clips in (("pixel_values", [row.stills for row in rows]), ("pixel_values_videos", [row.clips for row in rows])):
        if any(clips):
            made[name] = _filled([to_frames(np.stack(own)) if own else torch.zeros(0, 1, 1, 1, 1) for own in clips])
    if any(row.waves for row in rows):
        made["input_values"] = _filled([torch.from_numpy(np.concatenate([np.zeros(0, np.float32), *row.waves])) for row in rows])
    return BatchFeature(made)


def _padded(rows: Sequence[np.ndarray], fill: int) -> Tensor:
    """Filled up on the left, `[rows, longest, …]`."""
    longest = max(map(len, rows))
    wide = [np.pad(row, [(longest - len(row), 0), *[(0, 0)] * (row.ndim - 1)], constant_values=fill) for row in rows]
    return torch.from_numpy(np.stack(wide))


def _filled(rows: Sequence[Tensor]) -> Tensor:
    """Filled up with zeros behind, `[rows, most, …]`."""
    most = max(rows, key=len)
    made = most.new_zeros(len(rows), *most.shape)
    for place, row in zip(made, rows, strict=True):
        if len(row):
            place[: len(row)] = row
    return made


def _listed(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]


def _seen(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """As the model sees it, uint8 `[*size, 3]`. What is read small is changed: so a picture that has not been read yet is opened
    anew, and another one copied."""
    file = getattr(image, "filename", "")
    if file and not image.tell() and getattr(image, "tile", ()):
        with suppress(OSError), Image.open(file) as again:
            return still(again, size)
    return still(image.copy(), size)


def _wave(sound: Any, rate: int, spec: MediaSpec) -> np.ndarray:
    if isinstance(sound, str | Path):
        return media.read_audio(sound, spec)
    if not isinstance(sound, np.ndarray) or sound.dtype != np.float32 or sound.ndim != 1 or not len(sound):
        raise ValueError("a sound: expected a file or float32 [samples]")
    if not np.isfinite(sound).all():
        raise ValueError("a sound: holds samples that are no numbers")
    return resampled(sound, rate, spec.sample_rate).clip(-1, 1).astype(np.float32)
