"""Reads the real data sets as records: handwritten and spoken digits, digits that move, speech commands, photographs, prose."""

import csv
import gzip
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from ernest.config.media import MediaSpec
from ernest.data.importers import both_directions
from ernest.data.mnist import DIGIT_NAMES, read_idx
from ernest.sequence.record import Kind, Record, given, made
from ernest.world.speech import VOICES, Voice, speech, voice_sample

PHOTOGRAPHS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
COMMANDS = ("up", "down", "left", "right", "go", "stop", "yes", "no")
WAYS: Mapping[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SPLITS = ("train", "test")
VOICED_RATE = 16000
"""Hz, of words in the voices of samples."""
SAMPLES = 30
"""Samples of each voice."""

Media = Iterator[tuple[Kind, np.ndarray, str]]
"""A picture, film or sound, its kind, and the words for it."""


def take(media: Media, share: float) -> Iterator[Record]:
    """Both directions of that share of media, evenly spread."""
    for number, (kind, data, words) in enumerate(media):
        if int(number * share) != int((number + 1) * share):
            yield from both_directions(kind, data, words, {})


def handwritten(folder: Path, split: str) -> Media:
    """MNIST on the canvas, and the name of each digit."""
    for picture, digit in zip(*_mnist(folder, split), strict=True):
        yield "image", _on_canvas(picture, 2, 2), DIGIT_NAMES[digit]


def moving(folder: Path, split: str, count: int) -> Media:
    """Films of MNIST's digits that cross the canvas in one of four ways."""
    pictures, digits = _mnist(folder, split)
    rng = np.random.default_rng((SPLITS.index(split), 7))
    for _ in range(count):
        number, way = rng.integers(len(digits)), list(WAYS)[rng.integers(4)]
        dx, dy = WAYS[way]
        steps = np.linspace(-9, 9, MediaSpec.frames).round().astype(int)
        frames = np.stack([_on_canvas(pictures[number], 2 + dx * s, 2 + dy * s) for s in steps])
        yield "video", frames, f"{DIGIT_NAMES[digits[number]]} moving {way}"


def spoken(folder: Path, split: str) -> Media:
    """The spoken digits of FSDD and their names."""
    for wave, row in _clips(folder / "fsdd", "fsdd_8k.flac", split):
        yield "audio", wave, DIGIT_NAMES[int(row["digit"])]


def commands(folder: Path, split: str) -> Media:
    """Speech commands; those who speak in the test never speak in training."""
    for wave, row in _clips(folder / "speech_commands", "speech_commands_8k.ogg", split):
        yield "audio", wave, row["word"]


def voiced(seed: int, first: int, count: int, voices: tuple[Voice, ...] = VOICES) -> Iterator[Record]:
    """Words of the world `seed` at `VOICED_RATE` from the index `first` on, by voices in turn, each asked for by the word and a
    sample of three seconds of its voice, one of `SAMPLES`."""
    rng, kept = np.random.default_rng((seed, first, 17)), {}
    for index in range(first, first + count):
        voice, number = voices[(index - first) % len(voices)], first + int(rng.integers(SAMPLES))
        if (voice, number) not in kept:
            kept[voice, number] = voice_sample(seed, number, voice, sample_rate=VOICED_RATE)
        said = speech(seed, index, (voice,), sample_rate=VOICED_RATE)
        sample = given("audio", kept[voice, number], voice=voice.name)
        facts = {"word": said.word, "voice": voice.name}
        yield Record((given("text", said.word), sample, made("audio", said.wave)), "text and voice→speech", facts)


def photographs(folder: Path, split: str) -> Media:
    """CIFAR-10's part and the names of its classes, in an order without runs of one class."""
    from PIL import Image

    with zipfile.ZipFile(folder / "cifar10/cifar10_jpeg.zip") as archive:
        names = [name for name in archive.namelist() if name.startswith(f"{split}/") and name.endswith(".jpg")]
        for name in sorted(names, key=lambda name: (name.rpartition("/")[2], name)):
            pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))
            yield "image", pixels, name.split("/")[1]


def prose(folder: Path, split: str, longest: int = 300) -> Iterator[Record]:
    """Passages of whole sentences; every tenth is of the test."""
    number = 0
    for name in ("tinystories_sample", "wizard_of_oz", "sherlock"):
        passage = ""
        for sentence in re.split(r"(?<=[.!?])\s+", gzip.decompress((folder / f"text/{name}.txt.gz").read_bytes()).decode()):
            sentence = " ".join(sentence.split())
            if passage and len(passage) + len(sentence) > longest:
                number += 1
                if (number % 10 == 0) == (split == "test"):
                    yield Record((made("text", passage[:longest]),), "text")
                passage = ""
            passage = f"{passage} {sentence}".strip()


def arrays(media: Callable[[], Media], words: tuple[str, ...]) -> tuple[list[np.ndarray], np.ndarray]:
    """Media and the number of the word of each, for judges."""
    data, labels = [], []
    for _, one, said in media():
        data.append(one)
        labels.append(words.index(said))
    return data, np.array(labels)


def _mnist(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    stem = "train" if split == "train" else "t10k"
    return read_idx(folder / "mnist", f"{stem}-images", 3), read_idx(folder / "mnist", f"{stem}-labels", 1)


def _on_canvas(picture: np.ndarray, left: int, top: int) -> np.ndarray:
    """A grey picture on a black canvas, with what lies outside cut off."""
    size = MediaSpec.height
    wide = np.zeros((3 * size, 3 * size), np.uint8)
    wide[size + top : size + top + picture.shape[0], size + left : size + left + picture.shape[1]] = picture
    return np.repeat(wide[size : 2 * size, size : 2 * size, None], 3, axis=2)


def _clips(folder: Path, name: str, split: str) -> Iterator[tuple[np.ndarray, dict[str, str]]]:
    """The clips of one long recording, without silence at both ends."""
    import soundfile

    samples, rate = soundfile.read(folder / name, dtype="float32")
    assert rate == MediaSpec.sample_rate
    with (folder / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == split:
                start = int(row["start"])
                yield samples[start : start + int(row["n"])].copy(), row
