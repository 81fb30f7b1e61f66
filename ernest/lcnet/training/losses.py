"""Training losses: supervised, distillation, mutual learning."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.lcnet.network import PPLCNet

Objective = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
"""A network, images `[N, C, H, W]` and targets `[N]` to a loss and the logits `[N, classes]` that were scored."""


class Pair(nn.Module):
    """Two students that learn from each other (arXiv 1706.00384); the first one is kept."""

    def __init__(self, first: PPLCNet, second: PPLCNet) -> None:
        super().__init__()
        self.first, self.second = first, second


def student(network: nn.Module) -> PPLCNet:
    """The network that is scored and saved: itself, or the first of a `Pair`."""
    chosen = network.first if isinstance(network, Pair) else network
    assert isinstance(chosen, PPLCNet)
    return chosen


def supervised(smoothing: float) -> Objective:
    """Cross-entropy with labels smoothed: 1 - smoothing on the target, the rest evenly on all classes."""

    def loss(network: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = network(images).float()
        return F.cross_entropy(logits, targets, label_smoothing=smoothing), logits

    return loss


def supervised_sets(smoothing: float) -> Objective:
    """Cross-entropy of each label by itself, summed over labels: -sum_c t_c log p_c + (1 - t_c) log(1 - p_c); targets
    `[N, classes]` of 0 and 1, smoothed to smoothing/2 and 1 - smoothing/2."""

    def loss(network: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = network(images).float()
        smoothed = targets.float() * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smoothed, reduction="sum") / len(targets), logits

    return loss


def distillation(teacher: nn.Module) -> Objective:
    """The divergence from a teacher's answers; targets are not looked at, so pictures need none (SSLD, arXiv 2103.05959)."""
    teacher = teacher.eval().requires_grad_(False)

    def loss(network: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            answers = teacher(images).float()
        logits = network(images).float()
        return divergence(logits, answers), logits

    return loss


def mutual(smoothing: float) -> Objective:
    """Two students of a `Pair`: each learns the labels, and both are drawn towards each other (DML in PaddleClas)."""
    alone = supervised(smoothing)

    def loss(network: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        assert isinstance(network, Pair)
        (first, logits), (second, others) = alone(network.first, images, targets), alone(network.second, images, targets)
        return first + second + divergence(logits, others), logits

    return loss


def divergence(one: Tensor, other: Tensor) -> Tensor:
    """The mean of KL(p, q) and KL(q, p) over a batch, p and q being the soft labels of two logits `[N, classes]`.

    Symmetric like the Jensen-Shannon divergence, of which it is an upper bound, and the form that PaddleClas trains with:
    sum (p - q) (log p - log q) / 2.
    """
    log_p, log_q = one.log_softmax(-1), other.log_softmax(-1)
    return 0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1).mean()
