"""How logits become answers: one label of many by softmax, or any number of labels by sigmoids, and which are sure enough."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

EVEN = 0.5
"""The probability from which a label of many counts as there, where nobody has chosen another."""


@dataclass(frozen=True)
class Decision:
    """With `many` a picture has any number of labels, each with a probability of its own; else one, and they add up to one.

    `thresholds` are the least probabilities that count, one a class or one for all: below it a label of many is not there, and
    a picture whose likeliest label is not that likely shows none of the labels. Empty: 0.5 for many, none for one.
    Raises ValueError for thresholds that are no probabilities.
    """

    many: bool = False
    thresholds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for value in self.thresholds:
            if not 0 <= value <= 1:
                raise ValueError(f"threshold: expected a probability from 0 to 1, got {value}")

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of every class, `[N, classes]`: p_c = 1 / (1 + exp(-z_c)) for many, exp(z_c) / sum_k exp(z_k) for one."""
        return logits.float().sigmoid() if self.many else logits.float().softmax(1)

    def least(self, classes: int) -> Tensor:
        """The threshold of each class `[classes]`."""
        usual = EVEN if self.many else 0.0
        return torch.tensor(self.thresholds or (usual,)).expand(classes)

    def kept(self, likeliest: Tensor, labels: Tensor, classes: int) -> Tensor:
        """Which of the likeliest labels, sorted `[N, top]`, an answer names: of many those that are there, of one all or none."""
        sure = likeliest >= self.least(classes)[labels]
        return sure if self.many else sure[:, :1].expand_as(sure)

    def with_threshold(self, value: float | None) -> "Decision":
        """One threshold for all classes; None leaves them."""
        return self if value is None else replace(self, thresholds=(value,))


ONE = Decision()
"""One label a picture, however unsure."""
