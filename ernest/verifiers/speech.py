"""A learned verifier of speech: a small network that names which of twenty words a clip says, from its log-mel spectrogram.

It is a verifier, trained on draws that the model never hears, and shares nothing with the tokenizer but the spectrogram.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from ernest.sequence.record import Record, Segment
from ernest.storage import load_tensors, save_tensors
from ernest.tokenizers.audio import padded_spectrograms
from ernest.tokenizers.mel import USUAL_MEL
from ernest.verifiers.verdict import Verdict, Verifier, compare, content, fact
from ernest.world.speech import WORDS

CANVAS = 48
"""Spectrogram frames that the judge looks at: a clip is cut or filled with silence to .96 s."""


class WordJudge(nn.Module):
    """Log-mel `[batch, CANVAS, bands]` -> logits `[batch, 20]`: dilated convolutions, then mean and maximum over time."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, dilation in ((USUAL_MEL.bands, 1), (width, 2), (width, 4)):
            convolution = nn.Conv1d(channels, width, 5, padding=2 * dilation, dilation=dilation)
            layers += [convolution, nn.BatchNorm1d(width), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.Dropout(0.2))
        self.output = nn.Linear(2 * width, len(WORDS))

    def forward(self, mel: Tensor) -> Tensor:
        features = self.features(mel.transpose(1, 2))
        return self.output(torch.cat([features.mean(2), features.amax(2)], 1))

    @torch.no_grad()
    def judge(self, waves: Sequence[np.ndarray]) -> list[str]:
        """The word of each wave float32 `[samples]`."""
        batches = [waves[start : start + 256] for start in range(0, len(waves), 256)]
        return [WORDS[choice] for batch in batches for choice in self(canvas(batch)).argmax(1).tolist()]

    def save(self, path: str | Path) -> None:
        """Weights as safetensors."""
        save_tensors(path, self.state_dict())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The judge that `save` wrote, in evaluation mode."""
        judge = cls()
        judge.load_state_dict(load_tensors(path))
        return judge.eval()


def verify_word(judge: WordJudge) -> Verifier:
    """A verifier of sounds: the judge hears the word that was asked for."""

    def verify(record: Record, output: Sequence[Segment]) -> Verdict:
        wave = content(output, "audio")
        actual = None if wave is None else judge.judge([wave])[0]
        return compare({"word": fact(record, "word")}, {"word": actual})

    return verify


def canvas(waves: Sequence[np.ndarray]) -> Tensor:
    """Spectrograms `[batch, CANVAS, bands]`."""
    mel, _ = padded_spectrograms(waves)
    filled = mel.new_zeros(len(waves), CANVAS, USUAL_MEL.bands)
    filled[:, : mel.shape[1]] = mel[:, :CANVAS]
    return filled
