"""What decoded records hold for tokenizers to learn from, and how long they will take to learn it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from ernest.config.recipe import Recipe
from ernest.data.decoded import DecodedRecords
from ernest.fit import Progress, no_progress
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.training.words import word_targets
from ernest.tokenizers.vision import VisionTokenizer
from ernest.training.estimate import time_steps
from ernest.training.frames import ShownFrames
from ernest.training.tokenizers import audio_config, audio_tokenizer, label_words, vision_tokenizer, voice_encoder

NAMING = 0.5
"""Weight with which the features of a picture or frame are to say the words of its captions, beside its coarse bits."""


@dataclass(frozen=True)
class TokenizerData:
    """What records hold of each kind, read when it is first asked for."""

    decoded: DecodedRecords

    @cached_property
    def shown(self) -> tuple[list[ShownFrames], int]:
        """See `shown_frames`."""
        return shown_frames(self.decoded)

    @cached_property
    def sounds(self) -> tuple[list[np.ndarray], np.ndarray]:
        """See `heard_sounds`."""
        return heard_sounds(self.decoded)

    @cached_property
    def voices(self) -> tuple[list[np.ndarray], list[str]]:
        """See `voice_samples`."""
        return voice_samples(self.decoded)

    def train_vision(self, recipe: Recipe, progress: Progress, **settings: Any) -> VisionTokenizer:
        """A vision tokenizer whose frames say the words beside them, with further `settings` of `vision_tokenizer`."""
        return vision_tokenizer(self.shown[0], recipe, progress, classes=max(1, self.shown[1]), naming=NAMING, **settings)


def shown_frames(decoded: DecodedRecords) -> tuple[list[ShownFrames], int]:
    """Pictures, and the frames of videos, which are to say the words of the texts beside them; and how many words there are."""
    stills, films = decoded.captions("image"), decoded.captions("video")
    targets = word_targets([*stills.values(), *films.values()])
    shown = []
    if decoded.images is not None:
        shown.append(ShownFrames(decoded.images, targets.rows))
    if decoded.frames is not None:
        rows = np.array(list(films))
        of_frame = np.repeat(np.arange(len(rows)), rows[:, 1] - rows[:, 0])
        shown.append(ShownFrames(decoded.frames, lambda picks: targets.rows(len(stills) + of_frame[picks]), rows[of_frame]))
    return shown, len(targets.words)


def heard_sounds(decoded: DecodedRecords) -> tuple[list[np.ndarray], np.ndarray]:
    """All sounds, and what is said in each: a class for each text, where texts come back often, and else the texts' words."""
    captions = decoded.captions("audio")
    waves = [np.array(decoded.arrays["audio"][start:end]) for start, end in captions]
    first = [texts[0] if texts else "" for texts in captions.values()]
    if len(first) >= 4 * len(set(first)):
        return waves, label_words(first)
    targets = word_targets(list(captions.values()))
    return waves, targets.rows(np.arange(len(waves))) if targets.words else np.zeros(len(waves), np.int64)


def voice_samples(decoded: DecodedRecords) -> tuple[list[np.ndarray], list[str]]:
    """All samples of voices, and whose they are."""
    voices = decoded.voices()
    return [np.array(decoded.arrays["audio"][start:end]) for start, end in voices], list(voices.values())


def time_stages(recipe: Recipe, data: TokenizerData) -> dict[str, Callable[[], float]]:
    """What tells the seconds that each training of a tokenizer will take, by name, from a few of its steps."""
    few = lambda **steps: replace(recipe, tokenizers=replace(recipe.tokenizers, **steps))
    stages = {}
    if data.shown[0]:
        both = 1 + bool(recipe.first_steps)
        still = replace(recipe.media, temporal_stride=1)
        of_pictures = lambda steps: data.train_vision(replace(few(vision_steps=steps), media=still), no_progress)
        stages["vision tokenizer"] = partial(time_steps, of_pictures, both * recipe.tokenizers.vision_steps)
        if recipe.media.temporal_stride > 1:
            of_films = lambda steps: data.train_vision(few(vision_steps=1, film_steps=steps), no_progress)
            stages["films"] = partial(time_steps, of_films, both * recipe.tokenizers.film_steps)
    waves, said = data.sounds[0][:200], data.sounds[1][:200]
    if waves:
        codes = lambda steps: audio_tokenizer(waves, said, few(audio_steps=steps, vocoder_steps=0), no_progress)
        stages["audio tokenizer"] = partial(time_steps, codes, recipe.tokenizers.audio_steps)
        if recipe.tokenizers.vocoder_steps:
            codec = AudioTokenizer(audio_config(recipe)).eval()
            back = lambda steps: audio_tokenizer(waves, said, few(vocoder_steps=steps), no_progress, codec=codec)
            stages["vocoder"] = partial(time_steps, back, recipe.tokenizers.vocoder_steps)
    if data.voices[0]:
        known = lambda steps: voice_encoder(*data.voices, few(voice_steps=steps), no_progress)
        stages["voices"] = partial(time_steps, known, recipe.tokenizers.voice_steps)
    return stages
