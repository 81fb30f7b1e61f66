"""Films of 17 frames at 64 pixels: phase fields, lawful or not behind the tokenizer and as a model makes them, and emoji."""

from collections.abc import Iterator

import numpy as np

from benchmarks.results.emoji import chosen, last_twice
from benchmarks.results.scores import prompts
from benchmarks.results.trial import Scored, Trial
from ernest.data.importers import both_directions
from ernest.evaluation.evaluate import rebuild_frames
from ernest.evaluation.likeness import psnr
from ernest.generation.engine import Engine
from ernest.sequence.record import Record
from ernest.tokenizers.bundle import Tokenizers
from ernest.verifiers.training import train_family_judge
from ernest.verifiers.vision import classify
from ernest.world.split import HELD_OUT
from ernest.world.video import FAMILIES, obeys_energy_law, simulate

SIDE, FRAMES = 64, 17
WORLD, JUDGED = 0, 7
"""Seeds of the films that are learnt from or scored, and of those that the judge learns from."""
DEMO = 0.655
"""Of the demo's films, 9 frames at 32 pixels, the share that shows the family and obeys the law."""


def records(trial: Trial, split: str) -> list[Record]:
    """Phase fields and animated emoji, in both directions."""
    films, families = phase_fields(WORLD, 0, trial.count(300))
    named = zip(films, (FAMILIES[family] for family in families), strict=True)
    return list(_both([*named, *_emoji(trial)]))


def phase_fields(seed: int, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Films uint8 `[count, 17, 64, 64, 3]`, as many of each family, and the family of each: those of the world `seed` from the
    index `first` on."""
    each = count // len(FAMILIES)
    films = [simulate(family, seed, range(first, first + each), SIDE, FRAMES) for family in range(len(FAMILIES))]
    return np.concatenate(films), np.repeat(np.arange(len(FAMILIES)), each)


def score_tokenizer(tokenizers: Tokenizers, trial: Trial) -> list[Scored]:
    """Whether true films that went through the tokenizer still obey the energy law within .02, and how like they are."""
    true, families = phase_fields(WORLD, HELD_OUT, trial.count(50))
    back, lawful = rebuild_frames(tokenizers, true), obeys_energy_law
    each = ", ".join(f"{name} {lawful(back[families == number]).mean():.2f}" for number, name in enumerate(FAMILIES))
    emoji = np.stack([film for film, _ in _emoji(trial)])
    return [
        Scored("true films that are lawful", float(lawful(true).mean()), None, f"{len(true)} held out, ceiling"),
        Scored("… behind the tokenizer", float(lawful(back).mean()), 0.95, each),
        Scored("PSNR of phase fields, dB", psnr(true, back), None, f"{tokenizers.media.temporal_stride} frames a latent"),
        Scored("PSNR of animated emoji, dB", psnr(emoji, rebuild_frames(tokenizers, emoji)), None, f"{len(emoji)}, learnt from"),
    ]


def score_clips(engine: Engine, trial: Trial) -> list[Scored]:
    """The tokenizer's scores, and of films that are made by name the family that a judge sees, and the law."""
    asked = np.arange(trial.count(60)) % len(FAMILIES)
    made = np.stack(engine.videos(prompts([FAMILIES[family] for family in asked]), frames=FRAMES))
    judge = train_family_judge(*phase_fields(JUDGED, 0, trial.count(300)), trial.count(250))
    true, families = phase_fields(WORLD, HELD_OUT, trial.count(50))
    right, lawful = classify(judge, made) == asked, obeys_energy_law(made)
    return [
        *score_tokenizer(engine.tokenizers, trial),
        Scored("text → video: family", float(right.mean()), None, f"{len(made)} made, by the judge"),
        Scored("text → video: family and lawful", float((right & lawful).mean()), DEMO, f"lawful {lawful.mean():.2f}"),
        Scored("the judge on true films", float((classify(judge, true) == families).mean()), None, "ceiling"),
    ]


def _emoji(trial: Trial) -> list[tuple[np.ndarray, str]]:
    """Animations with the last frame twice, and their names."""
    return [(last_twice(one.animation), one.name) for one in chosen(trial)]


def _both(named: list[tuple[np.ndarray, str]]) -> Iterator[Record]:
    for film, name in named:
        yield from both_directions("video", film, name, {})
