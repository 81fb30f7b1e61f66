"""Trains a classifier on a folder of pictures and writes networks, scores and tables: the body of `ernest lcnet train`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ernest import storage
from ernest.device import memory_limit
from ernest.lcnet.image_io.find import describe_left_out
from ernest.lcnet.network import PPLCNet
from ernest.lcnet.training.dataset import PictureDataset, evaluation_reader, read_dataset, training_reader
from ernest.lcnet.training.listing import LeftOut, Listing, concatenate, read_parts, read_unlabelled
from ernest.lcnet.training.loop import best_epoch, fit, score
from ernest.lcnet.training.losses import Objective, Pair, distillation, mutual, supervised, supervised_sets
from ernest.lcnet.training.memory import pictures_at_once
from ernest.lcnet.training.monitor import display, print_classes, print_line
from ernest.lcnet.training.parts import find_parts
from ernest.lcnet.training.plan import Budget, make_plan
from ernest.lcnet.training.recipe import Recipe, architecture_of, dump, largest_sides, load_recipe, preprocessing_of
from ernest.lcnet.training.repeats import describe_repeats
from ernest.lcnet.training.scores import draw_confusion, per_class, write_classes
from ernest.lcnet.training.sets import SetScores, per_label
from ernest.lcnet.weights.foreign import load_checkpoint, load_start
from ernest.lcnet.weights.given import UNKNOWN, Foreign
from ernest.lcnet.weights.native import Checkpoint, read_checkpoint


@dataclass(frozen=True)
class TrainingResult:
    """Where the networks are, what their classes are called, and the scores (0 to 1) of the best epoch, counted from 1.

    `scores` is that epoch's line of `history.json`: top1, top5, macro_recall, held_out_loss; for many labels a picture exact and
    macro_f1 instead of the first three. `score` is the one that the best network has the highest of. `skipped` counts
    pictures that could not be read, `left_out` other files in the folders, by the reason not to take them.
    """

    best: Path
    last: Path
    labels: tuple[str, ...]
    scores: Mapping[str, float]
    skipped: int
    left_out: LeftOut

    @property
    def epoch(self) -> int:
        return int(self.scores["epoch"])

    @property
    def top1(self) -> float:
        """The share of pictures whose answer is just right: their class, or the set of all their labels."""
        return self.scores["exact"] if "exact" in self.scores else self.scores["top1"]


def train(
    data: str | Path,
    out: str | Path,
    recipe: Recipe | Budget,
    *,
    validation: str | Path | None = None,
    start: str | Path | None = None,
    teacher: str | Path | None = None,
    unlabeled: str | Path | None = None,
    mutual: bool = False,
    skip_unreadable: bool = False,
    show: bool = True,
    foreign: Foreign = UNKNOWN,
) -> TrainingResult:
    """Trains on a folder of class sub-folders or a manifest; the same call goes on where an interrupted one was.

    For a `Budget` the recipe is chosen for the pictures (`make_plan`), and told before the first step.
    `validation` is scored with: by default `val`, `valid`, `dev`, `test` or the like beside `train` in the folder, or else
    `recipe.held_out` of each class. `start` are weights to begin with (any file that `ernest.lcnet.load` reads), whose
    classifier stays where the classes are the same. `teacher` is learnt from instead of labels, on `unlabeled` pictures too.
    `mutual` trains two students that teach each other. `foreign` is what you know of `start` and `teacher`.

    Writes `best.safetensors`, `last.safetensors`, `history.json`,
    `recipe.json`, `confusion.png` (with matplotlib) and `classes.csv` into `out`.
    Raises ValueError before anything is trained if data, recipe and files do not fit together, or if another process trains into
    `out`; KeyboardInterrupt after Ctrl-C, with the state saved.
    """
    out = Path(out)
    _check_folder(out, Path(data))
    given = load_recipe(overrides=recipe.fields) if isinstance(recipe, Budget) else recipe
    _check_teaching(given, mutual, teacher, unlabeled)
    saved = load_start(start, foreign) if start is not None else None
    taught = load_checkpoint(teacher, foreign) if teacher is not None else None
    lists = read_parts(
        Path(data), None if validation is None else Path(validation), given.held_out, given.seed, given.label_separator
    )
    if show:
        _tell_data(*lists)
    with storage.own_folder(out / "state.safetensors"):  # of two at a time each would overwrite the other's networks
        if isinstance(recipe, Budget):
            recipe = _planned(lists[0], recipe, out, saved, show)
        preprocessing, origin = preprocessing_of(recipe), f"{start}, {teacher}, {mutual}, {foreign}"
        network, objective = _learner(recipe, lists[0].labels, (start, saved), (teacher, taught), mutual)
        recipe = _within_memory(recipe, network, show)
        more = read_unlabelled(unlabeled, lists[0].labels) if unlabeled is not None else None
        training_set = read_dataset(concatenate(lists[0], more) if more else lists[0], training_reader(recipe), skip_unreadable)
        validation_set = read_dataset(lists[1], evaluation_reader(preprocessing), skip_unreadable)
        left_out = concatenate(lists[0], lists[1]).left_out
        with display(recipe, show) as on_report:
            progress = fit(network, objective, training_set, validation_set, recipe, out, on_report, origin)
        storage.write_text(out / "recipe.json", json.dumps(dump(recipe), indent=1))
        storage.write_text(out / "history.json", json.dumps(list(progress.history), indent=1))
        _tell(out, validation_set, recipe, show)
    best = progress.history[best_epoch(progress)]
    skipped = len(training_set.skipped) + len(validation_set.skipped)
    return TrainingResult(out / "best.safetensors", out / "last.safetensors", training_set.labels, best, skipped, left_out)


def _check_folder(out: Path, data: Path) -> None:
    """Raises ValueError for a folder that nothing could be written into, or that would be a class when the run goes on, before an
    epoch is lost to it; makes none."""
    if data.resolve() in out.resolve().parents and find_parts(data) is None:
        raise ValueError(f"{out}: it lies in {data}, where folders are classes: name one elsewhere, with -o")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: expected a folder to write into, got a file")
    storage.check_writable(out / "last.safetensors")


def _check_teaching(recipe: Recipe, mutual: bool, teacher: str | Path | None, unlabeled: str | Path | None) -> None:
    """Raises ValueError for ways of learning that do not go together."""
    if mutual and teacher is not None:
        raise ValueError("mutual: two students teach each other, without a teacher; leave one of the two out")
    if unlabeled is not None and teacher is None:
        raise ValueError("unlabeled: only a teacher can tell what such pictures show; name one")
    if recipe.label_separator and (mutual or teacher is not None):
        raise ValueError("label_separator: pictures of several labels are learnt without a teacher and without mutual learning")


def _tell_data(learn: Listing, score: Listing) -> None:
    """What of the data is left out, and what stands in it twice, on standard error."""
    left_out = concatenate(learn, score).left_out
    if left_out:
        print_line(f"left out: {describe_left_out(left_out)}")
    for line in describe_repeats(learn, score):
        print_line(line)


def _planned(listing: Listing, budget: Budget, out: Path, started: Checkpoint | None, show: bool) -> Recipe:
    """The recipe that `make_plan` chooses, told on standard error."""
    plan = make_plan(listing, budget, out, started and started.network.architecture)
    for line in plan.reasons if show else ():
        print_line(f"plan: {line}")
    return plan.recipe


def _within_memory(recipe: Recipe, network: PPLCNet | Pair, show: bool) -> Recipe:
    """With so many pictures at once as the memory holds, where the recipe leaves that open and a batch is more."""
    if recipe.at_once is not None:
        return recipe
    most = pictures_at_once(network, largest_sides(recipe), recipe.channels, memory_limit())
    if most >= recipe.batch:
        return recipe
    if show:
        print_line(f"{recipe.batch} pictures do not fit into the memory: {most} at once, gradients summed")
    return replace(recipe, at_once=most)


def summary(result: TrainingResult) -> str:
    """Where the best network is and how good it is, in a line."""
    left_out = f", {result.skipped} pictures left out" if result.skipped else ""
    found = result.scores
    names = {"exact": "exact sets", "macro_f1": "mean F1", "top1": "top-1", "top5": "top-5"}
    scores = ", ".join(f"{name} {found[key]:.2%}" for key, name in names.items() if key in found)
    return f"{result.best}: {scores} at epoch {result.epoch}, {len(result.labels)} classes{left_out}"


Read = tuple[str | Path | None, Checkpoint | None]
"""A file that was given, for complaints, and what is in it."""


def _learner(recipe: Recipe, labels: Sequence[str], start: Read, teacher: Read, two: bool) -> tuple[PPLCNet | Pair, Objective]:
    """The network to train, and what it learns by."""
    network = _network(recipe, labels, *start)
    if two:
        return Pair(network, _network(replace(recipe, seed=recipe.seed + 1), labels, *start)), mutual(recipe.smoothing)
    path, taught = teacher
    if taught is None:
        return network, (supervised_sets if recipe.label_separator else supervised)(recipe.smoothing)
    _check_teacher(path, taught, recipe, labels)
    return network, distillation(taught.network)


def _network(recipe: Recipe, labels: Sequence[str], start: str | Path | None, saved: Checkpoint | None) -> PPLCNet:
    """A fresh network, or the one of `start` with a fresh classifier if its classes are others."""
    wanted = architecture_of(recipe, len(labels))
    if saved is not None:
        there = saved.network.architecture
        wanted = replace(wanted, head_width=there.head_width, head_bias=there.head_bias)
        alike = replace(wanted, classes=there.classes, strides=there.strides)
        if replace(there, dropout=wanted.dropout) != alike:
            raise ValueError(f"{start}: no {recipe.arch} of {recipe.channels} channels, which the recipe is to train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed % 2**63)
        network = PPLCNet(wanted)
    if saved is not None:
        found, expected = saved.network.state_dict(), network.state_dict()
        same = saved.labels == tuple(labels) if saved.labels else saved.network.architecture.classes == len(labels)
        fresh = () if same else ("head.classifier.weight", "head.classifier.bias")
        network.load_state_dict({name: (expected if name in fresh else found)[name] for name in expected})
    return network


def _check_teacher(path: str | Path | None, saved: Checkpoint, recipe: Recipe, labels: Sequence[str]) -> None:
    """Raises ValueError unless it knows just these classes, and sees pictures as the recipe makes them."""
    there, preprocessing = saved.network.architecture, preprocessing_of(recipe)
    if saved.decision.many:
        raise ValueError(f"{path}: a teacher for many labels a picture, where each has one")
    if there.classes != len(labels):
        raise ValueError(f"{path}: a teacher of {there.classes} classes, but the data have {len(labels)}")
    if saved.labels and saved.labels != tuple(labels):
        one, other = next(pair for pair in zip(saved.labels, labels, strict=True) if pair[0] != pair[1])
        raise ValueError(f"{path}: the teacher's classes are not those of the data: {one!r} instead of {other!r}")
    if there.in_channels != recipe.channels:
        raise ValueError(f"{path}: a teacher of {there.in_channels} channels, but the recipe has {recipe.channels}")
    theirs = saved.preprocessing
    if (theirs.mean, theirs.std, theirs.bgr) != (preprocessing.mean, preprocessing.std, preprocessing.bgr):
        wanted = f"mean {preprocessing.mean} and deviation {preprocessing.std}, red first"
        raise ValueError(f"{path}: the teacher's pictures are prepared otherwise than with {wanted}")


def _tell(out: Path, validation_set: PictureDataset, recipe: Recipe, show: bool) -> None:
    """Writes and shows the per-class table and, of one class a picture, the confusion matrix of the best network."""
    scores = score(read_checkpoint(out / "best.safetensors").network, validation_set, recipe)
    labels = validation_set.labels
    rows = per_label(scores, labels) if isinstance(scores, SetScores) else per_class(scores, labels)
    write_classes(rows, out / "classes.csv")
    if show:
        print_classes(rows, scores.text)
    if isinstance(scores, SetScores):
        return
    try:
        draw_confusion(scores, labels, out / "confusion.png")
    except ImportError:  # a picture is not worth failing for when all else is done
        return
    except Exception as error:  # nor is whatever a font or a name does to it
        if show:
            print_line(f"confusion.png could not be drawn: {type(error).__name__}: {error}")
