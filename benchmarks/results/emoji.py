"""Emoji at 64 pixels: names, pictures and animations in one model, and what it knows of frames that it never saw.

Of an animation every second frame is learnt from, one by one and as a film; the frames between are what is read.
"""

import csv
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.results.nearest import nearest, write_sheet
from benchmarks.results.scores import prompts, reads_right
from benchmarks.results.trial import Scored, Trial
from ernest.data.importers import both_directions
from ernest.data.pictures import fitted
from ernest.evaluation.evaluate import rebuild_frames
from ernest.evaluation.likeness import psnr
from ernest.generation.engine import Engine
from ernest.sequence.record import Record
from ernest.tokenizers.bundle import Tokenizers

SIZE = (64, 64)
GROUPS = ("Animals & Nature", "Food & Drink")
"""Of the data's groups; faces are left out, many of which differ by an eyebrow."""


@dataclass(frozen=True)
class Emoji:
    """A name, its picture uint8 `[64, 64, 3]` and its animation uint8 `[16, 64, 64, 3]`."""

    name: str
    picture: np.ndarray
    animation: np.ndarray

    @cached_property
    def film(self) -> np.ndarray:
        """What is learnt from: the even frames, the last of them twice."""
        return last_twice(self.animation[::2])

    @cached_property
    def between(self) -> np.ndarray:
        """The odd frames, which are never learnt from, as a film of the same length."""
        return last_twice(self.animation[1::2])


def read_emoji(folder: Path) -> list[Emoji]:
    """All emoji of `GROUPS` that have a picture as well as an animation."""
    still, moving = folder / "noto_emoji", folder / "noto_emoji_animated"
    files = {row["codepoints"]: row["file"] for row in _rows(still)}
    found = []
    archives = still / "noto_emoji_72px_png.zip", moving / "noto_anim_64px_16f_webp.zip"
    with zipfile.ZipFile(archives[0]) as pictures, zipfile.ZipFile(archives[1]) as strips:
        for row in _rows(moving):
            if row["group"] in GROUPS and row["codepoints"] in files:
                picture = fitted(_open(pictures, files[row["codepoints"]]), SIZE)
                strip = np.asarray(_open(strips, row["file"]).convert("RGB"))
                frames = np.stack(np.split(strip, strip.shape[1] // SIZE[1], axis=1))
                found.append(Emoji(row["name"], picture, frames))
    return found


def records(trial: Trial, split: str) -> list[Record]:
    """What is learnt: each picture and film in both directions, and the film's frames one by one, to be named."""
    return list(_records(chosen(trial)))


def _records(every: Sequence[Emoji]) -> Iterator[Record]:
    for one in every:
        yield from both_directions("image", one.picture, one.name, {})
        yield from both_directions("video", one.film, one.name, {})
        yield from (_to_name(frame, one.name) for frame in one.film[:-1])


def score_emoji(engine: Engine, trial: Trial) -> list[Scored]:
    """What is read of unseen frames, what is drawn by name, and what the tokenizer leaves of either."""
    every = chosen(trial)
    unseen = [(frame, one.name) for one in every for frame in one.between[:-1]]
    films = [both_directions("video", one.between, one.name, {})[0] for one in every]
    return [
        Scored(
            "image → text, unseen frames", reads_right(engine, [_to_name(*pair) for pair in unseen]), 0.9, f"{len(unseen)} frames"
        ),
        _by_pixels(every, unseen),
        Scored("video → text, films of unseen frames", reads_right(engine, films), None, f"{len(films)} films"),
        *_drawn(engine, every, trial),
        *score_tokenizer(engine.tokenizers, trial),
    ]


def _by_pixels(every: Sequence[Emoji], unseen: Sequence[tuple[np.ndarray, str]]) -> Scored:
    """What a table of all that was learnt from would say: how new the unseen frames are."""
    known = [(frame, one.name) for one in every for frame in (one.picture, *one.film[:-1])]
    number, distance = nearest([frame for frame, _ in unseen], np.stack([frame for frame, _ in known]))
    right = float(np.mean([known[at][1] == name for at, (_, name) in zip(number, unseen, strict=True)]))
    note = f"{np.median(distance):.1f} levels away, the median; {(distance < 1).mean():.2f} within 1"
    return Scored("the name of the nearest frame that was learnt from", right, None, note)


def _drawn(engine: Engine, every: Sequence[Emoji], trial: Trial) -> list[Scored]:
    """Whether what is drawn by name is nearer to the picture, or film, of that name than to any other's."""
    asked = prompts([one.name for one in every])
    pictures, true = engine.pictures(asked), np.stack([one.picture for one in every])
    films, moving = np.stack(engine.videos(asked, frames=len(every[0].film))), np.stack([one.film for one in every])
    write_sheet(trial.out / "emoji-pictures.png", pictures, list(true), times=2)
    write_sheet(
        trial.out / "emoji-films.png", [_strip(film) for film in films], [_strip(film) for film in moving], across=2, times=1
    )
    return [
        _asked_for("text → image, nearest to the picture of its name", pictures, true),
        _asked_for(
            "text → video, nearest to the film of its name", [_strip(film) for film in films], np.stack([*map(_strip, moving)])
        ),
    ]


def _asked_for(name: str, drawn: Sequence[np.ndarray], true: np.ndarray) -> Scored:
    number, distance = nearest(drawn, true)
    return Scored(
        name, float((number == np.arange(len(true))).mean()), None, f"{np.median(distance):.1f} levels away, the median"
    )


def score_tokenizer(tokenizers: Tokenizers, trial: Trial) -> list[Scored]:
    """PSNR of what comes back from the tokenizer: pictures learnt from, frames never seen, films of either sort of frames."""
    every, back = chosen(trial), lambda pixels: rebuild_frames(tokenizers, pixels)
    pictures, unseen = np.stack([one.picture for one in every]), np.concatenate([one.between[:-1] for one in every])
    scored = [
        Scored("PSNR of pictures, dB", psnr(pictures, back(pictures)), 27, "learnt from"),
        Scored("PSNR of unseen frames, dB", psnr(unseen, back(unseen)), 27, "each as a picture"),
    ]
    for name, films in (("films", [one.film for one in every]), ("films of unseen frames", [one.between for one in every])):
        true, note = np.stack(films), f"{tokenizers.media.temporal_stride} frames a latent"
        scored.append(Scored(f"PSNR of {name}, dB", psnr(true, back(true)), None, note))
    return scored


def chosen(trial: Trial) -> list[Emoji]:
    """All emoji, or the trial's share of them."""
    every = read_emoji(trial.data)
    return every[: trial.count(len(every))]


def _to_name(frame: np.ndarray, name: str) -> Record:
    return both_directions("image", frame, name, {})[0]


def last_twice(frames: np.ndarray) -> np.ndarray:
    """Frames as many as a film has, 1 and then a multiple of 4, of one less."""
    return np.concatenate([frames, frames[-1:]])


def _strip(film: np.ndarray) -> np.ndarray:
    """The frames of a film side by side."""
    return np.concatenate(list(film), axis=1)


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "names.tsv").open(newline="", encoding="utf-8") as table:
        return [row for row in csv.DictReader(table, delimiter="\t") if row["codepoints"]]


def _open(archive: zipfile.ZipFile, name: str) -> Image.Image:
    return Image.open(io.BytesIO(archive.read(name)))
