"""What a model is scored by on real data: what it reads right, what judges say of what it draws and says, and their ceilings."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.results import judges, nearest, outside, sources
from benchmarks.results.trial import Scored, Trial
from ernest.config.media import MediaSpec
from ernest.data.examples import EncodedSegment, encode
from ernest.data.mnist import DIGIT_NAMES
from ernest.evaluation.evaluate import rebuild
from ernest.evaluation.losses import record_losses
from ernest.generation.engine import Engine
from ernest.sequence.record import Record, given, made

Source = Callable[[Path, str], sources.Media]


def prompts_of(engine: Engine, records: Sequence[Record]) -> list[tuple[EncodedSegment, ...]]:
    """All but the last segment of each record, which is what is asked for."""
    return [example.segments[:-1] for example in encode(records, engine.tokenizers)]


def asked_and_answered(engine: Engine, records: Sequence[Record]) -> list[tuple[str, str]]:
    """The text of each record that ends in one, and what the model answers there."""
    asked = [record for record in records if record.segments[-1].kind == "text"]
    prompts = prompts_of(engine, asked)
    return [(record.segments[-1].data, answer) for record, answer in zip(asked, engine.texts(prompts), strict=True)]


def reads_right(engine: Engine, records: Sequence[Record]) -> float:
    """The share of records that end in a text whose text is exactly right."""
    return float(np.mean([answer == text for text, answer in asked_and_answered(engine, records)]))


def _pictures(engine: Engine, trial: Trial, source: Source, names: tuple[str, ...], bars: tuple[float, float]) -> list[Scored]:
    """Pictures read and drawn, and the judge's ceilings: on real pictures, and on these through the tokenizer."""
    media, labels = sources.arrays(lambda: source(trial.data, "train"), names)
    judge = judges.picture_judge(trial.out / f"{names[0]}-picture-judge.safetensors", np.stack(media), labels, trial.count(3000))
    pairs = list(sources.take(source(trial.data, "test"), trial.share))
    true = [pair.segments[-1].data for pair in pairs[1::2]]
    truth = np.array([names.index(pair.segments[-1].data) for pair in pairs[::2]])
    some = pairs[1::2][:1000]
    rebuilt = [segments[-1].data for segments in rebuild(some, engine.tokenizers)]
    asked = np.arange(trial.count(500)) % len(names)
    drawn = engine.pictures(prompts([names[label] for label in asked]))
    number, near = nearest.nearest(drawn, np.stack(media))
    _, near_of_true = nearest.nearest(true[: len(drawn)], np.stack(media))
    few = range(min(4 * nearest.ACROSS, len(drawn)))
    nearest.write_sheet(trial.out / f"{names[0]}-nearest.png", [drawn[i] for i in few], [media[number[i]] for i in few])
    return [
        Scored("image → text", reads_right(engine, pairs), bars[0], f"{len(true)} test pictures"),
        Scored("text → image, by the judge", judges.seen(judge, drawn, asked), bars[1], f"{len(drawn)} drawn"),
        Scored("the judge on real pictures", judges.seen(judge, true, truth), None, "ceiling"),
        Scored("the judge on rebuilt pictures", judges.seen(judge, rebuilt, truth[: len(rebuilt)]), None, "ceiling"),
        Scored(
            "distance to the nearest training picture",
            float(np.median(near)),
            None,
            f"median of drawn ones, in levels; of test pictures {np.median(near_of_true):.1f}",
        ),
    ]


def _sounds(
    engine: Engine, trial: Trial, source: Source, names: tuple[str, ...], bars: tuple[float, float | None]
) -> list[Scored]:
    """Words heard and said, and the judge's ceilings."""
    media, labels = sources.arrays(lambda: source(trial.data, "train"), names)
    judge = judges.word_judge(trial.out / f"{names[0]}-word-judge.safetensors", media, labels, trial.count(600))
    pairs = list(sources.take(source(trial.data, "test"), max(trial.share, 0.05)))
    true = [pair.segments[-1].data for pair in pairs[1::2]]
    truth = np.array([names.index(pair.segments[-1].data) for pair in pairs[::2]])
    rebuilt = [segments[-1].data for segments in rebuild(pairs[1::2], engine.tokenizers)]
    asked = np.arange(trial.count(300)) % len(names)
    said = engine.sounds(prompts([names[label] for label in asked]))
    outsider = []
    if outside.is_there():
        for name, waves, spoken, note in (
            ("text → speech, by", said, asked, "an outside judge"),
            ("real clips by", true, truth, "ceiling"),
        ):
            answers = outside.heard_by_outsider(waves, names, MediaSpec.sample_rate)
            right = float(np.mean([answer == names[label] for answer, label in zip(answers, spoken, strict=True)]))
            outsider.append(Scored(f"{name} pocketsphinx", right, None, note))
    return [
        Scored("speech → text", reads_right(engine, pairs), bars[0], f"{len(true)} test clips"),
        Scored("text → speech, by the judge", judges.heard(judge, said, asked), bars[1], f"{len(said)} said"),
        Scored("the judge on real clips", judges.heard(judge, true, truth), None, "ceiling"),
        Scored("the judge on rebuilt clips", judges.heard(judge, rebuilt, truth), None, "ceiling"),
        *outsider,
    ]


def _never_trained(engine: Engine, trial: Trial) -> list[Scored]:
    """Digits that are seen and said, and heard and drawn: no record joined a picture with a sound."""
    picture_judge = judges.load_picture_judge(trial.out / f"{DIGIT_NAMES[0]}-picture-judge.safetensors")
    word_judge = judges.load_word_judge(trial.out / f"{DIGIT_NAMES[0]}-word-judge.safetensors", len(DIGIT_NAMES))
    count = trial.count(300)
    pictures = list(islice(sources.handwritten(trial.data, "test"), count))
    clips = list(islice(sources.spoken(trial.data, "test"), count))
    scored = []
    for name, media, make, share_right in (
        ("image → speech", pictures, engine.sounds, partial(judges.heard, word_judge)),
        ("speech → image", clips, engine.pictures, partial(judges.seen, picture_judge)),
    ):
        questions = [Record((given(kind, data), made("text", "?"))) for kind, data, _ in media]
        truth = np.array([DIGIT_NAMES.index(words) for _, _, words in media])
        right = share_right(make(prompts_of(engine, questions)), truth)
        scored.append(Scored(f"{name}, never trained", right, None, "chance .1"))
    return scored


def prompts(words: Sequence[str]) -> list[list[EncodedSegment]]:
    """Each of these texts as all that is given."""
    return [[EncodedSegment("text", word, False)] for word in words]


def score_digits(engine: Engine, trial: Trial) -> list[Scored]:
    """All directions of digits, and those that were never trained."""
    films = list(sources.take(sources.moving(trial.data, "test", trial.count(200)), 1.0))
    return [
        *_pictures(engine, trial, sources.handwritten, DIGIT_NAMES, (0.97, 0.97)),
        *_sounds(engine, trial, sources.spoken, DIGIT_NAMES, (0.97, 0.93)),
        Scored("video → text: digit and way", reads_right(engine, films), None, f"{len(films) // 2} test films"),
        *_never_trained(engine, trial),
    ]


def score_commands(engine: Engine, trial: Trial) -> list[Scored]:
    """Speakers of the test were never heard in training."""
    return _sounds(engine, trial, sources.commands, sources.COMMANDS, (0.85, None))


def score_photos(engine: Engine, trial: Trial) -> list[Scored]:
    """Photographs of ten kinds."""
    return _pictures(engine, trial, sources.photographs, sources.PHOTOGRAPHS, (0.65, 0.5))


def score_stories(engine: Engine, trial: Trial) -> list[Scored]:
    """Bits per byte of passages that were held out."""
    records = list(sources.prose(trial.data, "test"))[: trial.count(10**4)]
    nats = record_losses(engine, list(encode(records, engine.tokenizers))).sum()
    size = sum(len(record.segments[0].data.encode()) for record in records)
    return [Scored("bits per byte", float(nats / np.log(2) / size), None, f"{len(records)} passages, {size:,} bytes")]
