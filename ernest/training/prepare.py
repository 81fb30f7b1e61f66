"""From a user's own records to what training reads: files decoded once, tokenizers, examples; then the training itself."""

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from ernest.checkpoint import run_of
from ernest.config.recipe import Recipe
from ernest.config.stages import longest, sequence_at, too_long
from ernest.data.decoded import Check, DecodedRecords
from ernest.data.examples import Example, encode, outline
from ernest.data.held_out import few_of_each_task
from ernest.data.layout import lay_out_example
from ernest.data.records import LINES, RecordFolder, check_media
from ernest.data.store import ExampleStore
from ernest.device import usual_defaults
from ernest.fit import Progress as Report
from ernest.fit import no_progress
from ernest.sequence.record import Record
from ernest.storage import own_folder, remove_files, write_folder
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.training.words import word_targets
from ernest.tokenizers.vision import VisionTokenizer
from ernest.training.estimate import Estimate, estimate_run, time_steps
from ernest.training.group import is_follower
from ernest.training.monitor import stage_bar
from ernest.training.pretrain import follow, train_model
from ernest.training.run_settings import JUDGED_BY, RUN_FILE, START, TrainingRun, check_free, check_run
from ernest.training.switching import FIRST
from ernest.training.tokenizers import (
    ShownFrames,
    audio_config,
    audio_tokenizer,
    check_network,
    label_words,
    text_tokenizer,
    vision_tokenizer,
    voice_encoder,
)

NAMING = 0.5
"""Weight with which the features of a picture or frame are to say the words of its captions, beside its coarse bits."""
TOLD_FROM = 100
"""Steps of a training from which on its cost is told: a shorter one is over as soon."""


def train_on_records(run: TrainingRun) -> Path:
    """Trains tokenizers, unless a checkpoint brings them, and a model; returns the new checkpoint.

    Examples of the held-out records, as many as are scored, are kept in the run, so that it can be judged without the data.

    Raises ValueError for records or a folder that cannot be used, or a recipe that does not suit the records, before any long
    work.
    """
    if is_follower():
        follow(run.out)
    settings = check_run(run)
    with usual_defaults(), own_folder(run.out):
        check_free(run.out, settings)  # another run may have begun there meanwhile
        prepare(run, settings)
        return train_model(run.out, run.recipe)


def prepare_records(run: TrainingRun) -> None:
    """The stages before the training alone, for a run that `train_on_records` goes on with; of several launched processes the
    first does the work, and the others end. Raises ValueError as that does."""
    if is_follower():
        raise SystemExit(0)
    settings = check_run(run)
    with usual_defaults(), own_folder(run.out):
        check_free(run.out, settings)
        prepare(run, settings)


def prepare(run: TrainingRun, settings: str) -> None:
    """From records to examples, in three stages, each of which is complete when its folder is there: decoded files, tokenizers,
    examples. Every file is decoded once; tokenizers go on from the state that they have kept. Where examples are encoded as they
    are drawn, the decoded files stay, and there is no third stage but for what judges the run."""
    if _is_prepared(run):
        return
    existing = None if run.checkpoint is None else _brought(run.checkpoint, run.recipe, run.records)
    text = text_tokenizer(_texts(run.records), run.recipe) if existing is None else existing.text
    if not (run.out / RUN_FILE).is_file():
        _decode_files(run, settings, text)
    decoded = DecodedRecords(run.out / "decoded")
    if not (run.out / "tokenizers").is_dir():
        _make_tokenizers(run, decoded, text, existing)
    remove_files(run.out / "state", "*.safetensors")
    _encode(run, decoded)


def _decode_files(run: TrainingRun, settings: str, text: TextTokenizer) -> None:
    """Checks and decodes every file of the records, and begins the run's folder. Raises ValueError for records that do not suit
    the recipe."""
    lengths: list[int] = []
    check = _length_check(run.records, text, run.recipe, lengths)
    if run.held_out is not None:
        check_media(few_of_each_task(run.held_out))
    with write_folder(run.out) as aside, stage_bar() as bar:
        (aside / RUN_FILE).write_text(settings)
        if run.checkpoint is not None and run.go_on:
            _keep_start(run.checkpoint, aside / START)
        check = _counted(check, _progress(bar, "decoded files"), len(run.records))
        DecodedRecords.write(aside / "decoded", run.records, check)
        if min(lengths) > (first := sequence_at(run.recipe, 0).length):
            raise ValueError(
                f"{run.records.path / LINES}: no record of the mixture fits the first rows, of {first}; one takes {min(lengths)}"
            )


def _make_tokenizers(run: TrainingRun, decoded: DecodedRecords, text: TextTokenizer, existing: Tokenizers | None) -> None:
    """Tells what the run will cost and trains its tokenizers, those of few bits too where it begins with them; `existing` ones
    are taken as they are."""
    out, recipe = run.out, run.recipe
    Console().print(str(recipe.media), highlight=False, markup=False, soft_wrap=True)
    if recipe.training.steps >= TOLD_FROM:
        Console().print(str(_cost(recipe, decoded, text, existing)), highlight=False, soft_wrap=True)
    with stage_bar() as bar:
        trained = existing or _tokenizers(decoded, text, recipe, bar, out / "state")
        if recipe.first_steps and not (out / FIRST / "tokenizers").is_dir():
            first = replace(trained, vision=_first_vision(decoded, recipe, bar, out / "state"))
            with write_folder(out / FIRST / "tokenizers") as aside:
                first.save(aside)
    with write_folder(out / "tokenizers") as aside:
        trained.save(aside)


def _encode(run: TrainingRun, decoded: DecodedRecords) -> None:
    """Writes the examples that judge the run and, unless they are encoded as they are drawn, those that it learns from."""
    out, recipe = run.out, run.recipe
    tokenizers = Tokenizers.load(out / "tokenizers")
    if run.held_out is not None:
        ExampleStore.write(out / JUDGED_BY / "own", encode(few_of_each_task(run.held_out), tokenizers))
    if recipe.training.encode == "drawn":
        return
    if recipe.first_steps:
        _write_examples(out / FIRST, decoded, Tokenizers.load(out / FIRST / "tokenizers"), "examples of few bits")
    _write_examples(out, decoded, tokenizers, "examples")
    remove_files(out / "decoded", LINES, "*.npy")


def _write_examples(run: Path, decoded: DecodedRecords, tokenizers: Tokenizers, name: str) -> None:
    with stage_bar() as bar:
        report = _progress(bar, name)
        counted = (report(number, len(decoded), {}) or record for number, record in enumerate(decoded, 1))
        ExampleStore.write(run / "examples/own", encode(counted, tokenizers))


def _is_prepared(run: TrainingRun) -> bool:
    if run.recipe.training.encode == "before":
        return (run.out / "examples/own").is_dir()
    judged = run.held_out is None or (run.out / JUDGED_BY / "own").is_dir()
    return judged and (run.out / "tokenizers").is_dir()


def _brought(checkpoint: Path, recipe: Recipe, records: RecordFolder) -> Tokenizers:
    """The tokenizers of a checkpoint, for what the recipe makes at most. Raises ValueError where they are of other media, or know
    no voices and the records have samples of some."""
    tokenizers = Tokenizers.load(checkpoint / "tokenizers")
    if tokenizers.voice is None and any(segment.voice for record in records.stored for segment in record.segments):
        raise ValueError(f"{records.path / LINES} has samples of voices, and {checkpoint} was trained without any")
    return replace(tokenizers, media=recipe.media)


def _keep_start(checkpoint: Path, start: Path) -> None:
    """The run has its own copy: it goes on though the checkpoint be gone or changed. What judged the checkpoint's run comes
    along, so that it can be told what is still known."""
    start.mkdir()
    for name in ("model.safetensors", "learnt.json"):
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, start / name)
    judges = run_of(checkpoint) / JUDGED_BY
    if (judges / "own").is_dir():
        shutil.copytree(judges, start / JUDGED_BY)


def _counted(check: Check, report: Report, count: int) -> Check:
    """`check`, which also moves a bar of `count` records."""
    done = itertools.count(1)

    def both(line: int, record: Record) -> None:
        check(line, record)
        report(next(done), count, {})

    return both


def _cost(recipe: Recipe, decoded: DecodedRecords, text: TextTokenizer, existing: Tokenizers | None) -> Estimate:
    """What the run will cost from here on; tokenizers that are there cost nothing."""
    if existing is not None:
        return estimate_run(recipe, existing, decoded, {})
    shown, words = shown_frames(decoded)
    waves, said = heard_sounds(decoded)
    few = lambda **steps: replace(recipe, tokenizers=replace(recipe.tokenizers, **steps))
    stages = {}
    if shown:
        train = lambda some: vision_tokenizer(shown, some, no_progress, classes=max(1, words), naming=NAMING)
        both = 1 + bool(recipe.first_steps)
        of_pictures = lambda steps: train(replace(few(vision_steps=steps), media=replace(recipe.media, temporal_stride=1)))
        stages["vision tokenizer"] = partial(time_steps, of_pictures, both * recipe.tokenizers.vision_steps)
        if recipe.media.temporal_stride > 1:
            of_films = lambda steps: train(few(vision_steps=1, film_steps=steps))
            stages["films"] = partial(time_steps, of_films, both * recipe.tokenizers.film_steps)
    if waves:
        some, told = waves[:200], said[:200]
        codes = lambda steps: audio_tokenizer(some, told, few(audio_steps=steps, vocoder_steps=0), no_progress)
        stages["audio tokenizer"] = partial(time_steps, codes, recipe.tokenizers.audio_steps)
        if recipe.tokenizers.vocoder_steps:
            codec = AudioTokenizer(audio_config(recipe)).eval()
            back = lambda steps: audio_tokenizer(some, told, few(vocoder_steps=steps), no_progress, codec=codec)
            stages["vocoder"] = partial(time_steps, back, recipe.tokenizers.vocoder_steps)
    samples, names = voice_samples(decoded)
    if samples:
        known = lambda steps: voice_encoder(samples, names, few(voice_steps=steps), no_progress)
        stages["voices"] = partial(time_steps, known, recipe.tokenizers.voice_steps)
    return estimate_run(recipe, check_network(recipe, text, bool(samples)), decoded, stages)


def _progress(bar: Progress, name: str) -> Report:
    task = bar.add_task(name, total=None, note="")
    return lambda step, steps, metrics: bar.update(task, completed=step, total=steps, note="")


def _tokenizers(decoded: DecodedRecords, text: TextTokenizer, recipe: Recipe, bar: Progress, state: Path) -> Tokenizers:
    """`text`, and the other two, each trained on what the records hold of its kind; how far is kept in the folder `state`."""
    shown, words = shown_frames(decoded)
    waves, said = heard_sounds(decoded)
    if shown or waves or decoded.voices():
        state.mkdir(exist_ok=True)
    report, kept = _progress(bar, "vision tokenizer"), state / "vision.safetensors"
    vision = vision_tokenizer(shown, recipe, report, classes=max(1, words), naming=NAMING, state=kept)
    audio = audio_tokenizer(waves, said, recipe, _progress(bar, "audio tokenizer"), state)
    samples, names = voice_samples(decoded)
    voice = voice_encoder(samples, names, recipe, _progress(bar, "voices"), state / "voice.safetensors") if samples else None
    return Tokenizers(text, vision, audio, recipe.media, voice)


def _first_vision(decoded: DecodedRecords, recipe: Recipe, bar: Progress, state: Path) -> VisionTokenizer:
    """The vision tokenizer of few bits with which the training begins."""
    shown, words = shown_frames(decoded)
    report, kept, bits = _progress(bar, "vision tokenizer of few bits"), state / "first.safetensors", recipe.tokenizers.first_bits
    return vision_tokenizer(shown, recipe, report, classes=max(1, words), naming=NAMING, state=kept, bits=bits)


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


def _texts(records: RecordFolder) -> Iterator[str]:
    """Read from the lines alone: no media are opened for it."""
    segments = (segment for record in records.stored for segment in record.segments if segment.kind == "text")
    return (text for segment in segments for text in (segment.text, *segment.others))


# ------------------------------------------------------------------ what must be right before the work starts


def _length_check(records: RecordFolder, text: TextTokenizer, recipe: Recipe, lengths: list[int]) -> Check:
    """What raises ValueError for a record longer than any row; `lengths` hears how many positions each takes whose task has a
    weight in the mixture.

    Raises one itself, for a network that the tokenizers' shapes do not allow.
    """
    shapes, weights = check_network(recipe, text), recipe.weights({record.task for record in records.stored})

    def check(number: int, record: Record) -> None:
        segments = [
            replace(segment, data=max(segment.texts, key=lambda one: len(text.encode(one)))) if segment.others else segment
            for segment in outline(record, shapes).segments
        ]
        length = len(lay_out_example(Example(tuple(segments), record.task), shapes, text.encode).layout)
        if weights[record.task]:
            lengths.append(length)
        if length > longest(recipe).length:
            most, remedy = too_long(recipe, length)
            raise ValueError(
                f"{records.path / LINES}, line {number}: takes {length} positions, more than {most}: shorten it, or {remedy}"
            )

    return check
