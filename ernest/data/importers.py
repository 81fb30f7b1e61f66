"""Imports a folder of captioned pictures, sounds and videos and of documents, as a folder of records."""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from pathlib import Path
from zlib import crc32

import numpy as np

from ernest.config.media import USUAL, MediaSpec
from ernest.config.tables import SequenceConfig, TokenizerConfig
from ernest.data.captions import FOLDERS, NAMES, Captions, find_captions, media_names
from ernest.data.document_files import find_documents
from ernest.data.documents import SLACK, Part, Room
from ernest.data.held_out import HELD_OUT
from ernest.data.media import read_any
from ernest.data.mediafile import MediaFile
from ernest.data.parquet import ParquetMedia, read_parquet
from ernest.data.record_writer import RecordWriter, check_new
from ernest.data.table_rows import NoTable
from ernest.data.tree import decoded, is_unicode, read_tree
from ernest.sequence.record import Kind, Record, given, made
from ernest.storage import check_replaceable, check_writable, own_folder, write_folder
from ernest.tokenizers.text import TextTokenizer

_LEARNT_FROM = 500
"""Captions from which it is learnt how many tokens one has."""
_TASKS: Mapping[Kind, tuple[str, str]] = {
    "image": ("image→text", "text→image"),
    "audio": ("speech→text", "text→speech"),
    "video": ("video→text", "text→video"),
}


@dataclass(frozen=True)
class ImportSummary:
    """The result of an import: the number of records, where the captions came from, the files left out, with reasons, how many
    records were held out, and which, and how many documents there are."""

    records: int
    captions: str
    skipped: tuple[str, ...] = ()
    held_out: int = 0
    held_out_by: str = ""
    documents: int = 0


def both_directions(
    kind: Kind, data: np.ndarray, caption: str, facts: Mapping[str, object], others: tuple[str, ...] = ()
) -> tuple[Record, Record]:
    """A captioned picture, sound or video as two records: to be described, and to be made; `others` are more captions of it."""
    describe, make = _TASKS[kind]
    return (
        Record((given(kind, data), made("text", caption, others=others)), describe, facts),
        Record((given("text", caption, others), made(kind, data)), make, facts),
    )


def import_folder(
    folder: Path | str,
    output: Path | str,
    captions: Path | str | None = None,
    text_column: str | None = None,
    lines: bool = True,
    held_out: float = 0.1,
    tell: Callable[[str], None] = lambda note: None,
    spec: MediaSpec = USUAL,
    length: int = SequenceConfig.length,
    vocabulary: int = TokenizerConfig.vocabulary,
) -> ImportSummary:
    """Write the pictures, sounds and videos under `folder` as records at the sizes of `spec`, two for each file, of whose
    captions training draws one; and its documents, in pieces for rows of `length` positions, with texts as a tokenizer of this
    `vocabulary` cuts them.

    Captions are found as `ernest.data.captions.find_captions` says; `captions` is a table of them, or `FOLDERS` or `NAMES` for
    the names of folders or files. Which files are documents, `ernest.data.document_files` says. Files that go by the name of a
    test or validation split, or else the share `held_out` of them, become records in `output/held_out`, which `output` does not
    hold. `tell` hears what should be known, before any media are read. A file that cannot be read, or has no caption with room in
    a row, is left out and named, with the reason, in the result; so is what documents show and is missing. Raises ValueError if
    nothing is left, or for a table that cannot be understood.
    """
    folder, output = Path(folder), Path(output)
    _check_folders(folder, output, held_out)
    tree = read_tree(folder)
    documents = find_documents(tree)
    pages = frozenset(documents.names)
    media = [name for name in media_names(tree) if name not in pages]
    if not media and not pages and not tree.faults:
        raise ValueError(f"{folder}: nothing to import: it holds no pictures, sounds or videos, and no documents")
    tables = [name for name in media if name.lower().endswith(".parquet")]
    loose = [name for name in media if not name.lower().endswith(".parquet")]
    packed, notes, unpacked = _packed(folder, tables, text_column, bool(loose))
    if packed:  # pictures beside a table of paths belong to it
        found, files = _captions_inside(packed), chain.from_iterable(table.files(name) for name, table in packed.items())
    elif loose:
        found = find_captions(tree, loose, _table(folder, captions), text_column, lines, pages, unpacked)
        files = ((name, tree.file(name)) for name in loose if name in found.texts or not pages)
    else:
        found, files = Captions({}, ""), iter(())
    survey = documents.survey()
    alone = [name for name in loose if name not in found.texts and name not in survey.shown]
    for note in (*notes, *(_document_notes(pages, len(survey.names), len(alone)) if pages else ()), *found.notes):
        tell(note)
    skipped = [*tree.faults, *found.faults]
    kept_back, why = held_out_names({**found.texts, **{name: ["a document"] for name in survey.names}}, held_out)
    records = chain(
        _captioned(files, found, skipped, _room(found, length, vocabulary, spec)),
        documents.records(survey.texts, length, vocabulary, spec, skipped) if pages else (),
    )
    first = next(records, None)
    if first is None:
        hint = "" if found.texts or pages or not loose else "; their own names are captions with --captions names"
        raise ValueError(
            f"{folder}: nothing to import: {'; '.join(skipped[:5]) or 'it holds no pictures, sounds or videos'}{hint}"
        )
    with own_folder(output):
        check_new(output)  # another import may have ended meanwhile
        kept, held = _write(output, chain([first], records), kept_back, spec)
    return ImportSummary(kept, found.source if found.texts else "", tuple(skipped), held, why if held else "", len(survey.names))


def _check_folders(folder: Path, output: Path, held_out: float) -> None:
    """Raises ValueError for folders that cannot be read from or written to, and for what is no share."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    if output.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{output} lies in the folder that is read: write the records elsewhere")
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out: expected a share from 0 to below 1, got {held_out:g}")
    check_replaceable(output)
    check_new(output)
    check_writable(output)


def _packed(
    folder: Path, tables: Sequence[str], text_column: str | None, loose: bool
) -> tuple[dict[str, ParquetMedia], list[str], list[str]]:
    """What parquet files hold, by their names, what should be known, and which may be tables of media that are `loose`. Raises
    ValueError where one cannot be understood."""
    packed: dict[str, ParquetMedia] = {}
    notes: list[str] = []
    unpacked: dict[str, str] = {}
    for name in tables:
        try:
            packed[name] = read_parquet(str(folder / name), text_column)
            notes += [packed[name].note] if packed[name].note else []
        except NoTable as reason:
            if reason.names_files:
                raise ValueError(str(reason)) from None
            unpacked[name] = f"not used: {reason}"
    if packed or not loose:
        return packed, notes + list(unpacked.values()), []
    return packed, notes, list(unpacked)


def _document_notes(files: Set[str], count: int, alone: int) -> Iterator[str]:
    yield f"{count} documents, in {', '.join(sorted(files)[:3])}{', ...' if len(files) > 3 else ''}"
    if alone:
        yield f"not used: {alone} files that no document shows and that have no caption"


def _captions_inside(packed: Mapping[str, ParquetMedia]) -> Captions:
    """The captions of the rows of parquet files, where a row has some."""
    texts = {f"{name}/{number}": texts for name, table in packed.items() for number, texts in enumerate(table.texts) if texts}
    return Captions(texts, "the parquet files")


def held_out_names(texts: Mapping[str, Sequence[str]], share: float) -> tuple[set[str], str]:
    """The files to be held out, and how they were chosen: a split that is there, or that share of each caption's files.

    Captions that fewer than ten files have are taken together. The choice follows from the names alone.
    """
    if not share:
        return set(), ""
    parts = {name: name.lower().split("/")[:-1] for name in texts}
    tested = {name for name, folders in parts.items() if any(_TESTED.match(part) for part in folders)}
    if tested and any(_TRAINED.match(part) for name, folders in parts.items() if name not in tested for part in folders):
        return tested, "the files of their own test or validation split"
    groups: dict[str, list[str]] = {}
    for name, captions in texts.items():
        groups.setdefault(captions[0], []).append(name)
    large = [names for names in groups.values() if len(names) >= 10]
    rest = [name for names in groups.values() if len(names) < 10 for name in names]
    chosen = (sorted(names, key=lambda name: crc32(name.encode()))[: int(len(names) * share)] for names in (*large, rest))
    return set(chain.from_iterable(chosen)), f"{share:.0%} of them"


_TRAINED, _TESTED = re.compile(r"train(ing)?(?![a-z])"), re.compile(r"(test(ing)?|val(id|idation)?|dev|eval)(?![a-z])")


def _write(
    output: Path, records: Iterator[tuple[str, Sequence[Record]]], kept_back: Set[str], spec: MediaSpec
) -> tuple[int, int]:
    """Writes the records of each file to one of both sides; a picture or a document that is there twice stays on the side of the
    first."""
    sides: dict[str, bool] = {}
    with write_folder(output) as aside:
        (aside / HELD_OUT).mkdir()
        with RecordWriter(aside, spec) as kept, RecordWriter(aside / HELD_OUT, spec) as held:
            for name, some in records:
                whole = "document" in some[0].facts
                content = (one.data if one.kind == "text" else kept.digest(one.data)
                           for one in some[0].segments if whole or one.kind != "text")  # fmt: skip
                side = sides.setdefault("\n".join(content), name in kept_back)
                for record in some:
                    (held if side else kept).write(record)
        if not held.count:
            shutil.rmtree(aside / HELD_OUT)
    return kept.count, held.count


def _room(found: Captions, length: int, vocabulary: int, spec: MediaSpec) -> Room:
    """Rows, and how many tokens a caption has: learnt from some of them, where one is so long that it matters."""

    @cache
    def tokenizer() -> TextTokenizer:
        return TextTokenizer.train([texts[0] for texts in islice(found.texts.values(), _LEARNT_FROM)], vocabulary)

    return Room(length, spec, lambda text: len(tokenizer().encode(text)))


def _captioned(
    files: Iterator[tuple[str, MediaFile]], found: Captions, skipped: list[str], room: Room
) -> Iterator[tuple[str, Sequence[Record]]]:
    """Records of all files that can be read and have captions; the others are noted in `skipped`."""
    for name, file in files:
        try:
            kind, data = read_any(file, room.spec)
            if name not in found.texts:
                raise ValueError(f"{file.name}: has no caption in {found.source}")
            if not all(map(is_unicode, found.texts[name])):
                raise ValueError(f"{file.name}: its caption holds half a surrogate pair, which is no character")
            texts = list(dict.fromkeys(found.texts[name]))
            fitting = _with_room(texts, Part(kind, data), room)
            if len(fitting) < len(texts):
                which = f"{len(texts) - len(fitting)} of its {len(texts)} captions" if fitting else "its caption"
                skipped.append(
                    f"{file.name}: {which} is too long for rows of {room.length} positions: shorten it, or --set sequence.length"
                )
        except ValueError as error:
            skipped.append(str(error))
            continue
        if fitting:
            yield name, both_directions(kind, data, fitting[0], {"file": name}, tuple(fitting[1:]))


def _with_room(texts: Sequence[str], medium: Part, room: Room) -> list[str]:
    """The captions that have room in a row with the medium, given or made; all where that fills rows alone, as training says."""
    left = room.length - 1 - max(room.positions(medium, made) for made in (False, True))
    most = lambda text: 1 + int(SLACK * len(text.encode("utf-16-be")))  # a byte each, which costs no tokenizer
    return [text for text in texts if left < 1 or most(text) <= left or room.positions(Part("text", text), False) <= left]


def _table(folder: Path, captions: Path | str | None) -> tuple[str, str] | None:
    """The name, seen from the folder, and the text of the table of captions."""
    if captions is None:
        return None
    for path in (Path(captions), folder / captions):
        if path.is_file():
            inside = path.resolve().is_relative_to(folder.resolve())
            name = path.resolve().relative_to(folder.resolve()).as_posix() if inside else path.name
            return name, decoded(path.read_bytes(), str(path))
    if str(captions) in (FOLDERS, NAMES):
        return str(captions), ""
    raise ValueError(f"{captions}: there is no such table of captions")
