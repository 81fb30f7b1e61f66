"""Scores of a classifier: top-1, top-5 and the confusion matrix, as numbers, a CSV table and a picture."""

import csv
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest import storage
from ernest.lcnet.decision import ONE, Decision
from ernest.lcnet.image_io.preprocess import Preprocessing, normalise
from ernest.lcnet.training.dataset import PictureDataset

BATCH = 250
LONGEST_NAME = 32
"""Letters of a class in the picture of the confusions."""
MOST_CELLS = 500
"""Rows and columns of it: of more classes several share one."""
MOST_NAMES = 40
"""Beyond so many classes a picture of them all has no room for names and numbers."""


@dataclass(frozen=True)
class Scores:
    """Shares from 0 to 1; `confusion[i, j]` counts the pictures of class i that were taken for class j.

    `top5` counts a picture as right if its class is among the five likeliest, or among all of fewer. `loss` is the mean
    cross-entropy of the answers, unsmoothed: -log p of the class that is there. With `by_class` the classes count, not the
    pictures.
    """

    top1: float
    top5: float
    confusion: np.ndarray
    loss: float = 0.0
    by_class: bool = False

    @property
    def macro_recall(self) -> float:
        """The mean over classes of the share found of each, over the classes that have pictures."""
        counts = self.confusion.sum(1)
        there = counts > 0
        return float((self.confusion.diagonal()[there] / counts[there]).mean()) if there.any() else 0.0

    @property
    def line(self) -> Mapping[str, float]:
        """What the history keeps of an epoch; the network with the highest `score` is the best."""
        score = self.macro_recall if self.by_class else self.top1
        both = {"score": score, "top1": self.top1, "top5": self.top5}
        return {**both, "macro_recall": self.macro_recall, "held_out_loss": self.loss}

    @property
    def text(self) -> str:
        return f"top-1 {self.top1:.2%}, top-5 {self.top5:.2%}, mean recall of the classes {self.macro_recall:.2%}"

    @property
    def decision(self) -> Decision:
        return ONE


def evaluate(network: nn.Module, pictures: PictureDataset, preprocessing: Preprocessing) -> Scores:
    """Scores on pictures that already have the size that `preprocessing` makes; leaves the network's training mode as it was.

    Raises ValueError if an answer is no number: such a network would be scored by whatever the comparison with nan gives.
    """
    classes = len(pictures.labels)
    confusion, among, loss = np.zeros((classes, classes), np.int32), 0, 0.0
    for logits, targets in answers(network, pictures, preprocessing):
        likeliest = logits.topk(min(5, classes)).indices.numpy()
        among += int((likeliest == targets[:, None]).sum())
        loss += float(F.cross_entropy(logits, torch.from_numpy(targets), reduction="sum"))
        np.add.at(confusion, (targets, likeliest[:, 0]), 1)
    count = max(1, len(pictures))
    return Scores(float(confusion.trace() / count), among / count, confusion, loss / count)


def answers(network: nn.Module, pictures: PictureDataset, preprocessing: Preprocessing) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Logits and targets of some pictures after the other. Raises ValueError as `evaluate` does."""
    training = network.training
    network.eval()
    try:
        for start in range(0, len(pictures), BATCH):
            indices = range(start, min(start + BATCH, len(pictures)))
            levels = np.stack([pictures.picture(index) for index in indices])
            with torch.inference_mode():
                logits = network(normalise(torch.from_numpy(levels).movedim(-1, 1).float(), preprocessing)).float()
            if not torch.isfinite(logits).all():
                raise ValueError("the network's answers are no finite numbers: its weights are damaged, or the rate was too high")
            yield logits, pictures.targets[start : start + len(levels)]
    finally:
        network.train(training)


@dataclass(frozen=True)
class ClassScore:
    """One line of the table: the share of its pictures that were found, and of what was taken for it that was right.

    `recall` is None for a class that has no pictures.
    """

    label: str
    pictures: int
    recall: float | None
    precision: float
    taken_for: str


def per_class(scores: Scores, labels: Sequence[str]) -> list[ClassScore]:
    """Every class, the worst first, those without pictures last.

    `taken_for` is the class that most of its missed pictures were taken for.
    """
    rows, all_taken = [], scores.confusion.sum(0)
    for index, label in enumerate(labels):
        found, row = int(scores.confusion[index, index]), scores.confusion[index]
        wrong = np.where(np.arange(len(labels)) == index, 0, row)
        count, taken = int(row.sum()), int(all_taken[index])
        other = labels[int(wrong.argmax())] if wrong.any() else ""
        rows.append(ClassScore(label, count, found / count if count else None, found / max(1, taken), other))
    return sorted(rows, key=lambda row: (row.recall is None, row.recall, row.label))


def write_classes(rows: Sequence[ClassScore], path: Path) -> None:
    """The table as CSV."""
    with storage.write_file(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("class", "pictures", "recall", "precision", "most often taken for"))
        for row in rows:
            recall = "" if row.recall is None else f"{row.recall:.4f}"
            lines.writerow((row.label, row.pictures, recall, f"{row.precision:.4f}", row.taken_for))


def draw_confusion(scores: Scores, labels: Sequence[str], path: Path) -> None:
    """Draws the confusion matrix, each row as fractions of its class. Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count, confusion = len(labels), scores.confusion
    if count > MOST_CELLS:  # several classes a pixel: all of ten thousand would take 6 GB
        groups = np.arange(0, count, -(-count // MOST_CELLS))
        kind = confusion.dtype  # wider sums would need a wider copy of all first
        confusion = np.add.reduceat(np.add.reduceat(confusion, groups, 0, kind), groups, 1, kind)
    shares = confusion / np.maximum(1, confusion.sum(1, keepdims=True))
    side = min(14.0, 2.6 + 0.42 * min(count, MOST_NAMES))
    figure = Figure((side + 0.6, side), layout="constrained")
    axes = figure.add_subplot(xlabel="taken for", ylabel="is", title=f"top-1 {scores.top1:.2%}")
    # The square root keeps rare mistakes in sight beside a diagonal close to one.
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    if count <= MOST_NAMES:
        names = [label if len(label) <= LONGEST_NAME else label[: LONGEST_NAME - 1] + "…" for label in labels]
        # A class may be called a$^$b, which is no formula.
        axes.set_xticks(range(count), names, rotation=90 if max(map(len, names)) > 3 else 0, parse_math=False)
        axes.set_yticks(range(count), names, parse_math=False)
        for i, j in zip(*np.nonzero(scores.confusion), strict=True):
            colour, count = "white" if shares[i, j] > 0.3 else "black", str(scores.confusion[i, j])
            axes.text(j, i, count, ha="center", va="center", fontsize=7, color=colour)
    with storage.write_file(path) as aside, warnings.catch_warnings(action="ignore"):  # of letters that the font lacks
        FigureCanvasAgg(figure).print_png(aside)
