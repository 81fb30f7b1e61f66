"""What a vision tokenizer is shown: frames of pictures and of films with what they show, and which of them a step draws."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ernest.config.media import USUAL
from ernest.tokenizers.training.films import FilmBatch
from ernest.tokenizers.training.vision import FrameBatch, one_hot
from ernest.tokenizers.vision import VisionTokenizerConfig

UNKNOWN = -1
"""The class of a frame that nobody named."""
FRAMES_A_STEP = 44
"""Frames of a step, of the usual size or smaller."""
FEWEST_A_STEP = 8
"""The fewest frames of a step, however large: two pairs of pictures and two of films."""
CLIPS_A_STEP, CLIP_FRAMES, STILLS_A_STEP = 4, 9, 8
"""What a step of the training on films draws: clips of nine frames, two groups behind the first at the longest stride, and
pictures."""


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


def frames_a_step(size: tuple[int, int]) -> int:
    """How many frames of a size a step draws, with as many pixels as `FRAMES_A_STEP` of the usual size have. Every cell of 8 x 8
    pixels is an example to convolutions, so that at any size a step learns from as many, and takes as long."""
    same = FRAMES_A_STEP * math.prod(USUAL.size) // math.prod(size)
    return min(FRAMES_A_STEP, max(FEWEST_A_STEP, same))


def steps_of_size(steps: int, size: tuple[int, int]) -> int:
    """In how many steps frames of a size are seen as often as those of the usual size in so many."""
    return math.ceil(steps * FRAMES_A_STEP / frames_a_step(size))


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
