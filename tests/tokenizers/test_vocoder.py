"""The vocoder: clips of a batch apart, in chunks as in one, saved with its codec; and a training of seconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ernest.tokenizers
from ernest.config.media import USUAL, MediaSpec
from ernest.fit import no_progress
from ernest.tokenizers.audio import AudioConfig, AudioTokenizer
from ernest.tokenizers.mel import MelSpec, log_mel, overlap_add, window_weights
from ernest.tokenizers.standalone import SoundTokenizer, save_standalone
from ernest.tokenizers.training.vocoder import sound_loss, train_vocoder
from ernest.tokenizers.vocoder import Vocoder, VocoderConfig
from tests.tokenizers.test_audio import SMALL, drawn, sounds

TINY = VocoderConfig(16, 2, (1, 2))
CODES = np.random.default_rng(0).integers(0, 16, (60, 3)).astype(np.int16)


def with_vocoder(seed: int = 0) -> AudioTokenizer:
    """A codec and a vocoder of random weights, whose phases are spread."""
    whole = AudioTokenizer(replace(SMALL, vocoder=TINY)).eval()
    whole.load_state_dict(drawn(seed=seed).state_dict(), strict=False)
    assert whole.vocoder is not None
    torch.manual_seed(seed)
    torch.nn.init.normal_(whole.vocoder.head.weight, std=0.5)
    return whole.requires_grad_(False)


@pytest.fixture(scope="module")
def ears(tmp_path_factory) -> SoundTokenizer:
    folder = tmp_path_factory.mktemp("ears")
    save_standalone(folder, with_vocoder(), USUAL, "tiny")
    found = ernest.tokenizers.load(folder)
    assert isinstance(found, SoundTokenizer)
    return found


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_waves_are_as_long_as_their_frames(rate: int) -> None:
    tokenizer = AudioTokenizer(AudioConfig(2, 8, 8, 8, 8, rate, TINY)).eval()
    (wave,) = tokenizer.decode([torch.zeros(7, 2, dtype=torch.long)])
    assert wave.shape == (7 * rate * 2 // 25,)
    assert np.isfinite(wave).all()


def test_spectra_of_a_wave_give_the_wave_back() -> None:
    wave = torch.randn(2, 800)
    shape = torch.hann_window(320)
    spectra = torch.fft.rfft(torch.nn.functional.pad(wave, (120, 120)).unfold(1, 320, 80) * shape)
    weights = window_weights(torch.ones(1, 10), 320, 80)
    torch.testing.assert_close(overlap_add(spectra, weights, 320, 80)[:, 40:-40], wave[:, 40:-40], atol=1e-4, rtol=1e-4)


def test_a_clip_alone_and_in_a_batch_has_the_same_wave() -> None:
    tokenizer = with_vocoder()
    codes = [torch.from_numpy(CODES[:frames].astype(np.int64)) for frames in (2, 9, 5)]
    together = tokenizer.decode(codes)
    for wave, code in zip(together, codes, strict=True):
        (alone,) = tokenizer.decode([code])
        assert wave.shape == alone.shape
        np.testing.assert_allclose(wave, alone, atol=1e-4)
    assert np.abs(together[1][:1280] - together[0]).max() > 0.01


def test_griffin_and_lim_are_asked_for_by_their_steps() -> None:
    tokenizer = with_vocoder()
    codes = [torch.from_numpy(CODES[:5].astype(np.int64))]
    theirs = drawn().decode(codes)[0]
    np.testing.assert_array_equal(tokenizer.decode(codes, iterations=16)[0], theirs)
    assert np.abs(tokenizer.decode(codes)[0] - theirs).max() > 0.01


def test_it_is_saved_with_the_codec(tmp_path: Path) -> None:
    tokenizer = with_vocoder()
    tokenizer.save(tmp_path / "audio.safetensors")
    again = AudioTokenizer.load(tmp_path / "audio.safetensors")
    assert again.config.vocoder == TINY
    codes = [torch.from_numpy(CODES[:5].astype(np.int64))]
    np.testing.assert_array_equal(again.decode(codes)[0], tokenizer.decode(codes)[0])


@given(st.integers(1, 60), st.lists(st.integers(0, 25), max_size=8))
@settings(max_examples=25, deadline=None)
def test_codes_in_chunks_give_the_wave_of_the_whole(ears: SoundTokenizer, length: int, cuts: list[int]) -> None:
    stream, ends = ears.decoding_stream(), np.minimum(np.cumsum([0, *cuts]), length)
    parts, told = [], 0
    for start, end in zip(ends, [*ends[1:], length], strict=True):
        parts.append(stream.push(CODES[start:end]))
        told += end - start
        assert sum(map(len, parts)) == 640 * max(0, told - stream.delay)
    whole = ears.decode(CODES[:length])
    np.testing.assert_allclose(np.concatenate([*parts, stream.finish()]), whole, atol=1e-4)
    assert len(stream.finish()) == 0


@pytest.mark.parametrize(
    "codes", [CODES[:9] / 2, CODES[:9, :2], CODES[0], CODES[:9].tolist()], ids=["halves", "two", "one", "list"]
)
def test_a_stream_of_codes_takes_whole_numbers_of_all_levels(ears: SoundTokenizer, codes: object) -> None:
    """Fractions were cut off without a word, where the decoder of whole sounds refuses them."""
    stream = ears.decoding_stream()
    with pytest.raises(ValueError, match=r"expected an array of codes \[frames, \d\], which are whole numbers"):
        stream.push(codes)
    stream.finish()
    with pytest.raises(ValueError, match="this stream is finished: begin another one"):
        stream.push(CODES[:9])


def test_a_sample_hangs_on_no_codes_further_away_than_the_stream_waits(ears: SoundTokenizer) -> None:
    before, reach = ears.decode(CODES), []
    for frame in (25, 30):
        changed = CODES.copy()
        changed[frame] = (changed[frame] + 5) % 16
        moved = np.flatnonzero(ears.decode(changed) != before) // 640
        reach += [abs(int(i) - frame) for i in moved]
    assert ears.decoding_stream().delay - 2 <= max(reach) <= ears.decoding_stream().delay


def test_without_a_vocoder_nothing_is_decoded_in_chunks(tmp_path: Path) -> None:
    save_standalone(tmp_path, drawn(), USUAL, "tiny")
    ears = ernest.tokenizers.load(tmp_path)
    assert isinstance(ears, SoundTokenizer)
    with pytest.raises(ValueError, match=r"in chunks by a vocoder, and this tokenizer has none: tokenizers\.vocoder_steps"):
        ears.decoding_stream()


def test_the_loss_hears_no_phase_and_no_padding() -> None:
    """A wave turned over sounds the same, and what lies beyond the end of a clip is not heard; a hum of another pitch is."""
    spec = MelSpec()
    true = torch.zeros(2, 3200)
    for row, (wave, frames) in enumerate(zip(sounds([3200, 1600]), (20, 10), strict=True)):
        true[row, : 160 * frames] = torch.from_numpy(wave)
    frames = torch.tensor([20, 10])
    noisy = true.clone()
    noisy[1, 1600:] = torch.randn(1600)
    assert float(sound_loss(-noisy, true, frames, spec)[0]) < 1e-3
    assert float(sound_loss(true.flip(0), true, torch.tensor([10, 10]), spec)[0]) > 0.5


def test_a_short_training_learns_the_waves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the codes of hums a vocoder makes hums: the spectrogram is nearer by far than before, the codes are what they were."""
    monkeypatch.setattr("ernest.tokenizers.training.vocoder.BATCH", 6)
    codec, waves = drawn(), sounds([1500 + 40 * n for n in range(20)])
    seen: list[tuple[int, float]] = []
    trained = train_vocoder(
        codec, waves, 80, 0, lambda step, steps, told: seen.append((step, told["mel_db"])), TINY, tmp_path / "state"
    )
    assert [step for step, _ in seen] == list(range(1, 81))
    early, late = np.mean([told for _, told in seen[:5]]), np.mean([told for _, told in seen[-5:]])
    assert late < 0.7 * early
    assert all(torch.equal(a, b) for a, b in zip(codec.encode(waves), trained.encode(waves), strict=True))
    assert trained.config == replace(SMALL, vocoder=TINY)
    again = train_vocoder(codec, waves, 80, 0, no_progress, TINY, tmp_path / "state")
    assert all(torch.equal(a, b) for a, b in zip(trained.state_dict().values(), again.state_dict().values(), strict=True))
    further = train_vocoder(trained, waves, 1, 0, lambda step, steps, told: seen.append((step, told["mel_db"])), TINY)
    assert seen[-1][1] < 0.8 * early, "it goes on from the vocoder that is there"
    assert train_vocoder(further, waves, 1, 0, config=VocoderConfig(8, 1, (1,))).config.vocoder == VocoderConfig(8, 1, (1,))
    with pytest.raises(ValueError, match="expected at least one wave"):
        train_vocoder(codec, [], 1, 0)


def test_mels_of_every_rate_are_heard() -> None:
    for rate in (8000, 16000, 24000):
        spec = MediaSpec(sample_rate=rate)
        vocoder = Vocoder(TINY, MelSpec(spec.sample_rate))
        mel = torch.rand(1, 8, MelSpec(rate).bands)
        made = vocoder(mel, torch.tensor([8]))
        assert log_mel(made, MelSpec(rate)).shape == mel.shape
