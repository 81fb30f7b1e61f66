"""The tokenizers of a run, trained on what its records hold, and whether a network suits them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ernest.checkpoint import tokenizer_spec
from ernest.config.media import USUAL
from ernest.config.recipe import Recipe
from ernest.fit import Progress
from ernest.model.network import Ernest
from ernest.tokenizers.audio import AudioConfig, AudioTokenizer
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.training.audio import train_audio_tokenizer
from ernest.tokenizers.training.films import FilmBatch, train_on_films
from ernest.tokenizers.training.vision import FrameBatch, Teacher, VisionTraining, train_vision_tokenizer
from ernest.tokenizers.training.vocoder import train_vocoder
from ernest.tokenizers.training.voice import train_voice_encoder
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig
from ernest.tokenizers.voice import VoiceConfig, VoiceEncoder
from ernest.training.frames import ShownFrames, draw_clips, draw_frames, steps_of_size


def text_tokenizer(texts: Iterable[str], recipe: Recipe) -> TextTokenizer:
    """A text tokenizer that has learnt the recipe's vocabulary from `texts`."""
    return TextTokenizer.train(texts, recipe.tokenizers.vocabulary)


def vision_tokenizer(
    shown: Sequence[ShownFrames],
    recipe: Recipe,
    progress: Progress,
    teacher: Teacher | None = None,
    classes: int = VisionTokenizerConfig.classes,
    naming: float = VisionTraining.naming,
    state: Path | None = None,
    bits: int = VisionTokenizerConfig.bits,
    variance: float = VisionTraining.variance,
) -> VisionTokenizer:
    """Trains the vision tokenizer of so many `bits`, half of a step's frames from pictures and half from videos, where both are
    there; with no frames at all, an untrained one. `naming` is the weight with which its features alone are to say what a frame
    shows, `variance` that of its first weights. Of frames larger than the usual ones a step has fewer, there are more steps, and
    the training is `balanced`. With a temporal stride the tokenizer is then inflated, and trained further on films that are told
    apart.

    `teacher`, a classifier of the first classes, adds a perceptual loss on the frames of those classes. In the file `state` it
    is kept how far the training is.
    """
    config, stride = VisionTokenizerConfig(recipe.media.size, bits, classes=classes), recipe.media.temporal_stride
    shown = [one for one in shown if len(one.frames)]
    if not shown:
        return VisionTokenizer(replace(config, stride=stride)).eval()

    def draw(step: int) -> FrameBatch:
        return draw_frames(shown, np.random.default_rng((recipe.seed, step, 4)))

    large = math.prod(recipe.media.size) > math.prod(USUAL.size)
    steps = steps_of_size(recipe.tokenizers.vision_steps, recipe.media.size)
    training = VisionTraining(steps, naming=naming, variance=variance, balanced=large)
    of_pictures = train_vision_tokenizer(draw, config, training, recipe.seed, teacher, progress, state=state)
    if stride == 1:
        return of_pictures

    def draw_films(step: int) -> FilmBatch:
        return draw_clips(shown, np.random.default_rng((recipe.seed, step, 5)))

    films = replace(training, steps=recipe.tokenizers.film_steps)
    kept = None if state is None else state.with_name(f"films-{state.name}")
    return train_on_films(of_pictures, stride, draw_films, films, recipe.seed, progress, kept)


def label_words(words: Sequence[str]) -> np.ndarray:
    """A class for each different word: int `[words]`."""
    return np.unique(np.array(words, np.str_), return_inverse=True)[1]


def audio_tokenizer(
    waves: Sequence[np.ndarray],
    said: np.ndarray,
    recipe: Recipe,
    progress: Progress,
    state: Path | None = None,
    codec: AudioTokenizer | None = None,
) -> AudioTokenizer:
    """Trains the audio tokenizer on waves float32 `[samples]` and what is `said` in each, a class int `[waves]` or shares of
    classes float32 `[waves, classes]`, and then its vocoder, if the recipe has steps for one; in the folder `state` it is kept
    how far the training is. With no waves, an untrained tokenizer; of a `codec` that is given, the vocoder alone is trained."""
    if not waves:
        return codec or AudioTokenizer(audio_config(recipe)).eval()
    steps, config = recipe.tokenizers.audio_steps, audio_config(recipe)
    codec = codec or train_audio_tokenizer(waves, said, steps, recipe.seed, progress, config, state=state)
    if not recipe.tokenizers.vocoder_steps:
        return codec
    file = None if state is None else state / "vocoder.safetensors"
    return train_vocoder(codec, waves, recipe.tokenizers.vocoder_steps, recipe.seed, progress, state=file)


def voice_encoder(
    samples: Sequence[np.ndarray], names: Sequence[str], recipe: Recipe, progress: Progress, state: Path | None = None
) -> VoiceEncoder | None:
    """Trains what knows voices on samples float32 `[samples]` of the voices `names`; none without samples. In the file `state` it
    is kept how far the training is."""
    if not samples:
        return None
    steps, config = recipe.tokenizers.voice_steps, VoiceConfig(recipe.media.sample_rate)
    return train_voice_encoder(samples, label_words(names), steps, recipe.seed, progress, config, state)


def audio_config(recipe: Recipe) -> AudioConfig:
    """The sizes of the audio tokenizer for the recipe's sounds."""
    return AudioConfig(sample_rate=recipe.media.sample_rate)


def check_network(recipe: Recipe, text: TextTokenizer, voices: bool = False) -> Tokenizers:
    """Untrained tokenizers of the shapes to come, also of `voices` where there are samples of some. Raises ValueError for a
    network that these shapes do not allow."""
    sizes = VisionTokenizerConfig(recipe.media.size, stride=recipe.media.temporal_stride)
    vision, audio = VisionTokenizer(sizes), AudioTokenizer(audio_config(recipe))
    voice = VoiceEncoder(VoiceConfig(recipe.media.sample_rate)).eval() if voices else None
    shapes = Tokenizers(text, vision.eval(), audio.eval(), recipe.media, voice)
    with torch.device("meta"):
        Ernest(recipe.model, tokenizer_spec(shapes))
    return shapes
