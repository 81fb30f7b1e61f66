"""Trains a vocoder apart, for a codec that is there: from the frames that its codes give to the waves that were encoded."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ernest.fit import FitConfig, Keep, Progress, fit, mixed_precision, no_progress, warm_up_and_cosine
from ernest.tokenizers.audio import MEL_FRAMES, AudioTokenizer
from ernest.tokenizers.convolutions import inside_clips
from ernest.tokenizers.mel import SCALE, MelSpec, log_mel
from ernest.tokenizers.vocoder import VocoderConfig

BATCH = 16
LONGEST = 12
"""Frames of codes of a clip that are heard at once, .96 s: of a longer one, as many from a place that is drawn."""
RATE = 2e-3
KEEP_EVERY = 100
WINDOWS = (0.008, 0.016, 0.032, 0.064)
"""Seconds of the windows under which waves are compared: the short ones hear onsets, the long ones pitch."""
FLOOR = 1e-3
"""The share of full level below which magnitudes count as silence: 60 dB."""
LOGARITHMS, MEL = 1.0, 1.0
"""Weights of differences of logarithms and of log-mel frames, beside the one of magnitudes, which is relative."""


def train_vocoder(
    tokenizer: AudioTokenizer,
    waves: Sequence[np.ndarray],
    steps: int,
    seed: int,
    progress: Progress = no_progress,
    config: VocoderConfig | None = None,
    state: Path | None = None,
) -> AudioTokenizer:
    """`tokenizer`, whose codes stay what they are, with a vocoder trained on `waves` float32 `[samples]`. One of the same sizes
    that it has is trained further.

    In the file `state` it is kept how far the training is, and one that was cut goes on. Raises ValueError where there are no
    waves.
    """
    if not waves:
        raise ValueError("expected at least one wave to train a vocoder on")
    torch.manual_seed(seed)
    frames, mel = _heard(tokenizer, waves)
    config = config or VocoderConfig()
    whole = AudioTokenizer(replace(tokenizer.config, vocoder=config)).to(mel[0].device)
    other = tokenizer.config.vocoder != config
    there = {name: value for name, value in tokenizer.state_dict().items() if not (other and name.startswith("vocoder."))}
    whole.load_state_dict(there, strict=False)
    vocoder, spec = whole.vocoder, tokenizer.config.mel
    assert vocoder is not None

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        picks = torch.randint(0, len(waves), (BATCH,)).tolist()
        starts = [int(torch.randint(0, max(0, frames[i] - LONGEST) + 1, ())) for i in picks]
        given, true, lengths = _clips(mel, waves, picks, starts, tokenizer.config.samples)
        with mixed_precision(given.device):
            made = vocoder(given, lengths)
        return sound_loss(made, true, lengths, spec)

    schedule = warm_up_and_cosine(RATE, steps)
    keep = None if state is None else Keep(state, KEEP_EVERY)
    fit_config = FitConfig(steps, schedule, betas=(0.8, 0.98), clip=1.0)
    whole.vocoder = fit(vocoder, loss, fit_config, progress, keep)
    return whole.eval()


def sound_loss(made: Tensor, true: Tensor, frames: Tensor, spec: MelSpec) -> tuple[Tensor, dict[str, float]]:
    """How far waves `[batch, samples]` are from the `true` ones, whatever their phases, and the same in dB of log-mel frames;
    a clip has `frames` `[batch]` of the spectrogram.

    For each window the relative difference of magnitudes and the one of their logarithms (Yamamoto et al., 1910.11480, eq. 5,
    with absolute values for both), and the difference of log-mel frames.
    """
    made = made * inside_clips(spec.hop * frames, made.shape[1])
    difference = (log_mel(made, spec) - log_mel(true, spec)).abs().mean(2)
    difference = (difference * inside_clips(frames, difference.shape[1])).sum() / frames.sum()
    total = MEL * difference
    for seconds in WINDOWS:
        size = 2 * round(seconds * spec.sample_rate / 2)
        hop = size // 4
        ours, theirs = (_magnitudes(wave, size, hop) for wave in (made, true))
        inside = inside_clips(spec.hop * frames // hop + 1, ours.shape[1])[..., None]
        relative = ((ours - theirs).abs() * inside).sum() / (theirs * inside).sum().clamp_min(1e-6)
        floor = FLOOR * size / 20
        logarithms = ((ours + floor).log() - (theirs + floor).log()).abs() * inside
        total = total + (relative + LOGARITHMS * logarithms.sum() / (inside.sum() * ours.shape[2])) / len(WINDOWS)
    return total, {"mel_db": SCALE * float(difference.detach())}


def _magnitudes(waves: Tensor, size: int, hop: int) -> Tensor:
    """Of the short-time spectra of waves `[batch, samples]` under a Hann window: `[batch, time, bins]`."""
    frames = functional.pad(waves, (size // 2, size // 2)).unfold(1, size, hop)
    return torch.fft.rfft(frames * torch.hann_window(size, device=waves.device)).abs()


@torch.no_grad()
def _heard(tokenizer: AudioTokenizer, waves: Sequence[np.ndarray]) -> tuple[list[int], list[Tensor]]:
    """The frames of codes of each wave, and the spectrogram `[4 · frames, bands]` that they give."""
    codes = tokenizer.encode(waves)
    device = tokenizer.quantiser.codebooks.device
    mels = []
    for code in codes:
        latents = tokenizer.quantiser.embed(code.to(device))
        mels.append(tokenizer.spectrograms(latents, torch.tensor([len(code)], device=device))[0])
    return [len(code) for code in codes], mels


def _clips(
    mel: Sequence[Tensor], waves: Sequence[np.ndarray], picks: Sequence[int], starts: Sequence[int], samples: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Spectrograms `[batch, longest, bands]` and waves of the clips `picks` from the frames of codes `starts` on, at most
    `LONGEST` of them, with zeros behind, and their frames of the spectrogram `[batch]`."""
    given = [mel[i][MEL_FRAMES * start :][: MEL_FRAMES * LONGEST] for i, start in zip(picks, starts, strict=True)]
    lengths = torch.tensor([len(one) for one in given])
    true = torch.zeros(len(picks), int(lengths.max()) // MEL_FRAMES * samples)
    for row, i, start in zip(true, picks, starts, strict=True):
        wave = waves[i][start * samples :][: LONGEST * samples]
        row[: len(wave)] = torch.from_numpy(wave)
    device = given[0].device
    return torch.nn.utils.rnn.pad_sequence(given, batch_first=True), true.to(device), lengths.to(device)
