"""`python -m benchmarks.results RECIPE`: trains one model on real data, as `ernest train` does, and measures it.

Reads ../shared/data, or wherever `--data` says. A recipe that was stopped goes on where it was; each seed is a run of its own in
build/results. Figures go to build/bench/results, and `python -m benchmarks.page results` puts them into docs/results/data.md.
`--share .01` is a trial, in a folder of its own: that share of the data, the steps and the records that are scored.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from rich.console import Console

from benchmarks import findings
from benchmarks.findings import Findings
from benchmarks.page import markdown
from benchmarks.results import clips, emoji, sources
from benchmarks.results.folders import FOLDERS, measure_folder
from benchmarks.results.scores import score_commands, score_digits, score_photos, score_stories
from benchmarks.results.seesaw import STEPS, measure_seesaw
from benchmarks.results.trial import Scored, Trial, engine_of, minutes, timed
from benchmarks.results.voices import score_voices
from benchmarks.tables import Figure, Table, show
from ernest.config.recipe import Recipe, find_recipe, load_recipe
from ernest.data.record_writer import save_records
from ernest.data.records import RecordFolder, read_lines
from ernest.generation.engine import Engine
from ernest.results.paired import spread
from ernest.sequence.record import Record
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.group import process_count, thread_count
from ernest.training.prepare import prepare_records, train_on_records
from ernest.training.run_settings import TrainingRun
from ernest.world.split import HELD_OUT

DATA = Path(__file__).parents[3] / "shared" / "data"
OUT = Path("build/results")


@dataclass(frozen=True)
class RealRecipe:
    """Settings that differ from the recipe `base`, the records of a split, and how an engine is scored."""

    settings: tuple[str, ...]
    records: Callable[[Trial, str], list[Record]]
    score: Callable[[Engine, Trial], list[Scored]]
    base: str = "tiny"


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


def voices(trial: Trial, split: str) -> list[Record]:
    """Words in the voices of samples."""
    return list(sources.voiced(0, 0 if split == "train" else HELD_OUT, trial.count(5000)))


PROSE = ("training.steps=1500", "tokenizers.vocabulary=1500")
RECIPES = {
    "digits": RealRecipe(("training.steps=2000", "tokenizers.vision_steps=4000"), digits, score_digits),
    "commands": RealRecipe(("training.steps=700", "tokenizers.audio_steps=2500"), commands, score_commands),
    "voices": RealRecipe(
        (
            f"media.sample_rate={sources.VOICED_RATE}",
            "sequence.rows=8",
            "training.steps=400",
            "tokenizers.audio_steps=600",
            "tokenizers.voice_steps=400",
        ),
        voices,
        score_voices,
    ),
    "photos": RealRecipe(("training.steps=1700", "tokenizers.vision_steps=6000"), photos, score_photos),
    "emoji": RealRecipe(
        (
            "size=6",
            "media.temporal_stride=4",
            "media.frames=9",
            "sequence.rows=8",
            "sequence.length=384",
            "training.steps=1000",
            "tokenizers.vocabulary=400",
            "tokenizers.vision_steps=2400",
            "tokenizers.film_steps=500",
            "mixture.image→text=3",
            "mixture.text→image=3",
        ),
        emoji.records,
        emoji.score_emoji,
        "pictures64",
    ),
    "clips": RealRecipe(
        (
            "size=6",
            "media.height=64",
            "media.width=64",
            "media.temporal_stride=4",
            "sequence.rows=8",
            "sequence.length=448",
            "training.steps=600",
            "tokenizers.vocabulary=400",
            "tokenizers.vision_steps=2000",
            "tokenizers.film_steps=800",
        ),
        clips.records,
        clips.score_clips,
        "films17",
    ),
    "stories": RealRecipe(PROSE, stories, score_stories),
    "stories-dense": RealRecipe((*PROSE, "model.experts=1", "model.top_k=1", "model.expert_width=128"), stories, score_stories),
}
"""Of the experts of `stories` two run per token, each of width 64: the dense model has one of width 128, as much for a token."""
SEESAW = "seesaw"
"""The target that compares runs of `digits`."""
TOKENIZERS = {"emoji-tokenizer": ("emoji", emoji.score_tokenizer), "clips-tokenizer": ("clips", clips.score_tokenizer)}
"""The first stages alone of a recipe, which goes on from there, and how its tokenizers are scored."""
NAMES = [*RECIPES, *TOKENIZERS, *FOLDERS, SEESAW]


def _begin(name: str, seed: int, trial: Trial) -> tuple[RecordFolder, Recipe]:
    """The records of a recipe, made where they are not there yet, and all its settings."""
    chosen, data = RECIPES[name], trial.out / f"{name}-records"
    recipe = trial.recipe(seed, chosen.settings, chosen.base)
    if not data.is_dir():
        save_records(data, chosen.records(trial, "train"), recipe.media)
    return read_lines(data, recipe.media), recipe


def measure(name: str, seed: int, trial: Trial) -> list[Scored]:
    """The scores of one seed of a recipe, trained where that was not done yet; the last one is its minutes so far."""
    if name in FOLDERS:
        return measure_folder(name, seed, trial)
    if name == SEESAW:
        records, recipe = _begin("digits", seed, trial)
        short = replace(recipe, training=replace(recipe.training, steps=trial.count(STEPS, 12)))
        return measure_seesaw(records, digits(trial, "test"), trial.out / f"{SEESAW}-{seed}", short, trial)
    kind, score = TOKENIZERS.get(name, (name, None))
    records, recipe = _begin(kind, seed, trial)
    run = TrainingRun(records, trial.out / f"{kind}-{seed}", recipe)
    if score is not None:
        _, spent = timed(run, prepare_records)
        return [*score(Tokenizers.load(run.out / "tokenizers"), trial), minutes(spent)]
    checkpoint, spent = timed(run, train_on_records)
    return [*RECIPES[name].score(engine_of(checkpoint), trial), minutes(spent, 90.0 if name == "digits" else None)]


def found(name: str, runs: Sequence[Sequence[Scored]], threads: int) -> Findings:
    """Means over seeds as figures, and a table with the spread; trained in so many threads."""
    figures, lines = [], []
    for scores in zip(*runs, strict=True):
        values, first = [one.value for one in scores], scores[0]
        figures.append(Figure(f"{name}: {first.name}", mean(values), first.bar, first.less, threads=threads))
        lines.append((first.name, spread(values), figures[-1].wanted, first.note))
    seeds = f"{len(runs)} seed{'s' if len(runs) > 1 else ''}, {threads} thread{'s' if threads > 1 else ''}"
    return Findings(tuple(figures), (Table(f"{name}, {seeds}", ("", "score", "bar", ""), tuple(lines)),))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("recipe", choices=NAMES, metavar="|".join(NAMES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--processes", type=int, default=0, help="in which a model trains; one per core by default")
    chosen = parser.parse_args()
    if not chosen.data.is_dir():
        sys.exit(f"{chosen.data}: the data sets are not there; --data names their folder")
    trial = Trial(chosen.data, chosen.out, chosen.share, (f"parallel.replicate={chosen.processes}",))
    trial.out.mkdir(parents=True, exist_ok=True)
    try:
        runs = [measure(chosen.recipe, seed, trial) for seed in chosen.seeds]
    except KeyboardInterrupt:
        sys.exit(f"{trial.out}: stopped; the same command goes on")
    processes = process_count(load_recipe(find_recipe("tiny"), trial.settings))
    result = found(chosen.recipe, runs, processes * thread_count(processes))
    if trial.share == 1:
        findings.write("results", chosen.recipe, result, f"python -m benchmarks.results {chosen.recipe}")
        parts = findings.read("results", NAMES, findings.FOLDER)
        (findings.FOLDER / "results.md").write_text(markdown(parts, "From the files in `build/bench/results`."))
    show(Console(), chosen.recipe, result.tables, result.figures)


if __name__ == "__main__":
    main()
