"""Of two losses on the same features, the second pulls no harder than the first; trainings in which words are held to it."""

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ernest.config.media import MediaSpec
from ernest.config.recipe import Recipe
from ernest.fit import no_progress
from ernest.tokenizers.training import films, vision
from ernest.tokenizers.training.bounded import bounded
from ernest.tokenizers.training.vision import FrameBatch, VisionTraining
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig
from ernest.training import tokenizers
from ernest.training.frames import labelled_frames

SMALL = VisionTokenizerConfig(16, bits=8, width=16, classes=3)
LOGS = st.floats(-20, 20)


def gradient(leading: Tensor, other: Tensor) -> Tensor:
    """Of a feature that both losses see as it is, with the gradients `leading` and `other`."""
    shared = torch.zeros_like(leading, requires_grad=True)
    first, second = bounded(shared, shared)
    return torch.autograd.grad((first * leading).sum() + (second * other).sum(), shared)[0]


@settings(max_examples=20)
@given(LOGS, LOGS, st.integers(0, 2**31))
def test_the_second_is_scaled_to_the_norm_of_the_first(first: float, second: float, seed: int) -> None:
    """Against the definition: the second at the length of the first, but never longer than it was."""
    draw = lambda log: 2.0**log * torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed + (log == first)))
    leading, other = draw(first), draw(second)
    expected = leading + other / other.norm() * min(other.norm(), leading.norm())
    assert (gradient(leading, other) - expected).norm() < 1e-6 * (leading.norm() + other.norm())


def test_means_are_held_to_a_common_shift() -> None:
    """What moves cells against each other is no pull at their mean."""
    shared = torch.zeros(2, 3, 4, 4, requires_grad=True)
    for common, most in ((0.0, 0.0), (0.5, 0.5 * 16)):
        apart = torch.randn(2, 3, 4, 4)
        leading = apart - apart.mean((2, 3), keepdim=True) + common
        first, mean = bounded(shared, shared.mean((2, 3)))
        found = torch.autograd.grad((first * leading).sum() + 1e3 * mean.sum(), shared)[0] - leading
        assert (found.sum((2, 3)) - most).abs().max() < 1e-3


@pytest.mark.parametrize(("first", "second"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_a_loss_that_pulls_at_nothing(first: float, second: float) -> None:
    """Without the first there is none, and without the second the first is as it was."""
    leading, other = torch.full((2, 3), first), torch.full((2, 3), second)
    assert torch.equal(gradient(leading, other), leading)


def test_values_are_as_they_were() -> None:
    both = torch.randn(2, 3).bfloat16(), torch.randn(4)
    for one, same in zip(both, bounded(*both), strict=True):
        assert torch.equal(one, same)
        assert one.dtype == same.dtype


def pull(monkeypatch: pytest.MonkeyPatch, module: ModuleType, training: VisionTraining) -> tuple[Tensor, Tensor]:
    """The gradients of the first step at the encoder and at what names the bits."""
    pixels = np.random.default_rng(1).integers(0, 256, (6, 16, 16, 3), np.uint8)
    stills = FrameBatch(pixels, np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]], np.array([[0, 3], [1, 4]]))
    kept: list[nn.Module] = []
    monkeypatch.setattr(module, "fit", lambda network, loss, *_: loss(0)[0].backward() or kept.append(network) or network)
    torch.manual_seed(0)
    if module is vision:
        vision.train_vision_tokenizer(lambda step: stills, SMALL, training)
    else:
        clips = films.FilmBatch(stills.frames.reshape(2, 3, 16, 16, 3), stills.targets[:2], stills)
        films.train_on_films(VisionTokenizer(SMALL), 2, lambda step: clips, training)
    tokenizer = kept[0].get_submodule("0")
    found = [tokenizer.get_parameter(name).grad for name in ("encoder.stem.1.weight", "semantic.3.weight")]
    assert found[0] is not None
    assert found[1] is not None
    return found[0], found[1]


@pytest.mark.parametrize(("module", "name"), [(vision, "semantic"), (vision, "naming"), (films, "semantic")])
def test_louder_words_pull_no_harder(module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred times the weight of words changes nothing for the encoder, where it is balanced, and all for what names."""
    quiet = VisionTraining(10, semantic=0.0, naming=0.0)
    for balanced in (False, True):
        loud, louder = (
            pull(monkeypatch, module, replace(quiet, balanced=balanced, **{name: weight})) for weight in (100.0, 10000.0)
        )
        ratio = (louder[0].norm() / loud[0].norm()).item()
        assert ratio == pytest.approx(1, rel=0.05) if balanced else ratio > 20
        if name == "semantic":
            assert (louder[1].norm() / loud[1].norm()).item() == pytest.approx(100, rel=0.01)


@torch.no_grad()
@pytest.mark.parametrize("size", [32, 64])
def test_level_scales_have_the_variance_of_a_latent_together(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a training begins that asks for them."""
    monkeypatch.setattr(vision, "fit", lambda network, *_: network)
    config, draw = VisionTokenizerConfig(size, width=8), lambda step: FrameBatch(np.zeros(0), np.zeros(0))
    usual, quantiser = (
        vision.train_vision_tokenizer(draw, config, VisionTraining(1, balanced=asked)).quantiser for asked in (False, True)
    )
    assert torch.equal(usual.gain, VisionTokenizer(config).quantiser.gain)
    assert len(set(quantiser.gain.tolist())) == 1
    bits = torch.rand(64, quantiser.cells, quantiser.bits, generator=torch.Generator().manual_seed(0)) > 0.5
    assert quantiser.sum(bits).var().item() == pytest.approx(1, abs=0.2)  # less what is lost between cells of coarse scales


@pytest.mark.parametrize(("size", "expected"), [((32, 32), False), ((16, 64), False), ((32, 40), True), ((64, 64), True)])
def test_larger_sizes_are_trained_in_balance(size: tuple[int, int], expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual size is trained as ever; the training on films goes on as the one before it."""
    seen: list[VisionTraining] = []
    for name, at in (("train_vision_tokenizer", 2), ("train_on_films", 3)):
        monkeypatch.setattr(tokenizers, name, lambda *a, at=at, **_: seen.append(a[at]))
    shown = [labelled_frames(np.zeros((2, *size, 3), np.uint8), np.zeros(2, int))]
    recipe = Recipe(media=MediaSpec(height=size[0], width=size[1], temporal_stride=2))
    tokenizers.vision_tokenizer(shown, recipe, no_progress)
    assert [one.balanced for one in seen] == [expected] * 2


@pytest.mark.parametrize(("size", "frames"), [((16, 16), 44), ((32, 32), 44), ((32, 64), 22), ((64, 64), 11), ((256, 256), 8)])
def test_a_training_has_as_many_frames_at_any_size(size: tuple[int, int], frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step as many pixels, and never less than two pairs of pictures and two of films."""
    seen: list[tuple[int, int]] = []
    train = lambda draw, config, training, *_, **__: seen.append((len(draw(0).frames), training.steps))
    monkeypatch.setattr(tokenizers, "train_vision_tokenizer", train)
    shown = [labelled_frames(np.zeros((2, *size, 3), np.uint8), np.zeros(2, int))]
    tokenizers.vision_tokenizer(shown, Recipe(media=MediaSpec(height=size[0], width=size[1])), no_progress)
    assert seen == [(frames, -(-44 * Recipe().tokenizers.vision_steps // frames))]
