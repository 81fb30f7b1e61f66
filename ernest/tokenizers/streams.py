"""Videos and sounds that come in chunks, coded as if they were there as a whole.

Pictures and videos are coded frame by frame, or group by group with a temporal stride, so that a video gets the bits of the whole
one as soon as a group is there. The codec of sounds looks ahead by less than a second: its codes follow later.
"""

import numpy as np
import torch

from ernest.tokenizers.audio import DECODER_REACH, MEL_FRAMES, AudioTokenizer
from ernest.tokenizers.vision import VisionTokenizer, to_frames

# ------------------------------------------------------------------ videos


class PictureStream:
    """Each chunk gives its bits at once: no frame hangs on another."""

    def __init__(self, network: VisionTokenizer) -> None:
        self.network = network
        self.ended = False

    def push(self, pixels: np.ndarray) -> np.ndarray:
        """Bits of further frames uint8 `[frames, height, width, 3]`."""
        _check_open(self.ended)
        quantiser = self.network.quantiser
        check_frames(self.network, pixels)
        return _frame_bits(self.network, pixels) if len(pixels) else np.zeros((0, quantiser.cells, quantiser.bits), bool)

    def finish(self) -> np.ndarray:
        """What is left: nothing."""
        self.ended = True
        return np.zeros((0, self.network.quantiser.cells, self.network.quantiser.bits), bool)


class FilmStream:
    """Bits come as soon as a group of frames is whole. The frame before it, on which its latent hangs, is encoded with it."""

    def __init__(self, network: VisionTokenizer) -> None:
        self.network = network
        self.frames: np.ndarray | None = None
        """From the last one on that has been coded."""
        self.begun = self.ended = False

    def push(self, pixels: np.ndarray) -> np.ndarray:
        """Bits of the groups that further frames uint8 `[frames, height, width, 3]` made whole."""
        _check_open(self.ended)
        check_frames(self.network, pixels)
        if len(pixels):
            self.frames = pixels if self.frames is None else np.concatenate([self.frames, pixels])
        stride = self.network.config.stride
        groups = 0 if self.frames is None else (len(self.frames) - 1) // stride
        return self._code(groups * stride)

    def finish(self) -> np.ndarray:
        """Bits of a last group that did not become whole: it is filled up with its last frame."""
        self.ended = True
        return self._code(0 if self.frames is None else len(self.frames) - 1)

    def _code(self, last: int) -> np.ndarray:
        """Bits up to the frame `last`, which stays."""
        if self.frames is None or (self.begun and not last):
            quantiser = self.network.quantiser
            return np.zeros((0, quantiser.cells, quantiser.bits), bool)
        bits = film_bits(self.network, self.frames[: last + 1])[int(self.begun) :]
        self.frames, self.begun = self.frames[last:], True
        return bits


def check_frames(network: VisionTokenizer, pixels: np.ndarray) -> None:
    """Raises ValueError for what are no frames uint8 `[frames, height, width, 3]` of the network's size; there may be none."""
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise ValueError(f"expected an array uint8 [frames, height, width, 3], got {told(pixels)}")
    if len(pixels) and pixels.shape[1:3] != network.config.frame:
        actual, right = (" x ".join(map(str, size)) for size in (pixels.shape[1:3], network.config.frame))
        raise ValueError(f"frames of {actual} pixels: this tokenizer is one of {right}")


def _check_open(ended: bool) -> None:
    """Raises ValueError where a stream has ended: its last codes were made as if nothing came after them."""
    if ended:
        raise ValueError("this stream is finished: begin another one")


def told(given: object) -> str:
    """What was given, as a refusal names it."""
    return f"{given.dtype} {list(given.shape)}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}"


def _frame_bits(network: VisionTokenizer, pixels: np.ndarray) -> np.ndarray:
    """Of frames, each alone. One frame goes in twice: PyTorch convolves a single one in another order of sums, and a frame's bits
    must not hang on its company."""
    pair = pixels if len(pixels) > 1 else pixels.repeat(2, axis=0)
    with torch.inference_mode():
        bits = network.quantiser.history(network.encode(to_frames(pair))).bits
    return bits[: len(pixels)].numpy()


def film_bits(network: VisionTokenizer, pixels: np.ndarray) -> np.ndarray:
    """Of a film that is there as a whole, at once."""
    with torch.inference_mode():
        latents = network.encode_film(to_frames(pixels))
        pair = latents if len(latents) > 1 else latents.expand(2, *latents.shape[1:])
        return network.quantiser.history(pair).bits[: len(latents)].numpy()


# ------------------------------------------------------------------ sounds


def encode_sound(network: AudioTokenizer, wave: np.ndarray) -> np.ndarray:
    """Codes int16 `[frames, levels]` of a wave float32 `[samples]`."""
    if not isinstance(wave, np.ndarray):
        raise ValueError(f"expected an array of float samples [samples], in [-1, 1], got {told(wave)}")
    return network.encode([wave])[0].numpy().astype(np.int16)


def decode_sound(
    network: AudioTokenizer, codes: np.ndarray, levels: int | None = None, iterations: int | None = None
) -> np.ndarray:
    """The wave of codes, of the first `levels` of each."""
    return network.decode([torch.from_numpy(codes.astype(np.int64))], levels, iterations)[0]


class SoundStream:
    """Codes come as soon as all that they hang on is there, `DELAY` frames of codes later; they are those of the whole sound.

    What lies around a chunk is encoded with it, as far as the network looks, and left out again.
    """

    DELAY = 6
    """Frames of codes by which the network looks ahead, and back, at most: 0.48 s."""

    def __init__(self, network: AudioTokenizer) -> None:
        self.network = network
        self.wave = np.zeros(0, np.float32)
        self.start = 0
        """The frame of codes with which `wave` begins."""
        self.done, self.ended = 0, False

    def push(self, wave: np.ndarray) -> np.ndarray:
        """Codes that further samples float32 `[samples]` made certain."""
        _check_open(self.ended)
        if not isinstance(wave, np.ndarray) or wave.dtype.kind != "f" or wave.ndim != 1:
            raise ValueError(f"expected an array of float samples [samples], in [-1, 1], got {told(wave)}")
        self.wave = np.concatenate([self.wave, wave.astype(np.float32)])
        known = self.start + len(self.wave) // self.network.config.samples
        return self._codes(known - self.DELAY) if known - self.DELAY > self.done else self._nothing()

    def finish(self) -> np.ndarray:
        """The rest, of the end of the sound."""
        self.ended = True
        samples = self.network.config.samples
        end = self.start + -(-len(self.wave) // samples)
        return self._codes(end) if end > self.done else self._nothing()

    def _codes(self, end: int) -> np.ndarray:
        codes = encode_sound(self.network, self.wave)[self.done - self.start : end - self.start]
        self.done = end
        begin = max(self.start, end - self.DELAY)
        self.wave = self.wave[(begin - self.start) * self.network.config.samples :]
        self.start = begin
        return codes

    def _nothing(self) -> np.ndarray:
        return np.zeros((0, self.network.config.levels), np.int16)


class WaveStream:
    """Samples come as soon as all codes are there that they hang on, `delay` frames later; but for rounding they are those of the
    whole sound.

    As in `SoundStream`, what lies around a chunk is decoded with it and left out again.
    """

    def __init__(self, network: AudioTokenizer) -> None:
        vocoder = network.vocoder
        if vocoder is None:
            raise ValueError("sounds are decoded in chunks by a vocoder, and this tokenizer has none: tokenizers.vocoder_steps")
        self.network = network
        self.delay = -(-(DECODER_REACH + vocoder.reach) // MEL_FRAMES)
        """Frames of codes on which a sample hangs on either side of its own, at most."""
        self.codes = np.zeros((0, network.config.levels), np.int16)
        self.start = 0
        """The frame with which `codes` begins."""
        self.done, self.ended = 0, False

    def push(self, codes: np.ndarray) -> np.ndarray:
        """Samples float32 that further codes `[frames, levels]` made certain."""
        _check_open(self.ended)
        levels = self.network.config.levels
        if not isinstance(codes, np.ndarray) or codes.dtype.kind not in "iu" or codes.shape[1:] != (levels,):
            raise ValueError(f"expected an array of codes [frames, {levels}], which are whole numbers, got {told(codes)}")
        self.codes = np.concatenate([self.codes, codes])
        return self._wave(self.start + len(self.codes) - self.delay)

    def finish(self) -> np.ndarray:
        """The rest, of the end of the sound."""
        self.ended = True
        return self._wave(self.start + len(self.codes))

    def _wave(self, end: int) -> np.ndarray:
        if end <= self.done:
            return np.zeros(0, np.float32)
        samples = self.network.config.samples
        wave = decode_sound(self.network, self.codes)[(self.done - self.start) * samples : (end - self.start) * samples]
        self.done, begin = end, max(self.start, end - self.delay)
        self.codes, self.start = self.codes[begin - self.start :], begin
        return wave
