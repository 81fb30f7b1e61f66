"""The audio tokenizer: counts of frames, clips of many lengths in a batch, codebooks, and a training of seconds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.tokenizers.audio import AudioConfig, AudioTokenizer, ResidualQuantiser, padded_spectrograms
from ernest.tokenizers.convolutions import Convolution, Doubling, inside_clips
from ernest.tokenizers.mel import USUAL_MEL
from ernest.tokenizers.training.audio import MovingCodebooks, train_audio_tokenizer
from ernest.tokenizers.training.recogniser import Teacher, train_recogniser

SMALL = AudioConfig(levels=3, codebook=16, latent=8, fine=16, coarse=24)


def sounds(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    """Two kinds of wave, low and high hums in turn, with noise."""
    rng = np.random.default_rng(seed)
    waves = []
    for number, length in enumerate(lengths):
        time = np.arange(length) / 8000
        pitch = (200 if number % 2 else 900) * rng.uniform(0.9, 1.1)
        wave = 0.1 * np.sin(2 * np.pi * pitch * time) + 0.01 * rng.standard_normal(length)
        waves.append(wave.astype(np.float32))
    return waves


def drawn(config: AudioConfig = SMALL, seed: int = 0) -> AudioTokenizer:
    """A tokenizer of random weights, with codebooks of the size of its latents."""
    torch.manual_seed(seed)
    tokenizer = AudioTokenizer(config).eval()
    mel, frames = padded_spectrograms(sounds([3000] * 8))
    latents = tokenizer.latents(mel, frames).detach()
    scale = latents.std(0)
    for level in range(config.levels):
        noise = torch.randn(config.codebook, config.latent) * scale / 2**level
        tokenizer.quantiser.codebooks[level] = noise + (latents.mean(0) if level == 0 else 0)
    return tokenizer


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 1280, 4000, 8000, 12345])
def test_frames_are_the_ceiling_of_twelve_and_a_half_a_second(samples: int) -> None:
    tokenizer = drawn()
    assert tokenizer.spec.frame_rate == 12.5
    (codes,) = tokenizer.encode(sounds([samples]))
    assert codes.shape == (int(np.ceil(12.5 * samples / 8000)), 3)
    assert codes.dtype == torch.int64
    (wave,) = tokenizer.decode([codes])
    assert wave.shape == (len(codes) * AudioConfig().samples,)
    assert wave.dtype == np.float32


def test_a_clip_alone_and_in_a_batch_has_the_same_codes() -> None:
    """The latents, but for rounding; so a code may differ only where two entries are as near as rounding."""
    tokenizer = drawn()
    waves = sounds([500, 9000, 640, 4321, 2000, 3300, 12000, 801] * 5)
    with torch.no_grad():
        latents = [tokenizer.latents(*padded_spectrograms(batch)) for batch in (waves, *([wave] for wave in waves))]
    torch.testing.assert_close(latents[0], torch.cat(latents[1:]), atol=1e-4, rtol=1e-4)
    together = tokenizer.encode(waves)
    alone = [tokenizer.encode([wave])[0] for wave in waves]
    assert [len(code) for code in together] == [len(code) for code in alone]
    assert (torch.cat(together) == torch.cat(alone)).float().mean() > 0.99
    assert len({tuple(code.flatten().tolist()) for code in together}) > 20


def test_a_clip_alone_and_in_a_batch_decodes_to_the_same_wave() -> None:
    tokenizer = drawn()
    codes = [torch.randint(0, 16, (frames, 3), generator=torch.Generator().manual_seed(frames)) for frames in (2, 9, 5)]
    mels = [tokenizer.spectrograms(tokenizer.quantiser.embed(code), torch.tensor([len(code)])) for code in codes]
    together = tokenizer.spectrograms(tokenizer.quantiser.embed(torch.cat(codes)), torch.tensor([2, 9, 5]))
    for row, mel in enumerate(mels):
        torch.testing.assert_close(together[row, : mel.shape[1]], mel[0], atol=1e-5, rtol=1e-5)
        assert not together[row, mel.shape[1] :].any()
    waves, single = tokenizer.decode(codes), tokenizer.decode(codes[1:2])
    assert [len(wave) for wave in waves] == [1280, 5760, 3200]
    assert np.abs(waves[1] - single[0]).mean() < 0.01 * np.abs(single[0]).mean()


def test_samples_that_fill_the_last_frame_are_silence() -> None:
    (wave,) = sounds([1000])
    (cut, frames), (filled, same) = padded_spectrograms([wave]), padded_spectrograms([np.pad(wave, (0, 280))])
    assert torch.equal(frames, same)
    torch.testing.assert_close(cut, filled)


@pytest.mark.parametrize(
    "wave", [np.zeros(0, np.float32), np.full(700, np.nan, np.float32), np.zeros((2, 700), np.float32), np.zeros(700, int)]
)
def test_waves_that_are_none_are_refused(wave: np.ndarray) -> None:
    with pytest.raises(ValueError, match="wave 1: expected finite float samples"):
        drawn().encode([np.zeros(700, np.float32), wave])


@pytest.mark.parametrize("codes", [torch.zeros(0, 3), torch.zeros(4, 2), torch.full((4, 3), 16), torch.full((4, 3), -1)])
def test_codes_that_name_nothing_are_refused(codes: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="expected codes"):
        drawn().decode([codes.long()])


def test_convolutions_equal_those_of_the_library() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 12, 5)
    for taps, stride, dilation in ((5, 1, 1), (3, 1, 2), (4, 2, 1), (1, 1, 1)):
        ours = Convolution(5, 7, taps, stride, dilation)
        weight = ours.linear.weight.unflatten(1, (taps, 5)).transpose(1, 2)
        margin = (taps - stride) * dilation // 2
        theirs = torch.nn.functional.conv1d(x.transpose(1, 2), weight, ours.linear.bias, stride, margin, dilation)
        torch.testing.assert_close(ours(x), theirs.transpose(1, 2))
    assert Doubling(5, 6)(x).shape == (2, 24, 6)


def test_each_level_codes_what_the_levels_before_it_leave() -> None:
    quantiser = ResidualQuantiser(levels=3, entries=4, latent=2)
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    quantiser.codebooks.copy_(torch.stack([corners * 4, corners * 2, corners]))
    codes = torch.cartesian_prod(*[torch.arange(4)] * 3)
    assert torch.equal(quantiser.encode(quantiser.embed(codes)), codes)
    latents = quantiser.embed(codes)
    errors = [float((latents - quantiser.embed(codes, levels)).square().mean()) for levels in (1, 2, 3)]
    assert errors[0] > errors[1] > errors[2] == 0


def test_codebooks_follow_their_latents_and_no_entry_stays_dead() -> None:
    torch.manual_seed(0)
    centres = torch.randn(16, 8) * 3
    cloud = lambda: centres[torch.randint(0, 16, (400,))] + 0.1 * torch.randn(400, 8)
    codebooks = MovingCodebooks(ResidualQuantiser(levels=2, entries=16, latent=8))
    codebooks.start(cloud())
    codebooks.quantiser.codebooks[0, 3] = 100
    codebooks.sums[0, 3] = 100 * codebooks.counts[0, 3]
    for _ in range(250):
        codebooks.quantise(cloud(), torch.full((400,), 2))
    latents = cloud()
    told = codebooks.quantiser.encode(latents)
    assert len(told[:, 0].unique()) == 16
    assert (codebooks.quantiser.embed(told) - latents).square().mean() < 0.1 * latents.var()
    assert codebooks.quantiser.codebooks[0].abs().max() < 15


def test_gradients_pass_straight_through_the_quantiser() -> None:
    codebooks = MovingCodebooks(drawn().quantiser)
    latents = torch.randn(50, 8, requires_grad=True)
    quantised, first, _ = codebooks.quantise(latents, torch.full((50,), 3))
    (quantised.sum() + 2 * first.sum()).backward()
    assert latents.grad is not None
    torch.testing.assert_close(latents.grad, torch.full((50, 8), 3.0))


def test_saved_and_loaded_it_makes_the_same_latents(tmp_path: Path) -> None:
    tokenizer = drawn()
    clips = padded_spectrograms(sounds([2000, 5000]))
    tokenizer.save(tmp_path / "audio.safetensors")
    again = AudioTokenizer.load(tmp_path / "audio.safetensors")
    assert again.config == SMALL
    assert torch.equal(again.quantiser.codebooks, tokenizer.quantiser.codebooks)
    with torch.no_grad():
        torch.testing.assert_close(again.latents(*clips), tokenizer.latents(*clips))
    assert [file.name for file in tmp_path.iterdir()] == ["audio.safetensors"]


def test_a_short_training_learns_to_restore_and_each_level_helps() -> None:
    """The best constant spectrum is what a tokenizer can do without any code: it is to be beaten by far.

    Of the latents' variance the first level leaves less than half, and each later one less than the one before it.
    """
    waves = sounds([1500 + 40 * n for n in range(60)])
    words = np.arange(60) % 2
    seen: list[tuple[int, int]] = []
    tokenizer = train_audio_tokenizer(waves, words, 250, 0, lambda step, steps, _: seen.append((step, steps)), SMALL)
    assert seen == [(step + 1, 300) for step in range(300)]
    mel, frames = padded_spectrograms(waves)
    codes = torch.cat(tokenizer.encode(waves))
    with torch.no_grad():
        latents = tokenizer.latents(mel, frames)
        restored = tokenizer.spectrograms(tokenizer.quantiser.embed(codes), frames)
        left = [float((latents - tokenizer.quantiser.embed(codes, levels)).square().mean()) for levels in (1, 2, 3)]
    inside = inside_clips(4 * frames, mel.shape[1])
    constant = (mel[inside] - mel[inside].median(0).values).abs().sum()
    assert (restored - mel).abs().sum() < 0.85 * constant
    assert left[2] < left[1] < left[0] < 0.5 * latents.var(0).mean()


def test_a_training_can_be_repeated() -> None:
    """But for the rounding of products, which hangs on where memory lies: a thousandth of what another seed changes."""
    waves, words = sounds([1500] * 20), np.arange(20) % 2
    first, again, other = (
        torch.cat([p.flatten() for p in train_audio_tokenizer(waves, words, 6, seed, config=SMALL).state_dict().values()])
        for seed in (3, 3, 4)
    )
    assert (first - again).abs().mean() < 1e-3 * (first - other).abs().mean()


def test_clips_and_labels_must_pair_up() -> None:
    with pytest.raises(ValueError, match="got 2 clips and 1 labels"):
        train_audio_tokenizer(sounds([700, 700]), np.zeros(1, int), 1, 0, lambda *_: None, SMALL)


def test_a_recogniser_learns_shares_as_it_learns_classes() -> None:
    """One class each, told as shares, gives the same network; shares over two give both."""
    mel, classes = torch.randn(40, 20, USUAL_MEL.bands) * 0.1, torch.arange(40) % 2
    mel[classes == 1, :, :30] += 1
    trained = []
    for labels in (classes, torch.nn.functional.one_hot(classes).float(), torch.full((40, 2), 0.5)):
        torch.manual_seed(0)
        trained.append(train_recogniser(Teacher(2, width=8), mel, labels, 20))
    with torch.no_grad():
        by_class, by_share, undecided = (network(mel).softmax(1) for network in trained)
    torch.testing.assert_close(by_class, by_share, rtol=1e-2, atol=1e-3)
    assert (by_class.argmax(1) == classes).float().mean() > 0.9
    apart = [float((one[classes == 0] - one[classes == 1]).mean(0).abs().max()) for one in (by_class, undecided)]
    assert apart[1] < 0.2 * apart[0]
