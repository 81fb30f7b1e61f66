"""From a user's own records to what training reads: files decoded once, tokenizers, examples; then the training itself."""

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

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
from ernest.sequence.record import Record
from ernest.storage import own_folder, remove_files, write_folder
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.training.estimate import estimate_run
from ernest.training.group import is_follower
from ernest.training.pretrain import follow, train_model
from ernest.training.progress import progress_on, stage_bar, tell
from ernest.training.run_settings import JUDGED_BY, RUN_FILE, START, TrainingRun, check_free, check_run
from ernest.training.switching import FIRST
from ernest.training.tokenizer_data import TokenizerData, time_stages
from ernest.training.tokenizers import audio_tokenizer, check_network, text_tokenizer, voice_encoder

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
        check = _counted(check, progress_on(bar, "decoded files"), len(run.records))
        DecodedRecords.write(aside / "decoded", run.records, check)
        if min(lengths) > (first := sequence_at(run.recipe, 0).length):
            raise ValueError(
                f"{run.records.path / LINES}: no record of the mixture fits the first rows, of {first}; one takes {min(lengths)}"
            )


def _make_tokenizers(run: TrainingRun, decoded: DecodedRecords, text: TextTokenizer, existing: Tokenizers | None) -> None:
    """Tells what the run will cost and trains its tokenizers, those of few bits too where it begins with them; `existing` ones
    are taken as they are."""
    out, recipe, data = run.out, run.recipe, TokenizerData(decoded)
    tell(str(recipe.media))
    if recipe.training.steps >= TOLD_FROM:  # tokenizers that are there cost nothing
        stages = time_stages(recipe, data) if existing is None else {}
        kit = existing or check_network(recipe, text, bool(data.voices[0]))
        tell(str(estimate_run(recipe, kit, decoded, stages)))
    with stage_bar() as bar:
        trained = existing or _tokenizers(data, text, recipe, bar, out / "state")
        if recipe.first_steps and not (out / FIRST / "tokenizers").is_dir():
            report, kept = progress_on(bar, "vision tokenizer of few bits"), out / "state/first.safetensors"
            vision = data.train_vision(recipe, report, state=kept, bits=recipe.tokenizers.first_bits)
            with write_folder(out / FIRST / "tokenizers") as aside:
                replace(trained, vision=vision).save(aside)
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
        few = Tokenizers.load(out / FIRST / "tokenizers")
        _write_examples(out / FIRST, decoded, few, "examples of few bits", recipe)
    _write_examples(out, decoded, tokenizers, "examples", recipe)
    remove_files(out / "decoded", LINES, "*.npy")


def _write_examples(run: Path, decoded: DecodedRecords, tokenizers: Tokenizers, name: str, recipe: Recipe) -> None:
    with stage_bar() as bar:
        report = progress_on(bar, name)
        counted = (report(number, len(decoded), {}) or record for number, record in enumerate(decoded, 1))
        ExampleStore.write(run / "examples/own", encode(counted, tokenizers, hearings=recipe.training.hearings))


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


def _tokenizers(data: TokenizerData, text: TextTokenizer, recipe: Recipe, bar: Progress, state: Path) -> Tokenizers:
    """`text`, and the others, each trained on what the records hold of its kind; how far is kept in the folder `state`."""
    if data.shown[0] or data.sounds[0] or data.voices[0]:
        state.mkdir(exist_ok=True)
    vision = data.train_vision(recipe, progress_on(bar, "vision tokenizer"), state=state / "vision.safetensors")
    audio = audio_tokenizer(*data.sounds, recipe, progress_on(bar, "audio tokenizer"), state)
    kept = state / "voice.safetensors"
    voice = voice_encoder(*data.voices, recipe, progress_on(bar, "voices"), kept) if data.voices[0] else None
    return Tokenizers(text, vision, audio, recipe.media, voice)


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
            replace(segment, data=max(segment.versions, key=lambda one: len(text.encode(one)))) if segment.others else segment
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
