"""Whether a model speaks as a sample of three seconds does: what judges of voices and of words hear, and their ceilings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.results import judges, sources
from benchmarks.results.scores import prompts_of
from benchmarks.results.trial import Scored, Trial
from ernest.evaluation.evaluate import rebuild
from ernest.generation.engine import Engine
from ernest.sequence.record import Record
from ernest.tokenizers.mel import MelSpec
from ernest.tokenizers.training.recogniser import Teacher
from ernest.world.speech import UNHEARD_VOICES, VOICES, WORDS, speech
from ernest.world.split import HELD_OUT

EVERY = (*VOICES, *UNHEARD_VOICES)
SPEC = MelSpec(sources.VOICED_RATE)
JUDGED = 7
"""The seed of what judges learn from, which no model hears."""


@dataclass(frozen=True)
class Ears:
    """Judges of voices, heard in training or not, and of words."""

    voices: Teacher
    words: Teacher

    def shares(self, records: Sequence[Record], waves: Sequence[np.ndarray]) -> tuple[float, float]:
        """Of sounds, the shares in which the voice, and the word, of the record is heard."""
        names = [voice.name for voice in EVERY]
        voices = np.array([names.index(record.facts["voice"]) for record in records])
        words = np.array([WORDS.index(record.facts["word"]) for record in records])
        return judges.heard(self.voices, waves, voices, SPEC), judges.heard(self.words, waves, words, SPEC)


def train_ears(trial: Trial) -> Ears:
    """Judges of clips that were drawn for them, kept in the trial's folder."""
    paths = [trial.out / f"voiced-{name}-judge.safetensors" for name in ("voice", "word")]
    if not all(path.is_file() for path in paths):
        count = trial.count(1620, 20 * len(EVERY))
        said = [speech(JUDGED, n, (EVERY[n % len(EVERY)],), sample_rate=SPEC.sample_rate) for n in range(count)]
        labels = np.arange(count) % len(EVERY), np.array([WORDS.index(one.word) for one in said])
        for path, label in zip(paths, labels, strict=True):
            judges.word_judge(path, [one.wave for one in said], label, trial.count(400), SPEC)
    voices, words = (judges.load_word_judge(path, n, SPEC) for path, n in zip(paths, (len(EVERY), len(WORDS)), strict=True))
    return Ears(voices, words)


def score_voices(engine: Engine, trial: Trial) -> list[Scored]:
    """Words in the voices of samples never heard: of voices of the training, and of voices that it never had."""
    ears, count = train_ears(trial), trial.count(144, len(VOICES))
    known = list(sources.voiced(0, HELD_OUT, count))
    unknown = list(sources.voiced(0, HELD_OUT, count // 4, UNHEARD_VOICES))
    scored: list[Scored] = []
    for name, records, bars in (("", known, (0.8, 0.9)), (", voices never heard", unknown, (0.8, None))):
        said = engine.sounds(prompts_of(engine, records))
        voice, word = ears.shares(records, said)
        scored += [
            Scored(f"voice of the sample recognised{name}", voice, bars[0], f"{len(said)} said, one of {len(EVERY)} voices"),
            Scored(f"word recognised{name}", word, bars[1], f"{len(said)} said, one of {len(WORDS)} words"),
        ]
        true = [record.segments[-1].data for record in records]
        rebuilt = [segments[-1].data for segments in rebuild(records, engine.tokenizers)]
        for sort, waves in (("true", true), ("rebuilt", rebuilt)):
            voice, word = ears.shares(records, waves)
            scored.append(Scored(f"voices of {sort} clips{name}", voice, None, f"ceiling; words {word:.3f}"))
    own = next(one.value for one in scored if one.name == "word recognised")
    return [*scored, Scored("words, own voice against another's", abs(own - _swapped(engine, ears, known)), 0.02, "", less=True)]


def _swapped(engine: Engine, ears: Ears, records: Sequence[Record]) -> float:
    """The share of right words where each is asked for in the next record's voice."""
    others = [*records[1:], *records[:1]]
    asked = [
        Record((record.segments[0], other.segments[1], record.segments[2]), record.task, record.facts)
        for record, other in zip(records, others, strict=True)
    ]
    return ears.shares(asked, engine.sounds(prompts_of(engine, asked)))[1]
