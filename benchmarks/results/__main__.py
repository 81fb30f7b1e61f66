"""`python -m benchmarks.results RECIPE`: trains one model on real data, as `ernest train` does, and measures it.

Reads ../shared/data, or wherever `--data` says. A recipe that was stopped goes on where it was; each seed is a run of its own in
build/results. Figures go to build/bench/results, and `python -m benchmarks.page results` puts them into docs/results/data.md.
`--share .01` is a trial: that share of the data, the steps and the records that are scored.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from rich.console import Console

from benchmarks import findings
from benchmarks.findings import Findings
from benchmarks.page import markdown
from benchmarks.results import judges, sources
from benchmarks.tables import Figure, Table, show
from ernest.checkpoint import load_model
from ernest.config.effort import with_effort
from ernest.config.recipe import find_recipe, load_recipe
from ernest.data.examples import EncodedSegment, encode
from ernest.data.importers import DIGIT_NAMES
from ernest.data.record_writer import save_records
from ernest.data.records import read_lines
from ernest.device import supports_bf16
from ernest.evaluation.evaluate import rebuild
from ernest.evaluation.own_data import record_losses
from ernest.generation.engine import Engine
from ernest.sequence.record import Record, given, made
from ernest.training.prepare import train_on_records
from ernest.training.run_settings import TrainingRun

DATA = Path(__file__).parents[2].parent / "shared" / "data"
OUT = Path("build/results")


@dataclass(frozen=True)
class Trial:
    """What a recipe is measured with: the data's folder, where its runs lie, and the share of everything that is taken."""

    data: Path
    out: Path
    share: float

    def count(self, whole: int, least: int = 20) -> int:
        """A number of things, or the trial's share of it."""
        return max(min(whole, least), round(whole * self.share))


@dataclass(frozen=True)
class Scored:
    """A score of one seed, its bar, and what it is of; `less` where less is better."""

    name: str
    value: float
    bar: float | None
    note: str
    less: bool = False


@dataclass(frozen=True)
class RealRecipe:
    """Settings that differ from the recipe `tiny`, the records of a split, and how an engine is scored."""

    settings: tuple[str, ...]
    records: Callable[[Trial, str], list[Record]]
    score: Callable[[Engine, Trial], list[Scored]]


Source = Callable[[Path, str], sources.Media]


# ------------------------------------------------------------------ what is trained on


def digits(trial: Trial, split: str) -> list[Record]:
    """Handwritten and spoken ones, and ones that move."""
    return [
        *sources.take(sources.handwritten(trial.data, split), trial.share),
        *sources.take(sources.spoken(trial.data, split), max(trial.share, 0.05)),
        *sources.take(sources.moving(trial.data, split, trial.count(3000)), 1.0),
    ]


def commands(trial: Trial, split: str) -> list[Record]:
    """Speech commands."""
    return list(sources.take(sources.commands(trial.data, split), max(trial.share, 0.05)))


def photos(trial: Trial, split: str) -> list[Record]:
    """Photographs."""
    return list(sources.take(sources.photographs(trial.data, split), trial.share))


def stories(trial: Trial, split: str) -> list[Record]:
    """Prose alone."""
    return list(sources.prose(trial.data, split))[: trial.count(10**4)]


# ------------------------------------------------------------------ what is measured


def reads_right(engine: Engine, records: Sequence[Record]) -> float:
    """The share of records that end in a text whose text is exactly right."""
    asked = [record for record in records if record.segments[-1].kind == "text"]
    prompts = [example.segments[:-1] for example in encode(asked, engine.tokenizers)]
    answers = engine.texts(prompts)
    return float(np.mean([answer == record.segments[-1].data for answer, record in zip(answers, asked, strict=True)]))


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
    drawn = engine.pictures(_prompts([names[label] for label in asked]))
    return [
        Scored("image → text", reads_right(engine, pairs), bars[0], f"{len(true)} test pictures"),
        Scored("text → image, by the judge", judges.seen(judge, drawn, asked), bars[1], f"{len(drawn)} drawn"),
        Scored("the judge on real pictures", judges.seen(judge, true, truth), None, "ceiling"),
        Scored("the judge on rebuilt pictures", judges.seen(judge, rebuilt, truth[: len(rebuilt)]), None, "ceiling"),
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
    said = engine.sounds(_prompts([names[label] for label in asked]))
    return [
        Scored("speech → text", reads_right(engine, pairs), bars[0], f"{len(true)} test clips"),
        Scored("text → speech, by the judge", judges.heard(judge, said, asked), bars[1], f"{len(said)} said"),
        Scored("the judge on real clips", judges.heard(judge, true, truth), None, "ceiling"),
        Scored("the judge on rebuilt clips", judges.heard(judge, rebuilt, truth), None, "ceiling"),
    ]


def _never_trained(engine: Engine, trial: Trial) -> list[Scored]:
    """Digits that are seen and said, and heard and drawn: no record joined a picture with a sound."""
    picture_judge = judges.load_picture_judge(trial.out / f"{DIGIT_NAMES[0]}-picture-judge.safetensors")
    word_judge = judges.load_word_judge(trial.out / f"{DIGIT_NAMES[0]}-word-judge.safetensors", len(DIGIT_NAMES))
    count = trial.count(300)
    pictures = list(islice(sources.handwritten(trial.data, "test"), count))
    clips = list(islice(sources.spoken(trial.data, "test"), count))
    scored = []
    for name, media, make in (("image → speech", pictures, engine.sounds), ("speech → image", clips, engine.pictures)):
        questions = [Record((given(kind, data), made("text", "?"))) for kind, data, _ in media]
        prompts = [example.segments[:-1] for example in encode(questions, engine.tokenizers)]
        truth = np.array([DIGIT_NAMES.index(words) for _, _, words in media])
        outputs = make(prompts)
        right = judges.heard(word_judge, outputs, truth) if make == engine.sounds else judges.seen(picture_judge, outputs, truth)
        scored.append(Scored(f"{name}, never trained", right, None, "chance .1"))
    return scored


def _prompts(words: Sequence[str]) -> list[list[EncodedSegment]]:
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
    records = stories(trial, "test")
    nats = record_losses(engine, list(encode(records, engine.tokenizers))).sum()
    size = sum(len(record.segments[0].data.encode()) for record in records)
    return [Scored("bits per byte", float(nats / np.log(2) / size), None, f"{len(records)} passages, {size:,} bytes")]


PROSE = ("training.steps=1500", "tokenizers.vocabulary=1500")
RECIPES = {
    "digits": RealRecipe(("training.steps=2000", "tokenizers.vision_steps=4000"), digits, score_digits),
    "commands": RealRecipe(("training.steps=700", "tokenizers.audio_steps=2500"), commands, score_commands),
    "photos": RealRecipe(("training.steps=1700", "tokenizers.vision_steps=6000"), photos, score_photos),
    "stories": RealRecipe(PROSE, stories, score_stories),
    "stories-dense": RealRecipe((*PROSE, "model.experts=1", "model.top_k=1", "model.expert_width=128"), stories, score_stories),
}
"""Of the experts of `stories` two run per token, each of width 64: the dense model has one of width 128, as much for a token."""


def measure(name: str, seed: int, trial: Trial) -> list[Scored]:
    """The scores of one seed of a recipe, trained where that was not done yet; the last one is its minutes so far."""
    chosen, folder = RECIPES[name], trial.out / f"{name}-{seed}"
    data = trial.out / f"{name}-records"
    if not data.is_dir():
        save_records(data, chosen.records(trial, "train"))
    whole = replace(load_recipe(find_recipe("tiny"), chosen.settings), seed=seed)
    recipe = whole if trial.share == 1 else with_effort(whole, trial.share)
    clock = folder.with_suffix(".seconds")
    start = time.monotonic()
    try:
        checkpoint = train_on_records(TrainingRun(read_lines(data), folder, recipe))
    finally:  # what was spent before an interruption counts
        before = float(clock.read_text()) if clock.is_file() else 0.0
        clock.write_text(str(before + time.monotonic() - start))
    model, tokenizers = load_model(checkpoint)
    scored = chosen.score(Engine(model, tokenizers, bf16=supports_bf16()), trial)
    return [*scored, Scored("minutes of training", float(clock.read_text()) / 60, 90.0 if name == "digits" else None, "", True)]


def found(name: str, runs: Sequence[Sequence[Scored]]) -> Findings:
    """Means over seeds as figures, and a table with the spread."""
    figures, lines = [], []
    for scores in zip(*runs, strict=True):
        values, first = [one.value for one in scores], scores[0]
        spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
        figures.append(Figure(f"{name}: {first.name}", mean(values), first.bar, first.less, threads=2))
        lines.append((first.name, f"{mean(values):.3f}{spread}", figures[-1].wanted, first.note))
    seeds = f"{len(runs)} seed{'s' if len(runs) > 1 else ''}"
    return Findings(tuple(figures), (Table(f"{name}, {seeds}", ("", "score", "bar", ""), tuple(lines)),))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("recipe", choices=RECIPES, metavar="|".join(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--share", type=float, default=1.0)
    chosen = parser.parse_args()
    if not chosen.data.is_dir():
        sys.exit(f"{chosen.data}: the data sets are not there; --data names their folder")
    trial = Trial(chosen.data, chosen.out, chosen.share)
    trial.out.mkdir(parents=True, exist_ok=True)
    result = found(chosen.recipe, [measure(chosen.recipe, seed, trial) for seed in chosen.seeds])
    if trial.share == 1:
        findings.write("results", chosen.recipe, result, f"python -m benchmarks.results {chosen.recipe}")
        parts = findings.read("results", list(RECIPES), findings.FOLDER)
        (findings.FOLDER / "results.md").write_text(markdown(parts, "From the files in `build/bench/results`."))
    show(Console(), chosen.recipe, result.tables, result.figures)


if __name__ == "__main__":
    main()
