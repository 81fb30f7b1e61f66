"""The fused kernel of a training's norms against PyTorch's modules in float64."""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ernest.lcnet.native import build, norms
from ernest.lcnet.native.norms import fused_norms
from ernest.lcnet.network import PPLCNet, norm_and_activation, small_images

COMPILED = norms._library() is not None
pytestmark = pytest.mark.skipif(not COMPILED, reason="no C++ compiler")
ACTIVATIONS: tuple[Callable[[], nn.Module | None], ...] = (lambda: None, nn.ReLU, nn.Hardswish)


def drawn(channels: int, seed: int) -> nn.BatchNorm2d:
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(channels, momentum=0.3)
    with torch.no_grad():
        norm.weight.normal_(1, 0.5)
        norm.bias.normal_()
    return norm


def taken(x: Tensor, y_grad: Tensor, norm: nn.BatchNorm2d, activation: nn.Module | None) -> list[Tensor]:
    """The result, the three gradients and the running statistics."""
    x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    y = norm_and_activation.get()(x, norm, *([activation] if activation else []))
    y.backward(y_grad.to(y.dtype))
    found = [y.detach(), x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
    return [one for one in found if one is not None]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 5), st.integers(1, 70), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2), st.booleans(),
    st.sampled_from([0.0, 30.0]), st.integers(0, 999),
)  # fmt: skip
def test_it_is_the_norm_and_the_activation(
    count: int, channels: int, height: int, width: int, kind: int, narrow: bool, away: float, seed: int
) -> None:
    if count * height * width == 1:
        width = 2
    norm, activation = drawn(channels, seed), ACTIVATIONS[kind]()
    x = torch.randn(count, channels, height, width) * (1 + torch.rand(channels, 1, 1)) + away
    y_grad = torch.randn(count, channels, height, width)
    if narrow:
        x, y_grad = x.bfloat16(), y_grad.bfloat16()
    wide = deepcopy(norm).double()
    expected = taken(x.double(), y_grad.double(), wide, activation)
    with fused_norms():
        found = taken(x, y_grad, norm, activation)
    assert [one.dtype for one in found] == [x.dtype] * 2 + [torch.float32] * 4
    assert norm.num_batches_tracked == 1
    for one, right in zip(found, expected, strict=True):
        rounding = 2**-7 if one.dtype == torch.bfloat16 else 1e-5 * (1 + away)
        # of few values that lie close together what is left of them is divided by little
        spread = float(1 / x.double().var((0, 2, 3), unbiased=False).add(1e-5).sqrt().min())
        assert (one.double() - right).abs().max() <= rounding * max(1, float(right.abs().max())) * max(1, spread) * 4


def test_the_kernel_is_what_runs_and_only_within(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    kept = norms._call
    monkeypatch.setattr(norms, "_call", lambda name, *rest: (calls.append(name), kept(name, *rest)))
    network = PPLCNet(small_images(classes=3, scale=0.25))
    images = torch.rand(4, 3, 16, 16)
    network(images).sum().backward()
    assert calls == []
    with fused_norms():
        loss = network(images).square().sum()
    loss.backward()
    count = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert calls == ["normalise"] * count + ["normalise_back"] * count
    with fused_norms(), torch.no_grad():
        network.eval()(images)
    assert len(calls) == 2 * count


@pytest.mark.parametrize("scale", [0.25, 1.0])
def test_a_network_learns_the_same(scale: float) -> None:
    torch.manual_seed(0)
    network = PPLCNet(small_images(classes=3, scale=scale))
    images, targets = torch.rand(8, 3, 24, 24), torch.arange(8) % 3
    gradients = []
    for kernel in (False, True):
        other = deepcopy(network).train()
        other.head.dropout.p = 0.0
        with fused_norms() if kernel else nullcontext():
            loss = nn.functional.cross_entropy(other(images), targets)
        loss.backward()
        gradients.append(torch.cat([one.grad.flatten() for one in other.parameters() if one.grad is not None]))
    assert nn.functional.cosine_similarity(*gradients, dim=0) > 0.99999


@pytest.mark.parametrize("shape", [(64, 32, 16, 16), (3, 7, 11, 5), (2, 200, 9, 9)])
def test_any_number_of_threads_gives_the_same_bits(shape: tuple[int, ...]) -> None:
    x, y_grad, norm = torch.randn(shape), torch.randn(shape), drawn(shape[1], 1)
    y_grad = y_grad.contiguous(memory_format=torch.channels_last)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with fused_norms():
                results.append(taken(x, y_grad, deepcopy(norm), nn.Hardswish()))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(one, same) for one, same in zip(results[0], other, strict=True))


def test_slopes_where_they_bend_are_pytorchs() -> None:
    norm = nn.BatchNorm2d(1, eps=1e-30).double()  # of -1 and 1 the mean is 0 and the deviation 1
    with torch.no_grad():
        norm.weight.fill_(3)
    x, y_grad = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1), torch.tensor([2.0, 5.0]).view(2, 1, 1, 1)
    expected = taken(x.double(), y_grad.double(), deepcopy(norm), nn.Hardswish())
    with fused_norms():
        found = taken(x, y_grad, deepcopy(norm).float(), nn.Hardswish())
    assert torch.allclose(found[3].double(), expected[3], atol=1e-6)


def test_what_is_no_number_stays_none() -> None:
    x = torch.randn(2, 3, 4, 4)
    x[0, 1, 2, 3] = torch.nan
    with fused_norms():
        y = norm_and_activation.get()(x.contiguous(memory_format=torch.channels_last), nn.BatchNorm2d(3), nn.ReLU())
    assert y[:, 1].isnan().all()
    assert not y[:, [0, 2]].isnan().any()


def test_a_single_place_is_refused_as_ever() -> None:
    with fused_norms(), pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_and_activation.get()(torch.randn(1, 8, 1, 1), nn.BatchNorm2d(8))


@pytest.mark.parametrize("instructions", ["avx2", "generic"])
def test_lesser_instruction_sets_say_the_same(instructions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if instructions not in build.available():
        pytest.skip("not on this processor")
    x, y_grad, norm = torch.randn(5, 24, 7, 7), torch.randn(5, 24, 7, 7), drawn(24, 2)
    with fused_norms():
        best = taken(x, y_grad, deepcopy(norm), nn.Hardswish())
        lesser: ctypes.CDLL = build.library(instructions, norms.SOURCE)
        monkeypatch.setattr(norms, "_library", lambda: lesser)
        found = taken(x, y_grad, deepcopy(norm), nn.Hardswish())
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-4) for one, other in zip(best, found, strict=True))


def test_without_a_compiler_the_modules_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms, "_library", lambda: None)
    x, y_grad, norm = torch.randn(5, 24, 7, 7), torch.randn(5, 24, 7, 7), drawn(24, 2)
    plain = taken(x, y_grad, deepcopy(norm), nn.Hardswish())
    with fused_norms():
        found = taken(x, y_grad, deepcopy(norm), nn.Hardswish())
    assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))


def test_several_threads_at_once_do_not_meet_in_the_team() -> None:
    """Forward and back are other code and share the threads."""
    x, y_grad, norm = torch.randn(64, 32, 16, 16), torch.randn(64, 32, 16, 16), drawn(32, 1)
    y_grad = y_grad.contiguous(memory_format=torch.channels_last)
    before = torch.get_num_threads()

    def run(kind: int) -> list[Tensor]:
        with fused_norms():
            return [taken(x, y_grad, deepcopy(norm), ACTIVATIONS[kind % 3]())[1] for _ in range(10)]

    try:
        torch.set_num_threads(3)
        right = [run(kind)[0] for kind in range(3)]
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(run, range(6)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, right[kind % 3]) for kind, some in enumerate(found) for one in some)


def test_weights_of_sixteen_bits_are_left_to_the_modules() -> None:
    x, y_grad, norm = torch.randn(5, 24, 7, 7).bfloat16(), torch.randn(5, 24, 7, 7).bfloat16(), drawn(24, 2).bfloat16()
    plain = taken(x, y_grad, deepcopy(norm), nn.Hardswish())
    with fused_norms():
        found = taken(x, y_grad, deepcopy(norm), nn.Hardswish())
    assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))
