"""From a user's own records to what training reads: files decoded once, tokenizers, examples; then the training itself."""

from collections import Counter
from pathlib import Path

import numpy as np
from rich.progress import Progress

from ernest.config.media import MediaSpec
from ernest.config.recipe import Recipe
from ernest.data.decoded import Check, DecodedRecords
from ernest.data.examples import encode, outline
from ernest.data.layout import lay_out_example
from ernest.data.records import LINES, RecordFolder
from ernest.data.store import ExampleStore
from ernest.fit import Progress as Report
from ernest.sequence.record import Record
from ernest.storage import own_folder, remove_files, write_folder
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.training.group import follow, is_follower
from ernest.training.monitor import stage_bar
from ernest.training.pretrain import train_model
from ernest.training.run_settings import RUN_FILE, check_run
from ernest.training.tokenizers import UNKNOWN, LabelledFrames, audio_tokenizer, check_network, text_tokenizer, vision_tokenizer


def train_on_records(records: RecordFolder, out: Path, recipe: Recipe, checkpoint: Path | None) -> Path:
    """Trains tokenizers, unless `checkpoint` brings them, and a model on `records`; returns the new checkpoint.

    Raises ValueError for records or an `out` that cannot be used, or a recipe that does not suit the records, before any long
    work.
    """
    if is_follower():
        follow(out)
    settings = check_run(records, out, recipe, checkpoint)
    with own_folder(out):
        if not (out / "examples/own").is_dir():
            prepare(records, out, recipe, checkpoint, settings)
        return train_model(out, recipe)


def prepare_records(records: RecordFolder, out: Path, recipe: Recipe, checkpoint: Path | None) -> None:
    """The stages before the training alone, for a run that `train_on_records` goes on with. Raises ValueError as that does."""
    settings = check_run(records, out, recipe, checkpoint)
    with own_folder(out):
        if not (out / "examples/own").is_dir():
            prepare(records, out, recipe, checkpoint, settings)


def prepare(records: RecordFolder, out: Path, recipe: Recipe, checkpoint: Path | None, settings: str) -> None:
    """From records to examples, in three stages, each of which is complete when its folder is there: decoded files, tokenizers,
    examples. Every file is decoded once."""
    existing = None if checkpoint is None else Tokenizers.load(checkpoint / "tokenizers")
    text = text_tokenizer(_texts(records), recipe) if existing is None else existing.text
    if not (out / RUN_FILE).is_file():
        check = _length_check(records, text, recipe)
        with write_folder(out) as aside:
            (aside / RUN_FILE).write_text(settings)
            DecodedRecords.write(aside / "decoded", records, check)
    decoded = DecodedRecords(out / "decoded")
    if not (out / "tokenizers").is_dir():
        with stage_bar() as bar:
            trained = existing or _tokenizers(decoded, text, recipe, bar)
        with write_folder(out / "tokenizers") as aside:
            trained.save(aside)
    ExampleStore.write(out / "examples/own", encode(decoded, Tokenizers.load(out / "tokenizers")))
    remove_files(out / "decoded", LINES, "*.npy")


def _progress(bar: Progress, name: str) -> Report:
    task = bar.add_task(name, total=None, note="")
    return lambda step, steps, metrics: bar.update(task, completed=step, total=steps, note="")


def _tokenizers(decoded: DecodedRecords, text: TextTokenizer, recipe: Recipe, bar: Progress) -> Tokenizers:
    """`text`, and the other two, each trained on what the records hold of its kind."""
    none = np.zeros((0, MediaSpec.size, MediaSpec.size, 3), np.uint8)
    stills, video_frames = (none if frames is None else frames for frames in (decoded.images, decoded.frames))
    nameless = (np.full(len(frames), UNKNOWN) for frames in (stills, video_frames))
    labelled = LabelledFrames(stills, next(nameless), video_frames, next(nameless))
    waves, words = _spoken_words(decoded)
    return Tokenizers(
        text,
        vision_tokenizer(labelled, recipe, _progress(bar, "vision tokenizer")),
        audio_tokenizer(waves, words, recipe, _progress(bar, "audio tokenizer")),
    )


def _spoken_words(decoded: DecodedRecords) -> tuple[list[np.ndarray], list[str]]:
    """All sounds and the text beside each, where texts come back often enough to be words; else one word for all."""
    sounds = list(decoded.sounds())
    words = [word for _, word in sounds]
    often = len(words) >= 4 * len(Counter(words))
    return [wave for wave, _ in sounds], words if often else [""] * len(words)


def _texts(records: RecordFolder) -> list[str]:
    """Read from the lines alone: no media are opened for it."""
    return [segment.text for record in records.stored for segment in record.segments if segment.kind == "text"]


# ------------------------------------------------------------------ what must be right before the work starts


def _length_check(records: RecordFolder, text: TextTokenizer, recipe: Recipe) -> Check:
    """What raises ValueError for a record longer than a row.

    Raises one itself, for a network that the tokenizers' shapes do not allow.
    """
    shapes = check_network(recipe, text)

    def check(number: int, record: Record) -> None:
        length = len(lay_out_example(outline(record), shapes, text.encode).layout)
        if length > recipe.sequence.length:
            raise ValueError(
                f"{records.path / LINES}, record {number}: takes {length} positions, more than sequence.length = "
                f"{recipe.sequence.length}: shorten it, or --set sequence.length={-(-length // 64) * 64}"
            )

    return check
