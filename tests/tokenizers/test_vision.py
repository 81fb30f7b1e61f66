"""The vision tokenizer on shapes that a test can draw."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ernest.fit import fit
from ernest.tokenizers.training import films, vision
from ernest.tokenizers.training.vision import FrameBatch, Teacher, VisionTraining, one_hot, train_vision_tokenizer
from ernest.tokenizers.vision import Gather, Spread, VisionTokenizer, VisionTokenizerConfig

SMALL = VisionTokenizerConfig(width=32, classes=6)
SHORT = VisionTraining(steps=100, warm_up=30, average=0.97)
TINY = VisionTokenizerConfig(16, bits=8, width=16, classes=2)
BY_HEART = VisionTraining(steps=60, warm_up=10, semantic=1.0, naming=1.0, average=0.9)
"""Enough to know what a few frames are to say without seeing it in them."""


def halves(step: int, n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """One of six colours beside the dark, on either side; the class is the colour, and unknown for a third of them."""
    rng = np.random.default_rng((3, step))
    colours = np.array([[230, 40, 40], [40, 220, 60], [70, 110, 250], [240, 230, 50], [230, 80, 220], [240, 240, 240]])
    classes = rng.integers(6, size=n)
    frames = np.full((n, 32, 32, 3), 20, np.uint8)
    for frame, c, side in zip(frames, classes, rng.integers(2, size=n), strict=True):
        frame[:, 16 * side : 16 * side + 16] = colours[c]
    return frames, np.where(np.arange(n) % 3 == 2, -1, classes)


def named(step: int) -> FrameBatch:
    pixels, classes = halves(step)
    return FrameBatch(pixels, one_hot(classes, SMALL.classes))


def never(step: int) -> films.FilmBatch:
    raise AssertionError(f"step {step} is drawn")


def as_frames(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def psnr(drawn: Tensor, frames: Tensor) -> float:
    return (-10 * torch.log10((drawn - frames).square().mean((1, 2, 3)))).mean().item()


@pytest.fixture(scope="module")
def tokenizer() -> VisionTokenizer:
    return train_vision_tokenizer(named, SMALL, SHORT)


@torch.no_grad()
def test_shapes(tokenizer: VisionTokenizer) -> None:
    frames = as_frames(halves(1000, 5)[0])
    assert tokenizer.features(frames).shape == (5, tokenizer.feature_channels, *tokenizer.grid)
    latent = tokenizer.encode(frames)
    assert latent.shape == (5, 16, 4, 4)
    path = tokenizer.quantiser.history(latent)
    assert path.bits.shape == (5, 21, 16)
    drawn = tokenizer.decode(path.total)
    assert drawn.shape == frames.shape
    assert drawn.min() >= 0
    assert drawn.max() <= 1


@torch.no_grad()
def test_later_scales_draw_better(tokenizer: VisionTokenizer) -> None:
    frames = as_frames(halves(1001, 64)[0])
    bits = tokenizer.quantiser.history(tokenizer.encode(frames)).bits
    by_scale = [psnr(tokenizer.decode(tokenizer.quantiser.sum(bits, k)), frames) for k in (1, 2, 3)]
    assert by_scale[0] < by_scale[1] < by_scale[2]
    assert by_scale[2] > psnr(frames.mean(0, keepdim=True), frames) + 2  # dB above what can be drawn without any bit
    share = bits.flatten(1).float().mean(0).clamp(1e-6, 1 - 1e-6)
    entropy = -(share * share.log2() + (1 - share) * (1 - share).log2()).mean()
    assert entropy > 14 / 16  # bits: what is left when two of the sixteen never change


@torch.no_grad()
def test_coarse_scales_name_what_they_show(tokenizer: VisionTokenizer) -> None:
    pixels, classes = halves(1002, 96)
    known = classes >= 0
    bits = tokenizer.quantiser.history(tokenizer.encode(as_frames(pixels))).bits
    said = tokenizer.semantic(tokenizer.quantiser.sum(bits, scales=2)).argmax(-1).numpy()
    assert (said == classes)[known].mean() > 0.6


def test_frames_that_nobody_has_named_train_too() -> None:
    nameless = np.zeros((8, SMALL.classes), np.float32)
    trained = train_vision_tokenizer(lambda step: FrameBatch(halves(step, 8)[0], nameless), SMALL, replace(SHORT, steps=2))
    assert all(p.isfinite().all() for p in trained.parameters())


@pytest.mark.parametrize("steps", [1, 40, 1000, 2800, 9000])
def test_the_mean_of_a_short_training_forgets_its_beginning(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pictures and of films: of 100 steps or more, less than a hundredth of what is kept are the first weights; from 2,800
    steps on the mean is the usual one."""
    kept: list[float | None] = []
    for module in (vision, films):
        monkeypatch.setattr(module, "fit", lambda network, loss, config, *_: kept.append(config.average) or network)
    training = VisionTraining(steps=steps)
    films.train_on_films(train_vision_tokenizer(named, SMALL, training), 2, never, training)
    average = kept[0]
    assert average is not None
    assert kept == [average, average]
    assert (average == training.average) == (steps >= 2800)
    assert steps < 100 or average**steps < 0.01
    assert 0 <= average < 1


@pytest.mark.parametrize("variance", [vision.DRAWN, vision.KEPT])
@torch.no_grad()
def test_first_weights_have_the_variance_that_is_asked_for(variance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's to the bit, or one that keeps signals: then what is drawn at first hangs on the bits."""
    monkeypatch.setattr(vision, "fit", lambda network, *_: network)
    first = train_vision_tokenizer(named, SMALL, replace(SHORT, variance=variance))
    torch.manual_seed(0)
    drawn = VisionTokenizer(SMALL).state_dict()
    for name, weight in first.named_parameters():
        if weight.dim() == 4 and "refine" not in name:
            assert (weight.var() * weight[0].numel()).item() == pytest.approx(variance, rel=0.25), name
        same = weight.dim() < 4 or "refine" in name or variance == vision.DRAWN
        assert torch.equal(weight, drawn[name]) == same, name
    bits = torch.rand(64, first.quantiser.cells, 16, generator=torch.Generator().manual_seed(1)) > 0.5
    spread = first.reconstruct(first.quantiser.sum(bits)).std(0).mean()
    assert (spread > 0.02) == (variance == vision.KEPT)


def learnt(training: VisionTraining, targets: np.ndarray, pairs: list[tuple[int, int]]) -> dict[str, Tensor]:
    """The weights after a step on the same eight frames with these targets."""
    batch = FrameBatch(halves(0, 8)[0], targets.astype(np.float32), np.array(pairs, np.int64).reshape(-1, 2))
    return train_vision_tokenizer(lambda step: batch, SMALL, replace(training, steps=1, average=0.0)).state_dict()


@pytest.mark.parametrize("pairs", [[], [(0, 1), (2, 3)]], ids=["frames", "films"])
def test_what_is_named_reaches_the_encoder(pairs: list[tuple[int, int]]) -> None:
    """Other targets, other weights in the first convolution: the semantic branches teach what is seen, and not only themselves.

    Frames that nobody named are told apart by what happens between them alone, so those go without names of their own."""
    sure, torn = np.zeros((8, 6)), np.zeros((8, 6))
    sure[: 4 if pairs else 8, 0], torn[: 4 if pairs else 8, [1, 2]] = 1, 0.5
    name = "encoder.stem.1.weight"
    for training in (SHORT, replace(SHORT, semantic=0.0), replace(SHORT, semantic=0.0, naming=0.5)):
        differ = not torch.equal(learnt(training, sure, pairs)[name], learnt(training, torn, pairs)[name])
        assert differ == (training.semantic + training.naming > 0)
    if pairs:
        assert not torch.equal(learnt(SHORT, sure, pairs)[name], learnt(SHORT, sure, [])[name])


def dimming(count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Films of two frames, all first frames before all second ones, each of a look of its own, which grow dark or bright: a frame
    tells which film it is of, and nothing of the way."""
    looks = np.random.default_rng(5).integers(0, 2, (count, 4, 4, 3)).repeat(4, 1).repeat(4, 2)
    bright, dim, ways = (60 + 190 * looks).astype(np.uint8), (30 + 60 * looks).astype(np.uint8), np.arange(count) % 2
    darker = (ways == 0)[:, None, None, None]
    return np.concatenate([np.where(darker, bright, dim), np.where(darker, dim, bright)]), ways


def sure(logits: Tensor, ways: np.ndarray) -> float:
    """The mean probability of the right way."""
    return logits.softmax(-1)[torch.arange(len(ways)), torch.from_numpy(ways)].mean().item()


def keep_trained(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[nn.Module]:
    """A list that will hold what a training has trained, with what only training uses."""
    kept: list[nn.Module] = []
    monkeypatch.setattr(module, "fit", lambda *a: kept.append(fit(*a)) or kept[-1])
    return kept


def test_what_no_frame_shows_is_not_learnt_by_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that were learnt from stay undecided, by bits and by features, and what happens between them is sure."""
    kept, (frames, ways) = keep_trained(monkeypatch, vision), dimming()
    pairs = np.arange(len(frames)).reshape(2, -1).T
    batch = FrameBatch(frames, one_hot(np.tile(ways, 2), 2), pairs)
    train_vision_tokenizer(lambda step: batch, TINY, BY_HEART)
    tokenizer, motion, naming = kept[0].children()
    with torch.no_grad():
        _, said, code, features = tokenizer(as_frames(frames))
        assert sure(said, np.tile(ways, 2)) < 0.6
        assert sure(naming(features), np.tile(ways, 2)) < 0.6
        assert sure(motion(*code.coarse[pairs.T]), ways) > 0.9


def test_latents_of_a_film_say_together_what_none_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, (frames, ways) = keep_trained(monkeypatch, films), dimming()
    first, last = np.split(frames, 2)
    clips = np.stack([first, first // 2 + last // 2, last], 1)
    batch = films.FilmBatch(clips, one_hot(ways, 2), FrameBatch(frames[:1], np.zeros((1, 2), np.float32)))
    torch.manual_seed(0)
    films.train_on_films(VisionTokenizer(TINY), 2, lambda step: batch, BY_HEART)
    tokenizer, motion = kept[0].children()
    with torch.no_grad():
        latents = torch.stack([tokenizer.encode_film(as_frames(clip)) for clip in clips])
        code = tokenizer.quantiser(latents.flatten(0, 1)).coarse
        said = tokenizer.semantic(code).unflatten(0, (-1, 2))
        before, after = code.unflatten(0, (-1, 2)).unbind(1)
        assert sure(said[:, 0], ways) < 0.7
        assert sure(said.sum(1) + motion(before, after), ways) > 0.9


def test_a_teacher_sees_the_frames_of_its_classes_in_the_last_part_alone() -> None:
    """Two frames of known classes below 2 in each of the last two of four steps: once as drawn, once as they are."""
    seen: list[tuple[int, bool]] = []

    def features(frames: Tensor) -> Tensor:
        seen.append((len(frames), frames.requires_grad))
        return frames.flatten(1)[:, ::7]

    def draw(step: int) -> FrameBatch:
        return FrameBatch(halves(step, 5)[0], one_hot(np.array([0, 1, 2, -1, 3]), SMALL.classes))

    training = replace(SHORT, steps=4, perceptual_share=0.5, warm_up=1)
    taught = [
        train_vision_tokenizer(draw, SMALL, replace(training, perceptual=weight), teacher=Teacher(features, 2))
        for weight in (0.0, 1.0)
    ]
    assert seen == [(2, False), (2, True)] * 2 * 2
    assert any(not torch.equal(a, b) for a, b in zip(taught[0].parameters(), taught[1].parameters(), strict=True))


def test_same_seed_same_tokenizer() -> None:
    """But for the rounding of products, which hangs on where memory lies: a thousandth of what another seed changes."""
    first, again, other = (
        torch.cat([p.flatten() for p in train_vision_tokenizer(named, SMALL, replace(SHORT, steps=3), seed).parameters()])
        for seed in (4, 4, 5)
    )
    assert (first - again).abs().mean() < 1e-3 * (first - other).abs().mean()


@torch.no_grad()
def test_file_round_trip(tokenizer: VisionTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "vision.safetensors")
    again = VisionTokenizer.load(tmp_path / "vision.safetensors")
    assert again.config == tokenizer.config
    frames = as_frames(halves(1003, 4)[0])
    torch.testing.assert_close(again.encode(frames), tokenizer.encode(frames))
    with pytest.raises(ValueError, match="scales: the finest must be"):
        VisionTokenizerConfig(size=64, scales=(1, 2, 4))


def test_gather_and_spread_are_inverse() -> None:
    x = torch.rand(2, 3, 8, 12)
    assert torch.equal(Spread(4)(Gather(4)(x)), x)
    assert torch.equal(Gather(4)(x)[0, :3, 0, 0], x[0, :, 0, 0])
