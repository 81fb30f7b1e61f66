"""Tokenizers without a model: arrays or texts in, bits or codes out, and back; whole or in chunks.

Pictures and videos are coded frame by frame, or group by group with a temporal stride, so that a video that comes in chunks gets
the bits of the whole one as soon as a group is there. The codec of sounds looks ahead by less than a second: its codes follow
later, and are those of the whole sound. Texts are cut into words before anything is merged, and are only encoded whole.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log2
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ernest.config.media import FILE, MediaSpec, read_media, to_json
from ernest.overrides import build
from ernest.storage import fingerprint, load_tensors, read_header, save_tensors, write_text
from ernest.tokenizers.audio import DECODER_REACH, MEL_FRAMES, AudioTokenizer
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import VisionTokenizer, to_frames, to_pixels

Kind = Literal["text", "vision", "audio"]
FILES: dict[Kind, str] = {"text": "text.json", "vision": "vision.safetensors", "audio": "audio.safetensors"}
"""Where a folder has the tokenizer of each kind, as a checkpoint has them."""
ABOUT = "tokenizer.json"
"""What a folder of `ernest tokenizer train` says of itself; the last file to be written."""
CHUNK = 64
"""Frames that are encoded or decoded at once."""


@dataclass(frozen=True)
class About:
    """What a tokenizer is, as a refusal names it: its kind, the recipe that it was trained by, and a fingerprint of its file."""

    kind: Kind
    recipe: str
    fingerprint: str

    def __str__(self) -> str:
        return f"a {self.kind} tokenizer of the recipe {self.recipe} ({self.fingerprint[:8]})"


@dataclass(frozen=True)
class PictureTokenizer:
    """Frames to bits, and back."""

    about: About
    media: MediaSpec
    network: VisionTokenizer

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Bits bool `[latents, cells, bits]` of a video uint8 `[frames, height, width, 3]`, or `[cells, bits]` of a picture
        `[height, width, 3]`. A latent is a frame, or behind the first one a group. Raises ValueError for other sizes."""
        if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or not pixels.size:
            raise ValueError(
                f"expected uint8 [height, width, 3] or [frames, height, width, 3], got {pixels.dtype} {list(pixels.shape)}"
            )
        if pixels.ndim == 3:
            return self.encode(pixels[None])[0]
        stream = self.stream()
        chunks = [stream.push(pixels[start : start + CHUNK]) for start in range(0, len(pixels), CHUNK)]
        return np.concatenate([*chunks, stream.finish()])

    def decode(self, bits: np.ndarray, scales: int | None = None) -> np.ndarray:
        """The inverse of `encode`, as near as the bits are; of the first `scales` scales, all by default. Raises ValueError for
        bits of another shape."""
        quantiser, stride = self.network.quantiser, self.network.config.stride
        if bits.ndim == 2:
            return self.decode(bits[None], scales)[0]
        if bits.ndim != 3 or bits.shape[1:] != (quantiser.cells, quantiser.bits) or not len(bits):
            raise ValueError(f"expected bits [latents, {quantiser.cells}, {quantiser.bits}], got {list(bits.shape)}")
        drawn = []
        for start in range(0, len(bits), CHUNK):
            before = int(stride > 1 and start > 0)  # a frame hangs on the latent before its own as well
            part = torch.from_numpy(np.ascontiguousarray(bits[start - before : start + CHUNK]))
            with torch.inference_mode():
                drawn.append(to_pixels(self.network.decode_film(quantiser.sum(part, scales))).numpy()[before:])
        return np.concatenate(drawn)

    def stream(self) -> "PictureStream | FilmStream":
        """An encoder of a video that comes in chunks."""
        return PictureStream(self) if self.network.config.stride == 1 else FilmStream(self)

    @property
    def bits_a_frame(self) -> int:
        """Bits of a frame, or of a frame's share in its group."""
        return self.network.quantiser.cells * self.network.quantiser.bits // self.network.config.stride

    def encode_film(self, pixels: np.ndarray) -> np.ndarray:
        """Bits of a film that is there as a whole, at once."""
        with torch.inference_mode():
            latents = self.network.encode_film(to_frames(pixels))
            pair = latents if len(latents) > 1 else latents.expand(2, *latents.shape[1:])
            return self.network.quantiser.history(pair).bits[: len(latents)].numpy()

    def encode_frames(self, pixels: np.ndarray) -> np.ndarray:
        """One frame goes in twice: PyTorch convolves a single one in another order of sums, and a frame's bits must not hang on
        its company."""
        pair = pixels if len(pixels) > 1 else pixels.repeat(2, axis=0)
        with torch.inference_mode():
            bits = self.network.quantiser.history(self.network.encode(to_frames(pair))).bits
        return bits[: len(pixels)].numpy()


class PictureStream:
    """Each chunk gives its bits at once: no frame hangs on another."""

    def __init__(self, tokenizer: PictureTokenizer) -> None:
        self.tokenizer = tokenizer

    def push(self, pixels: np.ndarray) -> np.ndarray:
        """Bits of further frames uint8 `[frames, height, width, 3]`."""
        quantiser = self.tokenizer.network.quantiser
        return self.tokenizer.encode_frames(pixels) if len(pixels) else np.zeros((0, quantiser.cells, quantiser.bits), bool)

    def finish(self) -> np.ndarray:
        """What is left: nothing."""
        return self.push(np.zeros((0, 1, 1, 3), np.uint8))


class FilmStream:
    """Bits come as soon as a group of frames is whole. The frame before it, on which its latent hangs, is encoded with it."""

    def __init__(self, tokenizer: PictureTokenizer) -> None:
        self.tokenizer = tokenizer
        self.frames: np.ndarray | None = None
        """From the last one on that has been coded."""
        self.begun = False

    def push(self, pixels: np.ndarray) -> np.ndarray:
        """Bits of the groups that further frames uint8 `[frames, height, width, 3]` made whole."""
        if len(pixels):
            self.frames = pixels if self.frames is None else np.concatenate([self.frames, pixels])
        stride = self.tokenizer.network.config.stride
        groups = 0 if self.frames is None else (len(self.frames) - 1) // stride
        return self._code(groups * stride)

    def finish(self) -> np.ndarray:
        """Bits of a last group that did not become whole: it is filled up with its last frame."""
        return self._code(0 if self.frames is None else len(self.frames) - 1)

    def _code(self, last: int) -> np.ndarray:
        """Bits up to the frame `last`, which stays."""
        if self.frames is None or (self.begun and not last):
            quantiser = self.tokenizer.network.quantiser
            return np.zeros((0, quantiser.cells, quantiser.bits), bool)
        bits = self.tokenizer.encode_film(self.frames[: last + 1])[int(self.begun) :]
        self.frames, self.begun = self.frames[last:], True
        return bits


@dataclass(frozen=True)
class SoundTokenizer:
    """Waves to codes, and back."""

    about: About
    media: MediaSpec
    network: AudioTokenizer

    def encode(self, wave: np.ndarray) -> np.ndarray:
        """Codes int16 `[frames, levels]` of a wave float32 `[samples]`, 12.5 a second. Raises ValueError for one that is none."""
        return self.network.encode([wave])[0].numpy().astype(np.int16)

    def decode(self, codes: np.ndarray, levels: int | None = None, iterations: int | None = None) -> np.ndarray:
        """A wave float32 `[samples]` of codes, of the first `levels` of each, all by default; `iterations` asks for as many steps
        of Griffin and Lim where there is a vocoder. Raises ValueError for other codes."""
        return self.network.decode([torch.from_numpy(codes.astype(np.int64))], levels, iterations)[0]

    def stream(self) -> "SoundStream":
        """An encoder of a sound that comes in chunks."""
        return SoundStream(self)

    def decoding_stream(self) -> "WaveStream":
        """A decoder of codes that come in chunks. Raises ValueError without a vocoder: Griffin and Lim's iteration goes over the
        whole sound."""
        return WaveStream(self)

    @property
    def bits_a_frame(self) -> float:
        """Bits of a frame of codes."""
        return self.network.config.levels * log2(self.network.config.codebook)


class SoundStream:
    """Codes come as soon as all that they hang on is there, `DELAY` frames of codes later; they are those of the whole sound.

    What lies around a chunk is encoded with it, as far as the network looks, and left out again.
    """

    DELAY = 6
    """Frames of codes by which the network looks ahead, and back, at most: 0.48 s."""

    def __init__(self, tokenizer: SoundTokenizer) -> None:
        self.tokenizer = tokenizer
        self.wave = np.zeros(0, np.float32)
        self.start = 0
        """The frame of codes with which `wave` begins."""
        self.done = 0

    def push(self, wave: np.ndarray) -> np.ndarray:
        """Codes that further samples float32 `[samples]` made certain."""
        self.wave = np.concatenate([self.wave, wave.astype(np.float32)])
        known = self.start + len(self.wave) // self.tokenizer.network.config.samples
        return self._codes(known - self.DELAY) if known - self.DELAY > self.done else self._nothing()

    def finish(self) -> np.ndarray:
        """The rest, of the end of the sound."""
        samples = self.tokenizer.network.config.samples
        end = self.start + -(-len(self.wave) // samples)
        return self._codes(end) if end > self.done else self._nothing()

    def _codes(self, end: int) -> np.ndarray:
        codes = self.tokenizer.encode(self.wave)[self.done - self.start : end - self.start]
        self.done = end
        begin = max(self.start, end - self.DELAY)
        self.wave = self.wave[(begin - self.start) * self.tokenizer.network.config.samples :]
        self.start = begin
        return codes

    def _nothing(self) -> np.ndarray:
        return np.zeros((0, self.tokenizer.network.config.levels), np.int16)


class WaveStream:
    """Samples come as soon as all codes are there that they hang on, `delay` frames later; but for rounding they are those of the
    whole sound.

    As in `SoundStream`, what lies around a chunk is decoded with it and left out again.
    """

    def __init__(self, tokenizer: SoundTokenizer) -> None:
        vocoder = tokenizer.network.vocoder
        if vocoder is None:
            raise ValueError("sounds are decoded in chunks by a vocoder, and this tokenizer has none: tokenizers.vocoder_steps")
        self.tokenizer = tokenizer
        self.delay = -(-(DECODER_REACH + vocoder.reach) // MEL_FRAMES)
        """Frames of codes on which a sample hangs on either side of its own, at most."""
        self.codes = np.zeros((0, tokenizer.network.config.levels), np.int16)
        self.start = 0
        """The frame with which `codes` begins."""
        self.done = 0

    def push(self, codes: np.ndarray) -> np.ndarray:
        """Samples float32 that further codes `[frames, levels]` made certain."""
        self.codes = np.concatenate([self.codes, codes])
        return self._wave(self.start + len(self.codes) - self.delay)

    def finish(self) -> np.ndarray:
        """The rest, of the end of the sound."""
        return self._wave(self.start + len(self.codes))

    def _wave(self, end: int) -> np.ndarray:
        if end <= self.done:
            return np.zeros(0, np.float32)
        samples = self.tokenizer.network.config.samples
        wave = self.tokenizer.decode(self.codes)[(self.done - self.start) * samples : (end - self.start) * samples]
        self.done, begin = end, max(self.start, end - self.delay)
        self.codes, self.start = self.codes[begin - self.start :], begin
        return wave


@dataclass(frozen=True)
class WordTokenizer:
    """Texts to token ids, and back."""

    about: About
    media: MediaSpec
    network: TextTokenizer

    def encode(self, text: str) -> np.ndarray:
        """Ids int32 `[tokens]`. Raises ValueError for a text that is not Unicode."""
        return np.array(self.network.encode(text), np.int32)

    def decode(self, ids: np.ndarray) -> str:
        """The text of ids. Raises ValueError for one outside the vocabulary."""
        return self.network.decode(ids.tolist())


Standalone = PictureTokenizer | SoundTokenizer | WordTokenizer


def load_standalone(folder: Path, kind: Kind | None = None) -> Standalone:
    """As `ernest.tokenizers.load`."""
    if not (folder / ABOUT).is_file() and (folder / "tokenizers").is_dir():
        folder = folder / "tokenizers"
    there: list[Kind] = [one for one, name in FILES.items() if (folder / name).is_file()]
    if not there or (kind is not None and kind not in there):
        raise ValueError(f"{folder} holds no {f'{kind} ' if kind else ''}tokenizer: `ernest tokenizer train` makes one")
    if kind is None and len(there) > 1:
        raise ValueError(f"{folder} holds several tokenizers: name one of {', '.join(there)}")
    found, media = kind or there[0], read_media(folder)
    file = folder / FILES[found]
    about = _about(folder, found, media)
    if found == "vision":
        vision = VisionTokenizer.load(file).requires_grad_(False)
        if (vision.spec.size, vision.spec.temporal_stride) != (media.size, media.temporal_stride):
            raise ValueError(f"{folder / FILE}: not the sizes of {file.name}")
        return PictureTokenizer(about, media, vision)
    if found == "audio":
        audio = AudioTokenizer.load(file).requires_grad_(False)
        if audio.spec.sample_rate != media.sample_rate:
            raise ValueError(f"{folder / FILE}: not the rate of {file.name}")
        return SoundTokenizer(about, media, audio)
    return WordTokenizer(about, media, TextTokenizer.load(file))


def save_standalone(
    folder: Path,
    network: TextTokenizer | VisionTokenizer | AudioTokenizer,
    media: MediaSpec,
    recipe: str,
    codes_of: About | None = None,
) -> None:
    """Writes a tokenizer as a folder that `load_standalone` reads; `recipe` is the name of what it was trained by. Where its
    codes are those of another one, `codes_of`, each decodes what the other encoded."""
    kind: Kind = "vision" if isinstance(network, VisionTokenizer) else "audio" if isinstance(network, AudioTokenizer) else "text"
    folder.mkdir(parents=True, exist_ok=True)
    network.save(folder / FILES[kind])
    write_text(folder / FILE, to_json(media))
    about = codes_of or About(kind, recipe, fingerprint(folder / FILES[kind]))
    write_text(folder / ABOUT, json.dumps(asdict(about), indent=1))


def _about(folder: Path, kind: Kind, media: MediaSpec) -> About:
    if not (folder / ABOUT).is_file():  # of a checkpoint
        sizes = f"{media.sample_rate} Hz" if kind == "audio" else f"{media.height} x {media.width}"
        return About(kind, f"of {folder.parent.name or folder.name} at {sizes}", fingerprint(folder / FILES[kind]))
    try:
        return build(About, json.loads((folder / ABOUT).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / ABOUT}: damaged: {error}") from error


# ------------------------------------------------------------------ codes in files


def save_codes(path: Path, tokenizer: Standalone, codes: np.ndarray) -> int:
    """Writes what `encode` gave, bits packed by eight, and by which tokenizer; returns the bytes of the codes alone."""
    packed = np.packbits(codes, axis=-1) if codes.dtype == bool else codes
    metadata = {"about": json.dumps(asdict(tokenizer.about)), "shape": json.dumps(codes.shape)}
    save_tensors(path, {"codes": torch.from_numpy(packed)}, metadata)
    return packed.nbytes


def kind_in(folder: Path, codes: Path) -> Kind | None:
    """The kind of the tokenizer of a checkpoint that made a file of codes; None where `folder` holds but one."""
    return None if (folder / ABOUT).is_file() else _made_by(codes)[0].kind


def load_codes(path: Path, tokenizer: Standalone) -> np.ndarray:
    """What `save_codes` wrote. Raises ValueError, naming both, where another tokenizer made it."""
    about, shape = _made_by(path)
    if about != tokenizer.about:
        raise ValueError(f"{path}: encoded by {about}, and this is {tokenizer.about}")
    codes: Tensor = load_tensors(path)["codes"]
    packed = codes.numpy()
    return np.unpackbits(packed, axis=-1, count=shape[-1]).astype(bool) if about.kind == "vision" else packed


def _made_by(path: Path) -> tuple[About, Sequence[int]]:
    metadata = read_header(path).metadata
    try:
        return build(About, json.loads(metadata["about"])), json.loads(metadata["shape"])
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{path}: expected codes that `ernest tokenizer encode` wrote") from None
