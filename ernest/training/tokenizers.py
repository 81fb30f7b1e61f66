"""The tokenizers of a run, trained on what its records hold, and whether a network suits them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ernest.checkpoint import tokenizer_spec
from ernest.config.recipe import Recipe
from ernest.fit import Progress
from ernest.model.network import Ernest
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.training.audio import train_audio_tokenizer
from ernest.tokenizers.training.vision import Teacher, VisionTraining, train_vision_tokenizer
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig

UNKNOWN = -1
"""The class of a frame that nobody named."""
FRAMES_A_STEP = 44


def text_tokenizer(texts: Sequence[str], recipe: Recipe) -> TextTokenizer:
    """A text tokenizer that has learnt the recipe's vocabulary from `texts`."""
    return TextTokenizer.train(texts, recipe.tokenizers.vocabulary)


@dataclass(frozen=True)
class LabelledFrames:
    """Frames uint8 `[N, height, width, 3]` of pictures and of videos, with the class of each or `UNKNOWN`."""

    stills: np.ndarray
    still_classes: np.ndarray
    video_frames: np.ndarray
    video_classes: np.ndarray


def vision_tokenizer(
    labelled: LabelledFrames, recipe: Recipe, progress: Progress, teacher: Teacher | None = None
) -> VisionTokenizer:
    """Trains the vision tokenizer, half of a step's frames from pictures and half from videos, where both are there; with no
    frames at all, an untrained one.

    `teacher`, a classifier of the first classes, adds a perceptual loss on the frames of those classes.
    """
    config = VisionTokenizerConfig()
    both = (labelled.stills, labelled.still_classes), (labelled.video_frames, labelled.video_classes)
    sorts = [(frames, classes) for frames, classes in both if len(frames)]
    if not sorts:
        return VisionTokenizer(config).eval()

    def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((recipe.seed, step, 4))
        picks = [rng.integers(len(frames), size=FRAMES_A_STEP // len(sorts)) for frames, _ in sorts]
        frames = np.concatenate([frames[index] for (frames, _), index in zip(sorts, picks, strict=True)])
        return frames, np.concatenate([classes[index] for (_, classes), index in zip(sorts, picks, strict=True)])

    training = VisionTraining(steps=recipe.tokenizers.vision_steps)
    return train_vision_tokenizer(draw, config, training, recipe.seed, teacher, progress)


def audio_tokenizer(waves: Sequence[np.ndarray], words: Sequence[str], recipe: Recipe, progress: Progress) -> AudioTokenizer:
    """Trains the audio tokenizer on waves float32 `[samples]` and the word of each. With no waves, an untrained tokenizer."""
    if not waves:
        return AudioTokenizer().eval()
    return train_audio_tokenizer(waves, words, recipe.tokenizers.audio_steps, recipe.seed, progress)


def check_network(recipe: Recipe, text: TextTokenizer) -> Tokenizers:
    """Untrained tokenizers of the shapes to come. Raises ValueError for a network that these shapes do not allow."""
    shapes = Tokenizers(text, VisionTokenizer(VisionTokenizerConfig()).eval(), AudioTokenizer().eval())
    with torch.device("meta"):
        Ernest(recipe.model, tokenizer_spec(shapes))
    return shapes
