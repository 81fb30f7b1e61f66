"""Imports MNIST's files, and folders of captioned pictures, sounds and videos, as a folder of records."""

import csv
import gzip
import io
import itertools
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ernest.config.media import MediaSpec
from ernest.data import media
from ernest.data.records import save_records
from ernest.sequence.record import Kind, Record, given, made

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

TABLES = ("captions.csv", "captions.tsv", "captions.jsonl", "metadata.csv", "metadata.tsv", "metadata.jsonl")
"""Names of a table of captions, in the order in which they are looked for."""

_FILE_COLUMNS = ("file", "file_name", "filename", "path", "image", "audio", "video")
_TEXT_COLUMNS = ("text", "caption", "transcript", "transcription", "sentence", "name", "label")
_TASKS: Mapping[Kind, tuple[str, str]] = {
    "image": ("image→text", "text→image"),
    "audio": ("speech→text", "text→speech"),
    "video": ("video→text", "text→video"),
}
_IGNORED = ("thumbs.db", "desktop.ini", "__macosx")
_BESIDE = (".txt", ".csv", ".tsv", ".jsonl")

Captions = dict[Path, list[str]]


@dataclass(frozen=True)
class ImportSummary:
    """What an import wrote: the number of records, where the captions came from, and the files left out, with reasons."""

    records: int
    captions: str
    skipped: tuple[str, ...] = ()


def both_directions(kind: Kind, data: np.ndarray, caption: str, facts: Mapping[str, object]) -> tuple[Record, Record]:
    """A captioned picture, sound or video as two records: to be described, and to be made."""
    describe, make = _TASKS[kind]
    return (
        Record((given(kind, data), made("text", caption)), describe, facts),
        Record((given("text", caption), made(kind, data)), make, facts),
    )


# ------------------------------------------------------------------ MNIST


def import_mnist(folder: Path | str, output: Path | str, split: str = "train", limit: int | None = None) -> ImportSummary:
    """Write MNIST's idx files (packed with gzip or not) in `folder` as records, two for each picture.

    `split` is "train" or "test"; `limit` takes the first pictures only. The 28 x 28 pictures stand in the middle of
    the canvas; their captions are the world's own, "a white seven in the centre". Raises ValueError that names a
    missing or damaged file.
    """
    if split not in ("train", "test"):
        raise ValueError(f'split: {split!r} is neither "train" nor "test"')
    stem = "train" if split == "train" else "t10k"
    images = read_idx(Path(folder), f"{stem}-images", dimensions=3)[:limit]
    digits = read_idx(Path(folder), f"{stem}-labels", dimensions=1)[:limit]
    height, width = images.shape[1:]
    if max(height, width) > MediaSpec.size:
        file = Path(folder) / f"{stem}-images-idx3-ubyte"
        raise ValueError(f"{file}: pictures of {height} x {width}: the canvas has sides of {MediaSpec.size}")
    if len(images) != len(digits) or digits.max(initial=0) > 9:
        raise ValueError(f"{folder}: {len(images)} pictures and {len(digits)} labels, up to {digits.max(initial=0)}: no MNIST")

    def records() -> Iterator[Record]:
        top, left = (MediaSpec.size - height) // 2, (MediaSpec.size - width) // 2
        for image, digit in zip(images, digits, strict=True):
            canvas = np.zeros((MediaSpec.size, MediaSpec.size, 3), np.uint8)
            canvas[top : top + height, left : left + width] = image[..., None]
            facts = {"digit": int(digit), "colour": "white", "place": "centre"}
            yield from both_directions("image", canvas, f"a white {DIGIT_NAMES[digit]} in the centre", facts)

    return ImportSummary(save_records(output, records()), f"the labels of {stem}")


def read_idx(folder: Path, stem: str, dimensions: int) -> np.ndarray:
    """The uint8 array of MNIST's idx file `stem`, packed with gzip or not. Raises ValueError where it is missing or damaged.

    Such a file is two zero bytes, type 8 (unsigned byte), number of dimensions, their sizes as big-endian int32, the values.
    """
    names = [f"{stem}{dot}idx{dimensions}-ubyte{packed}" for dot in "-." for packed in ("", ".gz")]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise ValueError(f"{folder}: there is no file {names[0]}, packed (.gz) or not")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    header = 4 + 4 * dimensions
    sizes = [int.from_bytes(content[start : start + 4], "big") for start in range(4, header, 4)]
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) != header + math.prod(sizes):
        raise ValueError(f"{path} is damaged, or no idx file of {dimensions} dimensions")
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


# ------------------------------------------------------------------ a folder of files


def import_folder(
    folder: Path | str, output: Path | str, captions: Path | str | None = None, text_column: str | None = None
) -> ImportSummary:
    """Write the pictures, sounds and videos under `folder` as records, two for each file.

    Captions come from the first of these that the folder has: a table (`captions`, or one of `TABLES`) with a column
    of file names and one of texts (`text_column`, where it has no usual name); a text file `name.txt` beside each
    `name.*`; or the name of the sub-folder that a file lies in. A file that cannot be read or has no caption is
    left out and named, with the reason, in the result. Raises ValueError if nothing is left, or for a table that
    cannot be understood.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    if Path(output).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{output} lies in the folder that is read: write the records elsewhere")
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder)))
    skipped: list[str] = []
    table = _table(folder, captions)
    if table:
        texts, source = _from_table(paths, folder, table, text_column, skipped), f"the table {table.name}"
    else:
        texts, source = _from_neighbours(paths, folder, skipped)
    records = _captioned(paths, folder, texts, source, skipped)
    first = next(records, None)
    if first is None:
        raise ValueError(f"{folder}: nothing to import: {'; '.join(skipped[:5]) or 'it holds no pictures, sounds or videos'}")
    return ImportSummary(save_records(output, itertools.chain([first], records)), source, tuple(skipped))


def _captioned(paths: list[Path], folder: Path, texts: Captions, source: str, skipped: list[str]) -> Iterator[Record]:
    """Records of all files that can be read and have captions; the others are noted in `skipped`."""
    for path in paths:
        if path.suffix.lower() in _BESIDE:
            continue
        try:
            kind, data = _read(path)
            if path not in texts:
                raise ValueError(f"{path}: has no caption in {source}")
        except ValueError as error:
            skipped.append(str(error))
            continue
        for caption in texts[path]:
            yield from both_directions(kind, data, caption, {"file": path.relative_to(folder).as_posix()})


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part.lower() in _IGNORED for part in path.parts)


def _read(path: Path) -> tuple[Kind, np.ndarray]:
    kind = media.kind_of(path)
    if kind is None:
        known = sorted({ending for endings in media.SUFFIXES.values() for ending in endings})
        raise ValueError(f"{path}: not a format that can be read ({', '.join(known)})")
    return kind, media.read(path, kind)


def _from_neighbours(paths: list[Path], folder: Path, skipped: list[str]) -> tuple[Captions, str]:
    """Captions from text files beside the media, or, where there is none, from the names of the sub-folders."""
    sidecars = {path.with_suffix(""): path for path in paths if path.suffix.lower() == ".txt"}
    files = [path for path in paths if path.suffix.lower() not in _BESIDE]
    # Both photo.txt and photo.jpg.txt are usual.
    beside = {path: sidecars.get(path) or sidecars.get(path.with_suffix("")) for path in files}
    if not any(beside.values()):
        labels = {path: [_one_line(path.parent.name.replace("_", " "))] for path in files if path.parent != folder}
        return labels, "the names of the sub-folders"
    texts: Captions = {}
    for path, sidecar in beside.items():
        try:
            text = _one_line(sidecar.read_text(encoding="utf-8-sig")) if sidecar else ""
        except UnicodeDecodeError as error:
            skipped.append(f"{sidecar}: not UTF-8 text: {error.reason}")
            continue
        if text:
            texts[path] = [text]
    return texts, "the text files beside the media"


def _table(folder: Path, captions: Path | str | None) -> Path | None:
    """The table of captions: the one named, seen from here or from the folder, or one with a usual name."""
    if captions is None:
        return next((folder / name for name in TABLES if (folder / name).is_file()), None)
    for path in (Path(captions), folder / captions):
        if path.is_file():
            return path
    raise ValueError(f"{captions}: there is no such table of captions")


def _from_table(paths: list[Path], folder: Path, table: Path, text_column: str | None, skipped: list[str]) -> Captions:
    """Captions from a table, which may have several for a file; what names no file of the folder is noted in `skipped`.

    A file is named by its path in the folder, or by its name, with or without the ending, where that is unique.
    """
    rows = list(_rows(table))
    columns = list(rows[0][1]) if rows else []
    file_column = _column(table, columns, _FILE_COLUMNS, None, "file names")
    text_column = _column(table, columns, [name for name in _TEXT_COLUMNS if name != file_column], text_column, "captions")
    files = [path for path in paths if path.suffix.lower() not in _BESIDE]
    matching: dict[str, list[Path]] = {}
    for path in files:
        for name in {path.relative_to(folder).as_posix(), path.name, path.stem}:
            matching.setdefault(name, []).append(path)
    texts: Captions = {}
    for number, row in rows:
        name, text = (_one_line(str(row.get(column) or "")) for column in (file_column, text_column))
        name = name.removeprefix("./").replace("\\", "/")
        matches = [folder / name] if folder / name in matching.get(name, []) else matching.get(name, [])
        if not name or not text:
            skipped.append(f"{table}, line {number}: the {'caption' if name else 'file name'} is empty")
        elif len(matches) != 1:
            skipped.append(f"{table}, line {number}: {'several files are' if matches else 'there is no file'} named {name}")
        else:
            texts.setdefault(matches[0], []).append(text)
    return texts


def _rows(table: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """The lines of the table, numbered as an editor does, each a mapping from column to value."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{table}: cannot be read as UTF-8 text: {error}") from error
    if table.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{table}, line {number}: not JSON: {error.msg}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{table}, line {number}: expected an object")
            yield number, row
        return
    # Spreadsheets of many countries separate by semicolons, and some call a table of tabs .csv.
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max("\t;,", key=header.count))
    try:
        for row in reader:
            yield reader.line_num, {str(key).strip(): value for key, value in row.items()}
    except csv.Error as error:
        raise ValueError(f"{table}, line {reader.line_num}: {error}") from error


def _column(table: Path, columns: list[str], usual: list[str] | tuple[str, ...], wanted: str | None, what: str) -> str:
    named = {column.lower(): column for column in columns}
    for name in (wanted,) if wanted else usual:
        if name.lower() in named:
            return named[name.lower()]
    raise ValueError(
        f"{table}: no column of {what}: expected {wanted or ' or '.join(usual)}, found {', '.join(columns) or 'none'}"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
