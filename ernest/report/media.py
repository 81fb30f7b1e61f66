"""Pictures, videos and sounds as `data:` URIs, so that a report is one file."""

import base64
import io
import wave as riff

import numpy as np
from PIL import Image

from ernest.config.media import USUAL

_FRAME_MILLISECONDS = 160
_LAST_FRAME_MILLISECONDS = 900
"""The end of a video is held for a moment before it begins again."""

_NIGHT_TO_AMBER = np.array([[11, 15, 38], [33, 54, 122], [110, 98, 140], [222, 160, 66], [255, 236, 196]])
"""The ramp of spectrograms and heat maps: the two colours of the phase-field world, dark where there is nothing."""


def picture(pixels: np.ndarray) -> str:
    """uint8 `[height, width, 3]` as a PNG, without loss."""
    return _uri("image/png", _png(Image.fromarray(pixels)))


def video(frames: np.ndarray) -> str:
    """uint8 `[frames, height, width, 3]` as an animated PNG without end, without loss."""
    first, *rest = (Image.fromarray(frame) for frame in frames)
    last = len(frames) - 1
    pace = [_LAST_FRAME_MILLISECONDS if number == last else _FRAME_MILLISECONDS for number in range(len(frames))]
    return _uri("image/png", _png(first, save_all=True, append_images=rest, duration=pace, loop=0, disposal=0, blend=0))


def sheet(frames: np.ndarray, columns: int) -> str:
    """The frames of a video in rows of `columns`, with a pixel of air between them."""
    blank = -len(frames) % columns
    aired = np.pad(frames, ((0, blank), (0, 1), (0, 1), (0, 0)), constant_values=255)
    rows = [np.concatenate(list(row), axis=1) for row in aired.reshape(-1, columns, *aired.shape[1:])]
    return picture(np.concatenate(rows)[:-1, :-1])


def sound(wave: np.ndarray, rate: int = USUAL.sample_rate) -> str:
    """float32 `[samples]` of `rate` a second in [-1, 1] as a WAV of 16 bits."""
    buffer = io.BytesIO()
    with riff.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes())
    return _uri("audio/wav", buffer.getvalue())


def spectrogram(wave: np.ndarray, rate: int = USUAL.sample_rate) -> str:
    """The log-mel spectrogram of a sound as a picture: time to the right, low notes at the bottom, silence dark."""
    import torch

    from ernest.tokenizers.mel import MelSpec, log_mel

    spec = MelSpec(rate)
    padded = np.pad(wave.astype(np.float32), (0, -len(wave) % spec.hop))
    level = log_mel(torch.from_numpy(padded), spec).numpy()
    return picture(ramp(level.T[::-1] / max(float(level.max()), 1.0)))


def ramp(share: np.ndarray) -> np.ndarray:
    """Colours uint8 `[..., 3]` of values `[...]`, from 0 (night) to 1 (amber)."""
    steps = np.linspace(0, 1, len(_NIGHT_TO_AMBER))
    channels = [np.interp(share, steps, channel) for channel in _NIGHT_TO_AMBER.T]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def _png(image: Image.Image, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, **settings)
    return buffer.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
