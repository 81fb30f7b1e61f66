"""The tokenizers of a run, trained on what its records hold, and whether a network suits them."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
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
from ernest.tokenizers.training.vision import FrameBatch, Teacher, VisionTraining, one_hot, train_vision_tokenizer
from ernest.tokenizers.training.vocoder import train_vocoder
from ernest.tokenizers.training.voice import train_voice_encoder
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig
from ernest.tokenizers.voice import VoiceConfig, VoiceEncoder

UNKNOWN = -1
"""The class of a frame that nobody named."""
FRAMES_A_STEP = 44
"""Of the usual size, and of smaller ones."""
FEWEST_A_STEP = 8
"""Of any size: two pairs of each sort."""
CLIPS_A_STEP, CLIP_FRAMES, STILLS_A_STEP = 4, 9, 8
"""Of the training on films: clips of nine frames are two groups behind the first frame at the longest stride."""


def text_tokenizer(texts: Iterable[str], recipe: Recipe) -> TextTokenizer:
    """A text tokenizer that has learnt the recipe's vocabulary from `texts`."""
    return TextTokenizer.train(texts, recipe.tokenizers.vocabulary)


@dataclass(frozen=True)
class ShownFrames:
    """Frames uint8 `[N, height, width, 3]`, all of pictures or all of videos, and what they show.

    `targets` gives for the numbers of some frames what each is to say, as `FrameBatch.targets`; `films` int `[N, 2]`, where
    told, says at which frame the film of a frame begins and ends, so that pairs of its frames are to say what happens.
    """

    frames: np.ndarray
    targets: Callable[[np.ndarray], np.ndarray]
    films: np.ndarray | None = None


def labelled_frames(frames: np.ndarray, labels: np.ndarray) -> ShownFrames:
    """Frames of the classes `labels` int `[N]`, `UNKNOWN` where nobody named one."""
    return ShownFrames(frames, lambda picks: one_hot(labels[picks], VisionTokenizerConfig.classes))


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
    steps = math.ceil(recipe.tokenizers.vision_steps * FRAMES_A_STEP / frames_a_step(recipe.media.size))
    training = VisionTraining(steps, naming=naming, variance=variance, balanced=large)
    of_pictures = train_vision_tokenizer(draw, config, training, recipe.seed, teacher, progress, state=state)
    if stride == 1:
        return of_pictures

    def draw_films(step: int) -> FilmBatch:
        return draw_clips(shown, np.random.default_rng((recipe.seed, step, 5)))

    films = replace(training, steps=recipe.tokenizers.film_steps)
    kept = None if state is None else state.with_name(f"films-{state.name}")
    return train_on_films(of_pictures, stride, draw_films, films, recipe.seed, progress, kept)


def frames_a_step(size: tuple[int, int]) -> int:
    """How many frames of a size a step draws, with as many pixels as `FRAMES_A_STEP` of the usual size have. Every cell of 8 x 8
    pixels is an example to convolutions, so that at any size a step learns from as many, and takes as long."""
    same = FRAMES_A_STEP * math.prod(USUAL.size) // math.prod(size)
    return min(FRAMES_A_STEP, max(FEWEST_A_STEP, same))


def draw_frames(shown: Sequence[ShownFrames], rng: np.random.Generator) -> FrameBatch:
    """A step's frames, as many of each sort. Of films that are told apart, the second half are later frames of those of the
    first: none stands alone but in a film of one frame."""
    height, width = shown[0].frames.shape[1:3]
    picks = [rng.integers(len(one.frames), size=frames_a_step((height, width)) // len(shown)) for one in shown]
    pairs, start = [], 0
    for one, numbers in zip(shown, picks, strict=True):
        if one.films is not None:
            half = len(numbers) // 2
            first, end = one.films[numbers[:half]].T
            away = rng.integers(1, np.maximum(end - first, 2))
            other = first + (numbers[:half] - first + away) % (end - first)
            earlier, later = np.sort([numbers[:half], other], axis=0)
            numbers[: 2 * half] = np.concatenate([earlier, later])
            pairs += [(start + i, start + half + i) for i in np.flatnonzero(earlier < later)]
        start += len(numbers)
    frames = np.concatenate([one.frames[numbers] for one, numbers in zip(shown, picks, strict=True)])
    targets = np.concatenate([one.targets(numbers) for one, numbers in zip(shown, picks, strict=True)])
    return FrameBatch(frames, targets, np.array(pairs, np.int64).reshape(-1, 2))


def draw_clips(shown: Sequence[ShownFrames], rng: np.random.Generator) -> FilmBatch:
    """A step's clips, from films that are told apart, and pictures beside them: frames of all sorts, of which those of such films
    are to say nothing, as a clip says it with all of its frames."""
    told = [one for one in shown if one.films is not None]
    clips, targets = [], []
    for number in range(CLIPS_A_STEP if told else 0):
        one = told[number % len(told)]
        assert one.films is not None
        at = int(rng.integers(len(one.frames)))
        first, end = one.films[at]
        index = np.minimum(max(first, min(at, end - CLIP_FRAMES)) + np.arange(CLIP_FRAMES), end - 1)
        clips.append(one.frames[index])
        targets.append(one.targets(np.array([at]))[0])
    picks = [rng.integers(len(one.frames), size=STILLS_A_STEP // len(shown)) for one in shown]
    stills = np.concatenate([one.frames[numbers] for one, numbers in zip(shown, picks, strict=True)])
    of_stills = np.concatenate([(one.films is None) * one.targets(numbers) for one, numbers in zip(shown, picks, strict=True)])
    if not clips:  # nothing moves
        return FilmBatch(stills[:1, None], of_stills[:1], FrameBatch(stills, of_stills))
    return FilmBatch(np.stack(clips), np.stack(targets), FrameBatch(stills, of_stills))


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
