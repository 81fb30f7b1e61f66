"""Training on a folder of a user's own records."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import Progress

from ernest.config.recipe import Recipe, to_tree
from ernest.data.examples import EncodedSegment, Example, encode
from ernest.data.layout import lay_out_example
from ernest.data.records import LINES, RecordFolder
from ernest.data.store import ExampleStore
from ernest.sequence.record import Record, Segment
from ernest.tokenizers.audio import SAMPLES
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.training import pipeline
from ernest.training.monitor import stage_bar
from ernest.training.schedule import RESUME_OVERRIDABLE

MARK = "run.json"


def train_on_records(records: RecordFolder, out: Path, recipe: Recipe, checkpoint: Path | None) -> Path:
    """Trains tokenizers, unless `checkpoint` brings them, and a model on `records`; returns the new checkpoint.

    Raises ValueError for a recipe that does not suit the records, and for an `out` that cannot be used, before any long work.
    """
    recipe.weights(sorted({record.task for record in records.stored}))  # a mixture that cannot be ends here
    mark = _mark(records.path, recipe, checkpoint)
    _check_free(out, mark)
    folder = out / "tokenizers"
    with stage_bar() as bar:
        if not (folder / "audio.safetensors").exists():
            brought = None if checkpoint is None else Tokenizers.load(checkpoint / "tokenizers")
            text = pipeline.text_tokenizer(_texts(records), recipe) if brought is None else brought.text
            _check_sizes(records, text, recipe)
            out.mkdir(parents=True, exist_ok=True)
            (out / MARK).write_text(mark)
            (brought or _tokenizers(records, text, recipe, bar)).save(folder)
        if not (out / "examples/own").exists():
            ExampleStore.write(out / "examples/own", encode(records, Tokenizers.load(folder)))
    return pipeline.train_model(out, recipe)


def _tokenizers(records: Sequence[Record], text: TextTokenizer, recipe: Recipe, bar: Progress) -> Tokenizers:
    """`text`, and the other two, each trained on what the records hold of its kind."""

    def progress(name: str) -> pipeline.Progress:
        task = bar.add_task(name, total=None, note="")
        return lambda step, steps, metrics: bar.update(task, completed=step, total=steps, note="")

    stills, moving = pipeline.frames_of(records)
    waves, words = pipeline.spoken_words(records)
    nameless = (np.full(len(frames), pipeline.UNKNOWN) for frames in (stills, moving))
    seen = pipeline.Seen(stills, next(nameless), moving, next(nameless))
    return Tokenizers(
        text,
        pipeline.vision_tokenizer(seen, recipe, progress("vision tokenizer")),
        pipeline.audio_tokenizer(waves, words, recipe, progress("audio tokenizer")),
    )


def _texts(records: RecordFolder) -> list[str]:
    """Read from the lines alone: no media are opened for it."""
    return [segment.text for record in records.stored for segment in record.segments if segment.kind == "text"]


# ------------------------------------------------------------------ what must be right before the work starts


def _mark(data: Path, recipe: Recipe, checkpoint: Path | None) -> str:
    """What makes a run the same run: its records, settings and, where they were brought, tokenizers."""
    tree = to_tree(recipe)
    for name in RESUME_OVERRIDABLE:
        del tree["training"][name]
    lines = hashlib.sha256((data / LINES).read_bytes()).hexdigest()
    return json.dumps({"records": lines, "tokenizers": checkpoint and str(checkpoint.resolve()), "recipe": tree}, indent=1)


def _check_free(out: Path, mark: str) -> None:
    """The command that began a run goes on in its folder; another one is refused."""
    told = out / MARK
    if told.is_file() and told.read_text() != mark:
        raise ValueError(f"{out} holds a run on other records, tokenizers or settings: choose another folder, or remove it")
    if not told.is_file() and out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} holds something else than a run of `ernest train`: choose a new folder")


def _check_sizes(records: RecordFolder, text: TextTokenizer, recipe: Recipe) -> None:
    """Raises ValueError for a network that the tokenizers' shapes do not allow, or a record longer than a row."""
    shapes = pipeline.check_network(recipe, text)
    for number, record in enumerate(records, 1):
        outline = Example(tuple(_outline(segment) for segment in record.segments), record.task)
        length = len(lay_out_example(outline, shapes, text.encode).layout)
        if length > recipe.sequence.length:
            raise ValueError(
                f"{records.path / LINES}, record {number}: takes {length} positions, more than sequence.length = "
                f"{recipe.sequence.length}: shorten it, or --set sequence.length={-(-length // 64) * 64}"
            )


def _outline(segment: Segment) -> EncodedSegment:
    """A segment of the length that the segment will have."""
    if segment.kind == "text":
        return EncodedSegment("text", segment.data, segment.made)
    if segment.kind == "audio":
        return EncodedSegment("codes", np.empty(-(-len(segment.data) // SAMPLES)), segment.made)
    video = segment.kind == "video"
    return EncodedSegment(
        "latent" if segment.made else "pixels", segment.data if video else segment.data[None], segment.made, video, segment.open
    )
