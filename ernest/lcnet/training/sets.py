"""Scores of a classifier of many labels a picture: exact sets, F1 by label, and the thresholds that separate best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from ernest.lcnet.decision import EVEN, Decision
from ernest.lcnet.image_io.preprocess import Preprocessing
from ernest.lcnet.training.dataset import PictureDataset
from ernest.lcnet.training.scores import ClassScore, answers

FEWEST = 10
"""Pictures with a label, and without it, from which on a threshold of its own says more than chance."""


@dataclass(frozen=True)
class SetScores:
    """Of labels that count as there from a probability of 0.5 on; `found`, `wrong` and `missed` are counts by label.

    `exact` is the share of pictures whose labels are all right and no others, `loss` the mean cross-entropy, summed over labels.
    `thresholds` are those with the highest F1 of each label on the same pictures, which is why no score is given for them.
    """

    exact: float
    found: np.ndarray
    wrong: np.ndarray
    missed: np.ndarray
    loss: float
    thresholds: tuple[float, ...]

    @property
    def macro_f1(self) -> float:
        """The mean over the labels that pictures have of F1 = 2 found / (2 found + wrong + missed)."""
        there = self.found + self.missed > 0
        return float(_f1(self.found[there], self.wrong[there], self.missed[there]).mean()) if there.any() else 0.0

    @property
    def line(self) -> Mapping[str, float]:
        """What the history keeps of an epoch; the network with the highest `score` is the best."""
        return {"score": self.macro_f1, "exact": self.exact, "macro_f1": self.macro_f1, "held_out_loss": self.loss}

    @property
    def text(self) -> str:
        return f"exact sets {self.exact:.2%}, mean F1 of the labels {self.macro_f1:.2%}"

    @property
    def decision(self) -> Decision:
        return Decision(True, self.thresholds)


def evaluate_sets(network: nn.Module, pictures: PictureDataset, preprocessing: Preprocessing) -> SetScores:
    """Scores on pictures that already have the size that `preprocessing` makes, as `evaluate`, with targets `[N, classes]`.

    Raises ValueError if an answer is no number.
    """
    values, targets, loss = [], [], 0.0
    for logits, wanted in answers(network, pictures, preprocessing):
        z, there = logits.double().numpy(), wanted.astype(bool)
        # -log p of what is there and of what is not: log(1 + exp(-z)) and log(1 + exp(z)).
        loss += float(np.logaddexp(0, np.where(there, -z, z)).sum())
        values.append((1 / (1 + np.exp(-z))).astype(np.float32))
        targets.append(there)
    probabilities, there = np.concatenate(values), np.concatenate(targets)
    taken = probabilities >= EVEN
    counts = ((taken & there).sum(0), (taken & ~there).sum(0), (~taken & there).sum(0))
    exact = float((taken == there).all(1).mean())
    return SetScores(exact, *counts, loss / len(there), choose_thresholds(probabilities, there))


def choose_thresholds(probabilities: np.ndarray, there: np.ndarray) -> tuple[float, ...]:
    """The threshold of each label with the highest F1, both `[N, labels]`; of several the one nearest to 0.5.

    0.5 stays for a label that too few pictures have, or lack.
    """
    return tuple(_threshold(column, truth) for column, truth in zip(probabilities.T, there.T, strict=True))


def _threshold(probabilities: np.ndarray, there: np.ndarray) -> float:
    count = int(there.sum())
    if min(count, len(there) - count) < FEWEST:
        return EVEN
    order = np.argsort(-probabilities, kind="stable")
    sorted_, found = probabilities[order].astype(np.float64), np.cumsum(there[order])
    taken = np.arange(1, len(there) + 1)
    middle = (sorted_[:-1] + sorted_[1:]) / 2
    possible = sorted_[:-1] > sorted_[1:]  # between equal ones there is none
    scores = np.where(possible, _f1(found, taken - found, count - found)[:-1], -1.0)
    now = probabilities >= EVEN
    best = _f1(*(np.array(value) for value in ((now & there).sum(), (now & ~there).sum(), (~now & there).sum())))
    if scores.max(initial=-1.0) <= best:
        return EVEN
    nearest = middle[scores == scores.max()]
    return float(nearest[np.abs(nearest - EVEN).argmin()])


def per_label(scores: SetScores, labels: Sequence[str]) -> list[ClassScore]:
    """Every label, the lowest F1 first, those without pictures last."""
    f1 = _f1(scores.found, scores.wrong, scores.missed)
    rows = []
    for index, label in enumerate(labels):
        found, wrong, missed = int(scores.found[index]), int(scores.wrong[index]), int(scores.missed[index])
        recall = found / (found + missed) if found + missed else None
        rows.append((float(f1[index]), ClassScore(label, found + missed, recall, found / max(1, found + wrong), "")))
    return [row for _, row in sorted(rows, key=lambda pair: (pair[1].recall is None, pair[0], pair[1].label))]


def _f1(found: np.ndarray, wrong: np.ndarray, missed: np.ndarray) -> np.ndarray:
    return 2 * found / np.maximum(1, 2 * found + wrong + missed)
