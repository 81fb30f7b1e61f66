"""Trains a tokenizer by itself, on records or on a folder of files; a training that was cut goes on bit for bit."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ernest.config.recipe import Recipe, from_tree, to_tree
from ernest.data import media
from ernest.data.decoded import DecodedRecords
from ernest.data.record_line import StoredRecord, StoredSegment
from ernest.data.records import LINES, RecordFolder, media_fingerprint, read_lines
from ernest.data.tree import read_tree
from ernest.device import usual_defaults
from ernest.sequence.record import Kind as MediaKind
from ernest.storage import fingerprint, own_folder, remove_files, write_folder
from ernest.tokenizers import load
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.standalone import ABOUT, Kind, SoundTokenizer, Standalone, named, save_standalone
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.training.vision import KEPT
from ernest.tokenizers.vision import VisionTokenizer
from ernest.training.progress import progress_on, remark, stage_bar, tell
from ernest.training.run_settings import RUN_FILE, check_free
from ernest.training.tokenizer_data import heard_sounds, shown_frames
from ernest.training.tokenizers import audio_tokenizer, text_tokenizer, vision_tokenizer

MEDIA: dict[Kind, tuple[MediaKind, ...]] = {"text": ("text",), "vision": ("image", "video"), "audio": ("audio",)}
"""What a tokenizer of each kind learns from."""
TEXTS = (".txt", ".md")


def train_standalone(kind: Kind, data: Path | str, out: Path | str, recipe: Recipe, name: str, codec: Path | None = None) -> str:
    """Trains the tokenizer of a `kind` on the records of `data`, or on the files under it, and writes it to `out`; returns a line
    that says what it is. `name` is the recipe's; of `codec`, the folder of a tokenizer of sounds, the codes stay what they are
    and a vocoder alone is trained.

    The same call goes on where it was cut. Raises ValueError for a folder that holds nothing of that kind, and for an `out` of
    something else.
    """
    data, out, recipe = Path(data), Path(out), from_tree(to_tree(recipe))
    heard = None if codec is None else _codec(kind, codec, recipe)
    if heard is not None:
        recipe = replace(recipe, media=heard.media)
    records = chosen_records(kind, data, recipe, out)
    told = {} if heard is None else {"codec": heard.about.fingerprint}
    settings = json.dumps({"kind": kind, "name": name, "data": listing(records), "recipe": to_tree(recipe)} | told, indent=1)
    if (out / ABOUT).is_file():
        raise ValueError(f"{out} holds a tokenizer already: choose another folder")
    check_free(out, settings)
    with usual_defaults(), own_folder(out):
        check_free(out, settings)  # another training may have begun there meanwhile
        if not (out / RUN_FILE).is_file():
            with write_folder(out) as aside:
                decode_records(records, aside / "decoded")
                (aside / RUN_FILE).write_text(settings)
        network = _train(kind, DecodedRecords(out / "decoded"), out / "state", recipe, heard.network if heard else None)
        save_standalone(out, network, recipe.media, name, heard.about if heard else None)
        remove_files(out / "state", "*.safetensors")
        remove_files(out / "decoded", LINES, "*.npy")
    return f"{out}: {named(kind)} of the recipe {name}"


def decode_for(tokenizer: Standalone, data: Path, folder: Path) -> DecodedRecords:
    """What `data` holds for a tokenizer, decoded into `folder`. Raises ValueError where that is nothing."""
    recipe = Recipe(media=tokenizer.media)
    decode_records(chosen_records(tokenizer.about.kind, data, recipe), folder)
    return DecodedRecords(folder)


def chosen_records(kind: Kind, data: Path, recipe: Recipe, out: Path | None = None) -> RecordFolder:
    """What `data` holds of a kind: its records without what is of other kinds, or its files, each a record, but those of `out`.
    Raises ValueError where there is nothing."""
    if not data.is_dir():
        raise ValueError(f"{data} is no folder")
    plain = not (data / LINES).is_file()
    found = _files(kind, data, recipe, out) if plain else _parts(kind, read_lines(data, recipe.media))
    stored = list(found)
    if not stored:
        raise ValueError(f"{data}: nothing to learn from: it holds no {' or '.join(MEDIA[kind])}")
    return RecordFolder(data, stored)


def _parts(kind: Kind, records: RecordFolder) -> Iterator[StoredRecord]:
    """Records that hold something of a kind, with that and the words beside it, which samples of voices do not say."""
    wanted = (*MEDIA[kind], "text")
    for record in records.stored:
        parts = [segment for segment in record.segments if segment.kind in wanted and not segment.voice]
        if any(segment.kind in MEDIA[kind] for segment in parts):
            yield StoredRecord(record.line, "", tuple(replace(segment, made=True, open=False) for segment in parts), {})


def _files(kind: Kind, data: Path, recipe: Recipe, out: Path | None) -> Iterator[StoredRecord]:
    """A record of each file under `data` that is of a kind, without those of `out`."""
    tree = read_tree(data)
    unused = [f"{len(tree.members)} files within archives, which `ernest import` reads"] if tree.members else []
    for line in (*tree.faults, *unused):
        remark(f"not used: {line}")
    for number, name in enumerate(tree.names, 1):
        file = data / name
        if name in tree.members or (out is not None and file.resolve().is_relative_to(out.resolve())):
            continue
        segments: list[tuple[MediaKind, str]]
        if kind == "text":
            segments = (
                [("text", text) for text in tree.text(name).splitlines() if text.strip()] if name.lower().endswith(TEXTS) else []
            )
        else:
            found = media.kind_of(file)
            segments = [(found, "")] if found in MEDIA[kind] else []
        for of_kind, text in segments:
            segment = StoredSegment(of_kind, True, text, file, False, recipe.media.frames, spec=recipe.media)
            yield StoredRecord(number, "", (segment,), {})


def decode_records(records: RecordFolder, folder: Path) -> None:
    """Every file once. Of a folder without records, an error names the file alone."""
    with stage_bar() as bar:
        task = bar.add_task("decoded files", total=len(records), note="")
        try:
            DecodedRecords.write(folder, records, lambda line, record: bar.advance(task))
        except ValueError as error:
            is_plain = not (records.path / LINES).is_file() and isinstance(error.__cause__, ValueError)
            raise (error.__cause__ if is_plain and error.__cause__ else error) from None


def _codec(kind: Kind, folder: Path, recipe: Recipe) -> SoundTokenizer:
    """The tokenizer whose vocoder is to be trained."""
    if kind != "audio":
        raise ValueError(f"{folder}: a codec is one of sounds, and this trains a tokenizer of {kind}")
    if not recipe.tokenizers.vocoder_steps:
        raise ValueError(f"{folder}: tokenizers.vocoder_steps = 0: say how many steps its vocoder is to be trained")
    found = load(folder, "audio")
    assert isinstance(found, SoundTokenizer)
    return found


def _train(
    kind: Kind, decoded: DecodedRecords, state: Path, recipe: Recipe, codec: AudioTokenizer | None
) -> TextTokenizer | VisionTokenizer | AudioTokenizer:
    if kind == "text":
        return text_tokenizer((segment.data for record in decoded for segment in record.segments), recipe)
    state.mkdir(exist_ok=True)
    tell(str(recipe.media))
    with stage_bar() as bar:
        report = progress_on(bar, f"{kind} tokenizer")
        if kind == "vision":
            shown, words = shown_frames(decoded)
            kept = state / "state.safetensors"
            return vision_tokenizer(shown, recipe, report, classes=max(1, words), state=kept, variance=KEPT)
        waves, said = heard_sounds(decoded)
        return audio_tokenizer(waves, said, recipe, report, state, codec)


def listing(records: RecordFolder) -> str:
    """A fingerprint of the lines, or of the names and sizes of the files."""
    if (records.path / LINES).is_file():
        return fingerprint(records.path / LINES, media_fingerprint(records))
    files = dict.fromkeys(segment.file for record in records.stored for segment in record.segments)
    return fingerprint(*(f"{file.relative_to(records.path)} {file.stat().st_size}" for file in files))
