"""Judges of what a model draws and says: small networks, trained on the real training sets alone; their ceilings are told."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ernest.lcnet.network import PPLCNet, small_images
from ernest.storage import load_tensors, save_tensors
from ernest.tokenizers.audio import padded_spectrograms
from ernest.tokenizers.mel import USUAL_MEL, MelSpec
from ernest.tokenizers.training.recogniser import Teacher, train_recogniser
from ernest.verifiers.training import train_digit_judge
from ernest.verifiers.vision import classify

BATCH = 64
SECOND = 50
"""Spectrogram frames of a second, to which clips are cut or filled for the judge of words."""


def picture_judge(path: Path, pictures: np.ndarray, labels: np.ndarray, steps: int) -> PPLCNet:
    """A PP-LCNet of ten classes for pictures uint8 `[N, 32, 32, 3]`, trained once and kept in `path`."""
    if not path.is_file():

        def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
            picks = np.random.default_rng((11, step)).integers(len(labels), size=BATCH)
            return pictures[picks], labels[picks]

        save_tensors(path, train_digit_judge(draw, steps, seed=11).state_dict())
    return load_picture_judge(path)


def load_picture_judge(path: Path) -> PPLCNet:
    """The judge that was kept in `path`."""
    judge = PPLCNet(small_images(classes=10))
    judge.load_state_dict(load_tensors(path))
    return judge.eval()


def word_judge(path: Path, waves: Sequence[np.ndarray], labels: np.ndarray, steps: int, spec: MelSpec = USUAL_MEL) -> Teacher:
    """A recogniser of words, or of voices, trained once and kept in `path`."""
    words = int(labels.max()) + 1
    if not path.is_file():
        torch.manual_seed(11)
        judge = train_recogniser(Teacher(words, spec.bands), _mel(waves, spec), torch.from_numpy(labels), steps)
        save_tensors(path, judge.state_dict())
    return load_word_judge(path, words, spec)


def load_word_judge(path: Path, words: int, spec: MelSpec = USUAL_MEL) -> Teacher:
    """The judge that was kept in `path`."""
    judge = Teacher(words, spec.bands)
    judge.load_state_dict(load_tensors(path))
    return judge.eval()


def seen(judge: PPLCNet, pictures: Sequence[np.ndarray], labels: np.ndarray) -> float:
    """The share of pictures that the judge takes for what they should be."""
    return float((classify(judge, np.stack(pictures)) == labels).mean())


@torch.no_grad()
def heard(judge: Teacher, waves: Sequence[np.ndarray], labels: np.ndarray, spec: MelSpec = USUAL_MEL) -> float:
    """The share of sounds in which the judge hears the word, or the voice, that they should be."""
    parts = [judge(_mel(waves[start : start + 256], spec)).argmax(1) for start in range(0, len(waves), 256)]
    return float((torch.cat(parts).numpy() == labels).mean())


def _mel(waves: Sequence[np.ndarray], spec: MelSpec) -> torch.Tensor:
    mel, _ = padded_spectrograms(waves, spec)
    filled = torch.zeros(len(mel), SECOND, mel.shape[2])
    filled[:, : mel.shape[1]] = mel[:, :SECOND]
    return filled
