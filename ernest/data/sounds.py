"""Sounds as they are heard: the mean of their channels, at one rate, without what coders put before and after them."""

import math
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from typing import Any, BinaryIO

import numpy as np

from ernest.config.media import MediaSpec
from ernest.data.films import open_film
from ernest.data.mediafile import MediaFile, library

Block = tuple[int, np.ndarray]
"""A rate, and float samples `[n, channels]`."""
_BLOCK_VALUES = 2**20
_UNKNOWN_LENGTH = 0x7FFF_0000
"""What recorders leave in the header of a WAV that was not ended, or more."""
_MOST_CHUNKS = 1000


def read_sound(file: MediaFile, longest: float, plain: bool, rate: int = MediaSpec.sample_rate) -> np.ndarray:
    """The sound as float64 `[samples]` at `rate` samples a second; no more of it is read than lasts `longest` seconds.

    `plain` says that soundfile reads it: its samples are stored as they are, or by FLAC. Raises ValueError if it lasts longer.
    """
    with file.open() as content:
        if plain:
            soundfile = library("soundfile", file)
            _check_whole(content)
            content.seek(0)
            sound = None
            with suppress(soundfile.LibsndfileError):  # a coder within one of these containers that only ffmpeg knows
                sound = soundfile.SoundFile(_Clamped(content))
            if sound is not None:
                with sound:
                    return _joined(file, _stored(file, sound, longest), longest, rate)
        return _joined(file, _coded(file, content, longest), longest, rate)


class _Clamped:
    """A file in which nobody gets before its beginning: libsndfile tries to in damaged files, and soundfile prints what it
    then raises."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.read, self.readinto, self.tell = file, file.read, getattr(file, "readinto"), file.tell  # noqa: B009

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self.file.tell(), 0)[whence] if whence < 2 else self.file.seek(0, 2)
        return self.file.seek(max(0, start + offset))


def too_long(file: MediaFile, seconds: str, longest: float) -> ValueError:
    return ValueError(f"{file.name}: the sound lasts {seconds} s, the longest allowed is {longest:g} s: cut it")


def resampled(wave: np.ndarray, rate: int, to: int = MediaSpec.sample_rate) -> np.ndarray:
    """`wave` `[samples]` from `rate` to another one: the spectrum is cut, or filled with zeros, at the lower Nyquist frequency.

    Both ends are continued by their mirror image for a tenth of a second, so that the circle has no jump.
    """
    if rate == to:
        return wave
    # Blocks of this many samples become a whole number of new samples.
    block = rate // math.gcd(rate, to)
    margin = block * math.ceil(rate / 10 / block)
    wide = np.pad(wave, (margin, margin + -len(wave) % block), mode="reflect")
    length = len(wide) * to // rate
    spectrum = np.fft.rfft(wide)[: length // 2 + 1]
    wide = np.fft.irfft(spectrum, length) * (length / len(wide))
    start = margin * to // rate
    return wide[start : start + max(1, round(len(wave) * to / rate))]


def _joined(file: MediaFile, blocks: Iterator[Block], longest: float, to: int) -> np.ndarray:
    """The parts of a sound, which may change its rate and channels where recordings were joined."""
    parts: list[np.ndarray] = []
    seconds = 0.0
    for rate, same in groupby(blocks, key=lambda block: block[0]):
        if not 100 <= rate <= 1_000_000:
            raise ValueError(f"{rate} samples a second are no sound")
        waves: list[np.ndarray] = []
        for _, samples in same:
            waves.append(samples.mean(axis=1))
            seconds += len(samples) / rate
            if seconds > longest + 1e-9:
                raise too_long(file, f"more than {longest:g}", longest)
        wave = np.concatenate(waves)
        if not np.isfinite(wave).all():
            raise ValueError(f"{file.name}: the sound holds samples that are no numbers")
        if len(wave):
            parts.append(resampled(wave, rate, to))
    if not parts:
        raise ValueError(f"{file.name}: the sound is empty")
    return np.concatenate(parts)


def _stored(file: MediaFile, sound: Any, longest: float) -> Iterator[Block]:
    rate, frames = sound.samplerate, sound.frames
    if rate and frames / rate > longest:
        raise too_long(file, f"{frames / rate:.1f}", longest)
    found = 0
    # Of GSM and other coders that go forwards only, soundfile reads no more than it is told of.
    for samples in sound.blocks(max(1, _BLOCK_VALUES // sound.channels), frames=frames, dtype="float64", always_2d=True):
        found += len(samples)
        yield rate, samples
    if found < frames:
        raise ValueError(f"it is cut: {found} of {frames} samples are there")


def _check_whole(content: BinaryIO) -> None:
    """Of a file whose head says how long it is: its reader takes what is there for all."""
    there, declared = content.seek(0, 2), _declared(content)
    if there + 1 < declared < _UNKNOWN_LENGTH:
        raise ValueError(f"it is cut: {there} of {declared} bytes are there")


def _declared(content: BinaryIO) -> int:
    """The bytes that a file of samples has by its own head; 0 where that does not say."""
    content.seek(0)
    head = content.read(28)
    match head[:4]:
        case b"RIFF":
            return int.from_bytes(head[4:8], "little") + 8
        case b"FORM" | b"RIFX":
            return int.from_bytes(head[4:8]) + 8
        case b"RF64":
            return int.from_bytes(head[20:28], "little") + 8
        case b"riff":
            return int.from_bytes(head[16:24], "little")
        case b".snd":
            return int.from_bytes(head[4:8]) + int.from_bytes(head[8:12])
        case b"caff":
            return _end_of_chunks(content)
    return 0


def _end_of_chunks(content: BinaryIO) -> int:
    """Where the chunks of a CAF end; 0 where the last one has no length yet."""
    end, there = 8, content.seek(0, 2)
    for _ in range(_MOST_CHUNKS):
        if end + 12 > there:
            break
        content.seek(end)
        size = int.from_bytes(content.read(12)[4:], signed=True)
        if size < 0:
            return 0
        end += 12 + size
    return end


def _coded(file: MediaFile, content: BinaryIO, longest: float) -> Iterator[Block]:
    """Through ffmpeg, which reads to the end where recordings were joined, and leaves out what the coder put before."""
    with open_film(file, content) as film:
        if not film.streams.audio:
            raise ValueError("it has no sound")
        stream = film.streams.audio[0]
        stream.codec_context.thread_count = 1
        if film.duration and film.format.name not in _GUESSED and film.duration / 1e6 > longest + 1:
            raise too_long(file, f"{film.duration / 1e6:.1f}", longest)
        left = _length(film, stream)
        # A coder of AAC begins one frame early, and .aac has no place to say so.
        skip = int(film.format.name == "aac")
        for number, frame in enumerate(_sound_frames(film, stream)):
            samples = _floats(frame)[:left]
            left -= len(samples)
            if number >= skip:
                yield frame.sample_rate, samples


_GUESSED = ("mp3", "aac", "ogg")
"""Containers that know no duration: what ffmpeg says of it is a guess, or that of the first part."""


def _length(film: Any, stream: Any) -> int:
    """Samples until what fills the last packet, where the container says so."""
    if "mp4" not in film.format.name or not stream.duration:
        return 2**62
    return round(stream.duration * stream.time_base * stream.codec_context.sample_rate)


def _sound_frames(film: Any, stream: Any) -> Iterator[Any]:
    from av.error import InvalidDataError

    for packet in film.demux(stream):
        try:
            yield from packet.decode()
        except InvalidDataError:
            if film.format.name not in ("mp3", "aac"):  # between joined files, which may bring their names along
                raise


def _floats(frame: Any) -> np.ndarray:
    """The samples of a frame as float `[n, channels]`."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, len(frame.layout.channels))
    if values.dtype == np.uint8:
        return (values - 128.0) / 128
    return values / -float(np.iinfo(values.dtype).min) if values.dtype.kind == "i" else values.astype(np.float64)
