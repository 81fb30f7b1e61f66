"""From a folder of pictures to a trained network in files: what `ernest lcnet train` calls."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ernest.lcnet.network import PPLCNet
from ernest.lcnet.training.listing import Listing, read_listing, read_unlabelled, split, together
from ernest.lcnet.training.loop import best_epoch, fit
from ernest.lcnet.training.losses import Objective, Pair, distillation, mutual, supervised
from ernest.lcnet.training.monitor import display, print_classes
from ernest.lcnet.training.pictures import Pictures, as_seen, read_pictures, shrunk
from ernest.lcnet.training.recipe import Recipe, architecture, dump, preprocessing
from ernest.lcnet.training.scores import draw_confusion, evaluate, per_class, write_classes
from ernest.lcnet.weights.foreign import load_saved
from ernest.lcnet.weights.native import read, written_aside

SPLITS = (("train", "val"), ("train", "validation"), ("train", "test"))
"""Names of sub-folders that are no classes but parts of the data."""


@dataclass(frozen=True)
class Outcome:
    """Where the networks are, what their classes are called, and the scores (0 to 1) of the best epoch, counted from 1."""

    best: Path
    last: Path
    labels: tuple[str, ...]
    top1: float
    top5: float
    epoch: int
    skipped: int


def train(
    data: str | Path,
    out: str | Path,
    recipe: Recipe,
    *,
    validation: str | Path | None = None,
    start: str | Path | None = None,
    teacher: str | Path | None = None,
    unlabeled: str | Path | None = None,
    mutual: bool = False,
    skip_unreadable: bool = False,
    show: bool = True,
) -> Outcome:
    """Trains on a folder of class sub-folders or a manifest; the same call goes on where an interrupted one was.

    `validation` is scored with: by default `val`, `validation` or `test` beside `train` in the folder, or else
    `recipe.held_out` of each class. `start` are weights to begin with (any file that `ernest.lcnet.load` reads), whose
    classifier stays where the classes are the same. `teacher` is learnt from instead of labels, on `unlabeled` pictures too.
    `mutual` trains two students that teach each other. Writes `best.safetensors`, `last.safetensors`, `history.json`,
    `recipe.json`, `confusion.png` (with matplotlib) and `classes.csv` into `out`.
    Raises ValueError before anything is trained if data, recipe and files do not fit together; KeyboardInterrupt after Ctrl-C,
    with the state saved.
    """
    out = Path(out)
    if mutual and teacher is not None:
        raise ValueError("mutual: two students teach each other, without a teacher; leave one of the two out")
    if unlabeled is not None and teacher is None:
        raise ValueError("unlabeled: only a teacher can tell what such pictures show; name one")
    lists = _listings(Path(data), validation, recipe)
    rule, grey = preprocessing(recipe), recipe.channels == 1
    network, objective, mark = _learner(recipe, lists[0].labels, start, teacher, mutual)
    more = read_unlabelled(unlabeled, lists[0].labels) if unlabeled is not None else None
    learn = read_pictures(together(lists[0], more) if more else lists[0], shrunk(recipe), grey, skip_unreadable)
    score = read_pictures(lists[1], as_seen(rule), grey, skip_unreadable)
    with display(recipe, show) as told:
        progress = fit(network, objective, learn, score, recipe, out, told, mark)
    _write_json(out / "recipe.json", dump(recipe))
    _write_json(out / "history.json", list(progress.history))
    best = progress.history[best_epoch(progress)]
    _tell(out, score, recipe, show)
    skipped = len(learn.skipped) + len(score.skipped)
    files = out / "best.safetensors", out / "last.safetensors"
    return Outcome(*files, learn.labels, best["top1"], best["top5"], int(best["epoch"]), skipped)


def _listings(data: Path, validation: str | Path | None, recipe: Recipe) -> tuple[Listing, Listing]:
    """Pictures to learn from and pictures to score with."""
    parts = next((names for names in SPLITS if all((data / name).is_dir() for name in names)), None)
    learn = read_listing(data / parts[0] if parts else data)
    if validation is not None:
        return learn, read_listing(validation, learn.labels)
    if parts:
        return learn, read_listing(data / parts[1], learn.labels)
    return split(learn, recipe.held_out, recipe.seed)


def _learner(
    recipe: Recipe, labels: Sequence[str], start: str | Path | None, teacher: str | Path | None, two: bool
) -> tuple[PPLCNet | Pair, Objective, str]:
    """The network to train, what it learns by, and what tells this beginning from others."""
    network, mark = _network(recipe, labels, start), f"{start}, {teacher}, {two}"
    if two:
        return Pair(network, _network(replace(recipe, seed=recipe.seed + 1), labels, start)), mutual(recipe.smoothing), mark
    if teacher is None:
        return network, supervised(recipe.smoothing), mark
    return network, distillation(_teacher(teacher, recipe, labels)), mark


def _network(recipe: Recipe, labels: Sequence[str], start: str | Path | None) -> PPLCNet:
    """A fresh network, or the one of `start` with a fresh classifier if its classes are others."""
    wanted = architecture(recipe, len(labels))
    saved = load_saved(start) if start is not None else None
    if saved is not None:
        there = saved.network.architecture
        wanted = replace(wanted, hidden=there.hidden, hidden_bias=there.hidden_bias)
        alike = replace(wanted, classes=there.classes, strides=there.strides)
        if replace(there, dropout=wanted.dropout) != alike:
            raise ValueError(f"{start}: no {recipe.arch} of {recipe.channels} channels, which the recipe is to train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = PPLCNet(wanted)
    if saved is not None:
        found, expected = saved.network.state_dict(), network.state_dict()
        same = saved.labels == tuple(labels) if saved.labels else saved.network.architecture.classes == len(labels)
        fresh = () if same else ("head.classifier.weight", "head.classifier.bias")
        network.load_state_dict({name: (expected if name in fresh else found)[name] for name in expected})
    return network


def _teacher(path: str | Path, recipe: Recipe, labels: Sequence[str]) -> PPLCNet:
    """A network that knows just these classes, and that sees pictures as the recipe makes them."""
    saved = load_saved(path)
    there, rule = saved.network.architecture, preprocessing(recipe)
    if there.classes != len(labels):
        raise ValueError(f"{path}: a teacher of {there.classes} classes, but the data have {len(labels)}")
    if saved.labels and saved.labels != tuple(labels):
        one, other = next(pair for pair in zip(saved.labels, labels, strict=True) if pair[0] != pair[1])
        raise ValueError(f"{path}: the teacher's classes are not those of the data: {one!r} instead of {other!r}")
    if there.in_channels != recipe.channels:
        raise ValueError(f"{path}: a teacher of {there.in_channels} channels, but the recipe has {recipe.channels}")
    theirs = saved.preprocessing
    if (theirs.mean, theirs.std, theirs.bgr) != (rule.mean, rule.std, rule.bgr):
        wanted = f"mean {rule.mean} and deviation {rule.std}, red first"
        raise ValueError(f"{path}: the teacher's pictures are prepared otherwise than with {wanted}")
    return saved.network


def _tell(out: Path, score: Pictures, recipe: Recipe, show: bool) -> None:
    """The table and the picture of what the best network takes for what."""
    scores = evaluate(read(out / "best.safetensors").network, score, preprocessing(recipe))
    rows = per_class(scores, score.labels)
    write_classes(rows, out / "classes.csv")
    if show:
        print_classes(rows, scores)
    try:
        draw_confusion(scores, score.labels, out / "confusion.png")
    except ImportError:  # a picture is not worth failing for when all else is done
        return


def _write_json(path: Path, tree: object) -> None:
    with written_aside(path) as aside:
        aside.write_text(json.dumps(tree, indent=1))
