"""The table of all that is scored: each direction with its records, its verifiers, its bars, and what chance would give."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ernest.evaluation.likelihood import text_share
from ernest.evaluation.results import EvalResult
from ernest.generation.engine import Engine
from ernest.generation.sampling import Sampling
from ernest.sequence.record import Kind, Record, given, made
from ernest.verifiers import rules
from ernest.verifiers.judges import Judges
from ernest.verifiers.speech import verify_word
from ernest.verifiers.verdict import Verifier, all_pass
from ernest.verifiers.vision import verify_digit, verify_family
from ernest.world.images import COLOURS, PLACES, caption
from ernest.world.speech import UNHEARD_VOICES, VOICES, WORDS, Voice
from ernest.world.split import HELD_OUT
from ernest.world.video import FAMILIES
from ernest.world.world import records

Records = Callable[[int, int], list[Record]]
"""A seed and the run's count of held-out records to the records of a direction."""


@dataclass(frozen=True)
class Criterion:
    """One row of the score table: its name, how it is checked in words, the bar to reach, and the score of chance."""

    name: str
    checked_by: str
    bar: float | None = None
    chance: str = "–"
    verify: Callable[[Judges], Verifier] | None = None
    lower_is_better: bool = False


@dataclass(frozen=True)
class Direction:
    """A direction that is scored by verifiers: for each of `records` it generates a segment of `output_kind`.

    The verifiers are scored too (`ceilings`), on `truths`, or on `records` where these hold what is true. `sample_kind` is what
    samples are listed as in the report, with `title` or else the given words. `first_frame` gives the first frame of the true
    video too. `sampling` None is the usual one of the kind.
    """

    group: str
    records: Records
    output_kind: Kind
    criteria: tuple[Criterion, ...]
    sample_kind: str
    truths: Records | None = None
    ceilings: bool = True
    title: str = ""
    most_samples: int = 12
    first_frame: bool = False
    sampling: Sampling | None = None


@dataclass(frozen=True)
class Measure:
    """A direction that is scored by a measure of its own, called with engine, seed, count of records and number of samples."""

    group: str
    criteria: tuple[Criterion]
    measure: Callable[[Engine, int, int, int], EvalResult]


# ------------------------------------------------------------------ held-out records


def held_out(task: str, share: Fraction = Fraction(1), voices: tuple[Voice, ...] = VOICES) -> Records:
    """A share of the run's count of held-out records of a task."""
    return lambda seed, count: records(task, seed, _indices(int(count * share)), voices)


def physics(task: str, share: Fraction = Fraction(1), least: int = 1) -> Records:
    """Videos of the five physical families: of six videos about five are."""

    def make(seed: int, count: int) -> list[Record]:
        return _select(task, seed, max(least, int(count * share)) * 6 // 5, lambda record: record.facts["family"] in FAMILIES)

    return make


def questions_in_words(seed: int, count: int) -> list[Record]:
    """The texts that ask something, which more than nine in ten do."""
    return _select("text", seed, count * 5 // 4 + 8, lambda record: "question" in record.facts)[: max(1, count)]


def every_caption(seed: int, count: int) -> list[Record]:
    """Captions of pictures, spread evenly over all that there are."""
    every = [(digit, colour, place) for digit in range(10) for colour in COLOURS for place in PLACES]
    count = min(count, len(every))
    picks = [every[i * len(every) // count] for i in range(count)]
    return [_to_make("text→image", caption(*picture), dict(zip(rules.PICTURE, picture, strict=True))) for picture in picks]


def every_word(seed: int, count: int) -> list[Record]:
    """Words and voices in turn."""
    pairs = [(VOICES[i % len(VOICES)].name, WORDS[i % len(WORDS)]) for i in range(count)]
    return [_to_make("text→speech", f"{voice} says {word}", {"word": word, "voice": voice}) for voice, word in pairs]


def every_family(seed: int, count: int) -> list[Record]:
    """The five physical families in turn."""
    families = [FAMILIES[i % len(FAMILIES)] for i in range(max(5, count * 2 // 3))]
    return [_to_make("text→video", family, {"family": family}) for family in families]


def _to_make(task: str, words: str, facts: Mapping[str, Any]) -> Record:
    """A record that asks in words for something that does not exist yet: what it makes is blank."""
    blank = {
        "text→image": made("image", np.zeros((1, 1, 3), np.uint8)),
        "text→speech": made("audio", np.zeros(1, np.float32)),
        "text→video": made("video", np.zeros((1, 1, 1, 3), np.uint8)),
    }
    return Record((given("text", words), blank[task]), task, facts)


def _select(task: str, seed: int, count: int, condition: Callable[[Record], bool]) -> list[Record]:
    """Those of `count` held-out records for which `condition` holds; where none does, those of twice as many, and so on."""
    selected = list(filter(condition, records(task, seed, _indices(count))))
    return selected or _select(task, seed, 2 * max(1, count), condition)


def _indices(count: int) -> range:
    return range(HELD_OUT, HELD_OUT + max(1, count))


# ------------------------------------------------------------------ verifiers


def _exact(verifier: Verifier) -> Callable[[Judges], Verifier]:
    return lambda judges: verifier


def _digit(judges: Judges) -> Verifier:
    return verify_digit(judges.digits)


def _picture(judges: Judges) -> Verifier:
    return all_pass(verify_digit(judges.digits), rules.colour_and_place)


def _word(judges: Judges) -> Verifier:
    return verify_word(judges.words)


def _family(judges: Judges) -> Verifier:
    return verify_family(judges.families)


def _family_and_law(judges: Judges) -> Verifier:
    return all_pass(verify_family(judges.families), rules.energy_law)


# ------------------------------------------------------------------ the table

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)

DIRECTIONS: dict[str, Direction | Measure] = {
    "image→text": Direction(
        "understanding", held_out("image→text"), "text",
        (Criterion("image → text, whole caption", "caption grammar", 0.90, "≤ 0.01", _exact(rules.caption)),),
        sample_kind="picture described",
    ),
    "speech→text": Direction(
        "understanding", held_out("speech→text"), "text",
        (Criterion("speech → text, draws never heard", "exact word", 0.95, "0.05", _exact(rules.word)),),
        sample_kind="speech heard",
    ),
    "speech→text, voices never heard": Direction(
        "understanding", held_out("speech→text", HALF, UNHEARD_VOICES), "text",
        (Criterion("speech → text, voices never heard", "exact word", 0.90, "0.05", _exact(rules.word)),),
        sample_kind="speech heard",
    ),
    "video→text": Direction(
        "understanding", physics("video→text"), "text",
        (Criterion("video → text, family", "exact", 0.95, "0.2", _exact(rules.video_caption)),),
        sample_kind="video described",
    ),
    "question about image": Direction(
        "understanding", held_out("question about image"), "text",
        (Criterion("question about a picture", "exact", None, "–", _exact(rules.picture_answer)),),
        sample_kind="picture described",
    ),
    "text→image": Direction(
        "generation", every_caption, "image",
        (Criterion("text → image: digit, colour, place", "judge, exact, exact", 0.90, "≤ 0.01", _picture),),
        sample_kind="picture made", truths=held_out("text→image"),
    ),
    "text→speech": Direction(
        "generation", every_word, "audio",
        (Criterion("text → speech, from the waveform", "word classifier", 0.95, "0.05", _word),),
        sample_kind="speech made", truths=held_out("text→speech"),
    ),
    "text→video": Direction(
        "generation", every_family, "video",
        (
            Criterion("text → video: family", "judge", 0.80, "0.2", _family),
            Criterion("text → video: family and lawful", "judge, energy law", 0.60, "–", _family_and_law),
        ),
        sample_kind="video made", truths=physics("text→video", THIRD, least=5),
    ),
    "first frame→video": Direction(
        "generation", physics("text→video", THIRD, least=5), "video",
        (
            Criterion("first frame and words → video: family", "judge", 0.90, "0.2", _family),
            Criterion("first frame and words → video: family and lawful", "judge, energy law", 0.70, "–", _family_and_law),
        ),
        sample_kind="video continued", first_frame=True,
    ),
    "text": Measure(
        "text",
        (Criterion("text: bits per byte ÷ unigram's", "held-out likelihood", 0.50, "1", lower_is_better=True),),
        measure=text_share,
    ),
    "questions in words": Direction(
        "text", questions_in_words, "text",
        (Criterion("questions in words: exact answer", "exact", 0.9, "–", _exact(rules.text_answer)),),
        sample_kind="text",
    ),
    "image→speech": Direction(
        "never trained", held_out("image→speech", THIRD), "audio",
        (Criterion("image → speech, never trained", "word classifier", None, "0.1", _word),),
        sample_kind="untrained", title="speak what is drawn", most_samples=4, ceilings=False,
    ),
    "speech→image": Direction(
        "never trained", held_out("speech→image", THIRD), "image",
        (Criterion("speech → image, never trained", "judge", None, "0.1", _digit),),
        sample_kind="untrained", title="draw what is spoken", most_samples=4, ceilings=False,
    ),
}  # fmt: skip
"""In the order of the score table."""

BALANCE = Criterion("mixture-load entropy, worst layer", "training mixture", 0.97)
SPEED = Criterion("positions per second", "median of all steps", 6000)
"""What the training itself is measured by, in the group "training"."""
