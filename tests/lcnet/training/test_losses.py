"""Losses against slow references that follow the formulas number by number."""

import math

import pytest
import torch

from ernest.lcnet import Architecture, PPLCNet
from ernest.lcnet.training.losses import Pair, distillation, divergence, mutual, student, supervised


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def slow_divergence(one: torch.Tensor, other: torch.Tensor) -> float:
    total = 0.0
    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        p, q = softmax(a), softmax(b)
        total += sum(x * math.log(x / y) for x, y in zip(p, q, strict=True)) / 2
        total += sum(y * math.log(y / x) for x, y in zip(p, q, strict=True)) / 2
    return total / len(one)


def slow_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> float:
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        for place, share in enumerate(softmax(row)):
            wanted = smoothing / len(row) + (1 - smoothing) * (place == target)
            total -= wanted * math.log(share)
    return total / len(targets)


@pytest.fixture
def networks() -> tuple[PPLCNet, PPLCNet]:
    torch.manual_seed(0)
    plain = Architecture(classes=5, scale=0.25, strides=(1, 1, 1, 2, 2, 2), dropout=0.0)
    return PPLCNet(plain).eval(), PPLCNet(plain).eval()


def test_divergence_is_that_of_the_formula_and_symmetric() -> None:
    torch.manual_seed(0)
    one, other = 3 * torch.randn(7, 4), 3 * torch.randn(7, 4)
    assert float(divergence(one, other)) == pytest.approx(slow_divergence(one, other), rel=1e-5)
    assert float(divergence(one, other)) == pytest.approx(float(divergence(other, one)), rel=1e-6)
    assert float(divergence(one, one + 2.5)) == pytest.approx(0, abs=1e-6)
    assert float(divergence(40 * one, 40 * other)) > 0


def test_the_three_objectives_are_those_sums(networks: tuple[PPLCNet, PPLCNet]) -> None:
    first, second = networks
    images, targets = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 3, 4, 0])
    one, other = first(images).detach(), second(images).detach()
    apart, soft = slow_divergence(one, other), slow_cross_entropy(one, targets, 0.1)
    loss, logits = supervised(0.1)(first, images, targets)
    assert loss.item() == pytest.approx(soft, rel=1e-5)
    assert torch.equal(logits, one)
    loss, logits = distillation(second)(first, images, torch.full((6,), -1))
    assert loss.item() == pytest.approx(apart, rel=1e-5)
    assert torch.equal(logits, one)
    pair = Pair(first, second)
    loss, logits = mutual(0.1)(pair, images, targets)
    assert loss.item() == pytest.approx(apart + soft + slow_cross_entropy(other, targets, 0.1), rel=1e-5)
    assert torch.equal(logits, one)
    assert student(pair) is first
    assert student(second) is second


def test_a_teacher_gets_no_gradient_and_both_students_do(networks: tuple[PPLCNet, PPLCNet]) -> None:
    first, second = networks
    images, targets = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    mutual(0.1)(Pair(first, second), images, targets)[0].backward()
    assert all(parameter.grad is not None for network in networks for parameter in network.parameters())
    first.zero_grad()
    second.zero_grad()
    distillation(second)(first, images, targets)[0].backward()
    assert all(parameter.grad is not None for parameter in first.parameters())
    assert all(parameter.grad is None for parameter in second.parameters())
