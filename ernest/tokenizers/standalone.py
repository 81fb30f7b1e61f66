"""Tokenizers without a model: arrays or texts in, bits or codes out, and back; whole, or in chunks by `streams`. Texts are cut
into words before anything is merged, and are only encoded whole."""

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
from ernest.storage import fingerprint, load_tensors, read_header, read_json, save_tensors, write_text
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.streams import FilmStream, PictureStream, SoundStream, WaveStream, decode_sound, encode_sound, told
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import VisionTokenizer, to_pixels

Kind = Literal["text", "vision", "audio"]
FILES: dict[Kind, str] = {"text": "text.json", "vision": "vision.safetensors", "audio": "audio.safetensors"}
"""Where a folder has the tokenizer of each kind, as a checkpoint has them."""
ABOUT = "tokenizer.json"
"""What a folder of `ernest tokenizer train` says of itself; the last file to be written."""
CHUNK = 64
"""Frames that are encoded or decoded at once."""


def named(kind: Kind) -> str:
    """A tokenizer of a kind, in words."""
    return f"{'an' if kind == 'audio' else 'a'} {kind} tokenizer"


@dataclass(frozen=True)
class About:
    """What a tokenizer is, as a refusal names it: its kind, the recipe that it was trained by, and a fingerprint of its file."""

    kind: Kind
    recipe: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{named(self.kind)} of the recipe {self.recipe} ({self.fingerprint[:8]})"


@dataclass(frozen=True)
class PictureTokenizer:
    """Frames to bits, and back."""

    about: About
    media: MediaSpec
    network: VisionTokenizer

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Bits bool `[latents, cells, bits]` of a video uint8 `[frames, height, width, 3]`, or `[cells, bits]` of a picture
        `[height, width, 3]`. A latent is a frame, or behind the first one a group. Raises ValueError for other sizes."""
        is_array = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8
        if not is_array or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or not pixels.size:
            raise ValueError(f"expected uint8 [height, width, 3] or [frames, height, width, 3], got {told(pixels)}")
        if pixels.ndim == 3:
            return self.encode(pixels[None])[0]
        stream = self.stream()
        chunks = [stream.push(pixels[start : start + CHUNK]) for start in range(0, len(pixels), CHUNK)]
        return np.concatenate([*chunks, stream.finish()])

    def decode(self, bits: np.ndarray, scales: int | None = None) -> np.ndarray:
        """The inverse of `encode`, as near as the bits are; of the first `scales` scales, all by default. Raises ValueError for
        bits of another shape, and for what are none."""
        quantiser, stride = self.network.quantiser, self.network.config.stride
        _check_part("scales", scales, len(quantiser.sizes))
        bits = np.asarray(bits)
        if bits.dtype != bool and not np.isin(bits, (0, 1)).all():
            raise ValueError(f"expected bits, True or False, got {told(bits)} of other values")
        if bits.ndim == 2:
            return self.decode(bits[None], scales)[0]
        if bits.ndim != 3 or bits.shape[1:] != (quantiser.cells, quantiser.bits) or not len(bits):
            raise ValueError(f"expected bits [latents, {quantiser.cells}, {quantiser.bits}], got {list(bits.shape)}")
        drawn = []
        for start in range(0, len(bits), CHUNK):
            before = int(stride > 1 and start > 0)  # a frame hangs on the latent before its own as well
            part = torch.from_numpy(np.array(bits[start - before : start + CHUNK], bool))
            with torch.inference_mode():
                drawn.append(to_pixels(self.network.decode_film(quantiser.sum(part, scales))).numpy()[before:])
        return np.concatenate(drawn)

    def stream(self) -> PictureStream | FilmStream:
        """An encoder of a video that comes in chunks."""
        return PictureStream(self.network) if self.network.config.stride == 1 else FilmStream(self.network)

    @property
    def bits_a_frame(self) -> int:
        """Bits of a frame, or of a frame's share in its group."""
        return self.network.quantiser.cells * self.network.quantiser.bits // self.network.config.stride


@dataclass(frozen=True)
class SoundTokenizer:
    """Waves to codes, and back."""

    about: About
    media: MediaSpec
    network: AudioTokenizer

    def encode(self, wave: np.ndarray) -> np.ndarray:
        """Codes int16 `[frames, levels]` of a wave float32 `[samples]`, 12.5 a second. Raises ValueError for one that is none."""
        return encode_sound(self.network, wave)

    def decode(self, codes: np.ndarray, levels: int | None = None, iterations: int | None = None) -> np.ndarray:
        """A wave float32 `[samples]` of codes, of the first `levels` of each, all by default; `iterations` asks for as many steps
        of Griffin and Lim where there is a vocoder. Raises ValueError for other codes."""
        _check_part("levels", levels, self.network.config.levels)
        if iterations is not None and iterations < 0:
            raise ValueError(f"iterations = {iterations}: expected 0 or more")
        codes = np.asarray(codes)
        if codes.dtype.kind not in "iu":
            raise ValueError(f"expected codes, which are whole numbers, got {told(codes)}")
        return decode_sound(self.network, codes, levels, iterations)

    def stream(self) -> SoundStream:
        """An encoder of a sound that comes in chunks."""
        return SoundStream(self.network)

    def decoding_stream(self) -> WaveStream:
        """A decoder of codes that come in chunks. Raises ValueError without a vocoder: Griffin and Lim's iteration goes over the
        whole sound."""
        return WaveStream(self.network)

    @property
    def bits_a_frame(self) -> float:
        """Bits of a frame of codes."""
        return self.network.config.levels * log2(self.network.config.codebook)


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
        """The text of ids. Raises ValueError for one outside the vocabulary, and for what are none."""
        ids = np.asarray(ids)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise ValueError(f"expected ids [tokens], which are whole numbers, got {told(ids)}")
        return self.network.decode(ids.tolist())


Standalone = PictureTokenizer | SoundTokenizer | WordTokenizer


def _check_part(name: str, asked: int | None, there: int) -> None:
    if asked is not None and asked not in range(1, there + 1):
        raise ValueError(f"{name} = {asked}: expected 1 to {there}")


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
    about = read_json(folder / ABOUT)
    try:
        return build(About, about)
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
    if (about.kind, about.fingerprint) != (tokenizer.about.kind, tokenizer.about.fingerprint):  # a folder may be called otherwise
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
