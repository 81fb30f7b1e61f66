"""Folders as people have them: ten kinds and some two hundred files of each, imported and trained on with all defaults.

What is scored are files of the folder's part `test`, which nothing learns from: whether the kind is read. Pictures are given to
`ernest lcnet train` too, the same folder for as many minutes.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.results import sources
from benchmarks.results.scores import asked_and_answered
from benchmarks.results.trial import Scored, Trial, engine_of, minutes, timed
from ernest.data import media
from ernest.data.held_out import split_records
from ernest.data.importers import import_folder
from ernest.data.mnist import DIGIT_NAMES
from ernest.lcnet.training import run as lcnet
from ernest.lcnet.training.plan import Budget
from ernest.training.prepare import train_on_records
from ernest.training.run_settings import TrainingRun

TRAINED, TESTED = 200, 30
"""Files of each kind in the parts `train` and `test`."""
PHRASINGS = (
    *("a {}", "this is a {}", "the digit {}", "someone wrote a {} here", "{} by hand", "here is a {}"),
    "a sheet with a {} on it",
)
WRITERS = {1: (".wav", media.write_audio), 3: (".png", media.write_image), 4: (".gif", media.write_video)}
"""By the axes of sounds, pictures and films."""


@dataclass(frozen=True)
class OwnFolder:
    """A medium and how its files are named, what is asked of reading it, and whether PP-LCNet reads the same folder."""

    media: Callable[[Path, str], sources.Media]
    kinds: tuple[str, ...]
    bar: float | None
    phrased: bool = False
    beside: bool = False


def _films(data: Path, split: str) -> sources.Media:
    return sources.moving(data, split, 4 * (TRAINED if split == "train" else TESTED) * len(DIGIT_NAMES))


FOLDERS = {
    "folder-digits": OwnFolder(sources.handwritten, DIGIT_NAMES, 0.95, beside=True),
    "folder-phrasings": OwnFolder(sources.handwritten, DIGIT_NAMES, 0.90, phrased=True),
    "folder-photographs": OwnFolder(sources.photographs, sources.PHOTOGRAPHS, None, beside=True),
    "folder-sounds": OwnFolder(sources.spoken, DIGIT_NAMES, 0.88),
    "folder-films": OwnFolder(_films, tuple(sources.WAYS), 0.95),
}


def measure_folder(name: str, seed: int, trial: Trial) -> list[Scored]:
    """Imports the folder and trains on it, where that was not done yet, and reads what was kept back."""
    own, files, run = FOLDERS[name], trial.out / f"{name}-files", trial.out / f"{name}-{seed}"
    records = trial.out / f"{name}-records"
    if not files.is_dir():
        write_folder(own, trial, files)
    if not records.is_dir():
        import_folder(files, records)
    recipe = trial.recipe(seed)
    learnt, kept_back = split_records(records, 0.1, recipe.media)
    assert kept_back is not None, f"{records}: the part `test` is kept back by the import"
    checkpoint, spent = timed(TrainingRun(learnt, run, recipe, held_out=kept_back), train_on_records)
    pairs = asked_and_answered(engine_of(checkpoint), list(kept_back))
    right = [kind_in(truth, own.kinds) == kind_in(answer, own.kinds) for truth, answer in pairs]
    beside = _by_lcnet(files, trial.out / f"{name}-lcnet-{seed}", seed, spent.wall / 60) if own.beside else []
    return [
        Scored("the kind is read", float(np.mean(right)), own.bar, f"{len(right)} files kept back"),
        *beside,
        minutes(spent),
    ]


def kind_in(text: str, kinds: tuple[str, ...]) -> str | None:
    """The one kind that is among the words of `text`, None where none or several are."""
    found = {word for word in text.split() if word in kinds}
    return found.pop() if len(found) == 1 else None


def _by_lcnet(files: Path, out: Path, seed: int, minutes: float) -> list[Scored]:
    top1 = lcnet.train(files, out, Budget(minutes, (f"seed={seed}",)), show=False).top1
    return [Scored("the kind is read by PP-LCNet in as many minutes", top1, None, "its best epoch")]


# ------------------------------------------------------------------ files


def write_folder(own: OwnFolder, trial: Trial, folder: Path) -> None:
    """Writes `train/KIND/0001.png` and so on; with phrasings the kinds stand in a table of captions alone."""
    captions = []
    for split, count in (("train", TRAINED), ("test", TESTED)):
        for number, (data, kind) in enumerate(_evenly(own, trial, split, trial.count(count, 2))):
            ending, write = WRITERS[data.ndim]
            file = folder / split / ("" if own.phrased else kind) / f"{number:04d}{ending}"
            file.parent.mkdir(parents=True, exist_ok=True)
            write(file, data)
            captions.append((file.relative_to(folder).as_posix(), PHRASINGS[number % len(PHRASINGS)].format(kind)))
    if own.phrased:
        with (folder / "captions.csv").open("w", newline="") as table:
            csv.writer(table).writerows([("file", "caption"), *captions])


def _evenly(own: OwnFolder, trial: Trial, split: str, count: int) -> Iterator[tuple[np.ndarray, str]]:
    """The first `count` media of each kind, in the order of the source."""
    left = dict.fromkeys(own.kinds, count)
    for _, data, words in own.media(trial.data, split):
        kind = kind_in(words, own.kinds)
        if kind is not None and left[kind]:
            left[kind] -= 1
            yield data, kind
